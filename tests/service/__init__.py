"""The daemon as a service: what systemd sees of it."""
