"""
Measures speed, and proves what holds under kills and storms; see docs/performance.md and docs/reliability.md.

Everything is real and on this machine: mosquitto, the Qlik stand-in over mTLS, the installed daemon.
"""
