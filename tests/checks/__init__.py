"""`butler-mqtt check` against each fault it claims to find, and `butler-mqtt init`."""
