"""Listeners: sockets with limits, TLS, the HTTP protocol."""
