"""Listening: sockets with limits, TLS, HTTP off the wire."""
