"""butler-mqtt: starts Qlik Sense tasks when other systems ask, once, and tells the truth about it."""

__version__ = "0.1.0"
