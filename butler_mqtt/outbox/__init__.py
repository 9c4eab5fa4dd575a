"""Messages still to be published, and the dead letters that no broker takes."""
