"""Messages still to be published; those that the broker does not take become dead letters."""
