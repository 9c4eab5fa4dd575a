"""
Configuration files of Butler 2 to 12, put into the form that Butler has since 13.

Read in the file templates of Butler's versions, and for the topic in
`src/mqtt/mqtt_handlers.js` of 2.2 to 4.3: the header for the QRS was a pair
`headerKey` and `headerValue` up to 12, the certificates stood in `configQRS` in 2,
the broker was a `brokerIP` in 2.0, `rejectUnauthorized` stood in `cert` in 6, and
before 5 tasks were started by a message on a topic that no key named.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

from butler_mqtt.config.yaml_file import Document, Place, dotted

#: Where requests came in before `taskStartTopic` existed.
START_TOPIC: Final = "qliksense/start_task"

_QRS: Final = ("Butler", "configQRS")
_CERT: Final = ("Butler", "cert")
_HEADERS: Final = (*_QRS, "headers", "static")
_TOPIC: Final = ("Butler", "mqttConfig", "taskStartTopic")
_MOVED: Final[dict[Place, Place]] = {
    (*_QRS, "cert"): (*_CERT, "clientCert"),
    (*_QRS, "key"): (*_CERT, "clientCertKey"),
    (*_QRS, "ca"): (*_CERT, "clientCertCA"),
    ("Butler", "mqttConfig", "brokerIP"): ("Butler", "mqttConfig", "brokerHost"),
    (*_CERT, "rejectUnauthorized"): (*_QRS, "rejectUnauthorized"),
}


def translate(document: Document) -> tuple[str, ...]:
    """
    Move what older Butlers had elsewhere to its present place in *document*.

    Lines stay those of the file, and problems of a moved value name the key that
    the file has. Returns what was understood in another form, in words.
    """
    understood: list[str] = []
    older = any(_has(document, (*_QRS, key)) for key in ("headerKey", "cert"))
    for old, new in _MOVED.items():
        if _has(document, old) and _move(document, old, new, beside=new):
            understood.append(f"{_short(old)} as {_short(new)}")
    if _header(document):
        understood.append(f"configQRS.headerKey and headerValue as {_short(_HEADERS)}")
    if older and not _has(document, _TOPIC) and _put(document, _TOPIC, START_TOPIC):
        understood.append(f"mqttConfig.taskStartTopic as {START_TOPIC}, the topic of Butler before 5")
    return tuple(understood)


def _header(document: Document) -> bool:
    """Make an entry of `headers.static` of the pair; return whether that was done."""
    key, value = (*_QRS, "headerKey"), (*_QRS, "headerValue")
    given = [place for place in (key, value) if _has(document, place)]
    if len(given) == 1:
        other = value if given == [key] else key
        _take(document, given[0])
        document.add_problem(
            given[0], f"is set without {other[-1]}; write `headers.static` of {{name, value}}"
        )
        # What follows from it, a header that is missing, is no problem of its own.
        document.invalid.add(_HEADERS)
    if len(given) < 2:
        return False
    moved = _move(document, key, (*_HEADERS, 0, "name"), beside=_HEADERS)
    return _move(document, value, (*_HEADERS, 0, "value"), beside=None if moved else _HEADERS) and moved


def _move(document: Document, old: Place, new: Place, *, beside: Place | None) -> bool:
    """Move one value, unless *beside* it is set in the file already; return whether that was done."""
    value = _take(document, old)
    if beside is not None and (_holder(document, beside) or {}).get(str(beside[-1])) is not None:
        line = document.line(beside)
        document.add_problem(old, f"is set beside {_short(beside)} (line {line}); keep one of them")
        return False
    if not _put(document, new, value):
        return False
    line = document.line(old)
    for length in range(len(new), 1, -1):
        if line is not None:
            document.lines.setdefault(new[:length], line)
    if old in document.written:
        document.written[new] = document.written[old]
    document.names[new] = old
    return True


def _holder(document: Document, place: Place) -> dict[str, Any] | None:
    """Return the section that *place* is in, None where there is none."""
    value = document.value
    for step in place[:-1]:
        value = value.get(step) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else None


def _has(document: Document, place: Place) -> bool:
    return place[-1] in (_holder(document, place) or {})


def _take(document: Document, place: Place) -> object:
    holder = _holder(document, place)
    return None if holder is None else holder.pop(str(place[-1]))


def _put(document: Document, place: Place, value: object) -> bool:
    """
    Put *value* in, making what is missing around it; return False where something else is.

    A list is made with one entry, so that position 0 is there.
    """
    here: Any = document.value
    for step, inner in pairwise(place):
        if isinstance(here, dict) and here.get(step) is None:
            here[step] = [{}] if inner == 0 else {}
        if isinstance(step, int):
            here = here[step] if isinstance(here, list) else None
        else:
            here = here[step] if isinstance(here, dict) else None
    if not isinstance(here, dict):
        return False
    here[place[-1]] = value
    return True


def _short(place: Place) -> str:
    return dotted(place[1:])
