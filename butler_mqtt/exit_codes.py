"""How the process ends: each code with what it means to whoever started it."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes; those from 64 up as in sysexits.h where it has them."""

    #: Done.
    OK = 0
    #: It was tried and failed.
    FAILED = 1
    #: The command line cannot be understood.
    USAGE = 2
    #: A needed service (broker, Qlik) refuses us or cannot be reached.
    UNAVAILABLE = 69
    #: A fault of the program; the log has the traceback.
    BUG = 70
    #: The journal cannot be written and waiting cannot fix it, or its files are not those that were opened.
    JOURNAL = 73
    #: The MQTT client id is in use by another daemon; a restart would take it away from that one.
    CLIENT_ID_IN_USE = 76
    #: The configuration cannot be used.
    CONFIG = 78
