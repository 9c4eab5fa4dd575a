"""
The Qlik Repository Service (QRS): find tasks, start them once, see what became of them.

The only home of `requests` and `tenacity`. `Qrs` is shared by all threads,
each thread takes a `Connection` of its own.

    filters    the text of a query: literals, terms, groups
    wire       JSON of the server -> words of `model`
    faults     exceptions on the way to the server -> words and advice
    tls        the TLS context: our certificate, their CA
    limits     how long one answer may take, and how large it may be
    connection the adapter of `requests` over one connection: what was sent, and the limits kept
    transport  one call, and its whole answer
    pauses     how long to wait before a call is repeated
    answers    HTTP answers -> values or errors
    state      the server's clock, and whether it is reached
    lists      tasks by selectors, whichever way this server lists them
    scriptlog  the script log of a reload
    client     Qrs and Connection
"""

from butler_mqtt.qrs.client import Connection, Qrs

__all__ = ["Connection", "Qrs"]
