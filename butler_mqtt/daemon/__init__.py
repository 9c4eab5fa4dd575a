"""The process: threads joined and supervised, signals, systemd, reload, listeners."""
