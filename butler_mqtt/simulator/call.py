"""One call and its answer, as the endpoints see them."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from butler_mqtt.simulator.call_log import CallRecord
from butler_mqtt.simulator.collection import dump
from butler_mqtt.simulator.filter_language import GUID


class Refusal(Exception):
    """An answer that is not a success: a status and a plain text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(slots=True)
class Answer:
    """Status, body and headers of an answer; `Date` is added later."""

    status: int
    body: bytes = b""
    content_type: bytes | None = b"application/json; charset=utf-8"
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)

    @classmethod
    def json(cls, document: Any, status: int = 200) -> Answer:
        """Answer with a JSON document."""
        return cls(status, dump(document))

    @classmethod
    def text(cls, status: int, text: str) -> Answer:
        """Answer with plain text."""
        return cls(status, text.encode(), b"text/plain; charset=utf-8")

    @classmethod
    def refusal(cls, refusal: Refusal, *, escaped: bool) -> Answer:
        """Answer with the text of a refusal, *escaped* as .NET escapes HTML."""
        text = refusal.text
        return cls.text(refusal.status, html.escape(text).replace("&#x27;", "&#39;") if escaped else text)

    @classmethod
    def nothing(cls) -> Answer:
        """Answer 204."""
        return cls(204, b"", None)


@dataclass(slots=True)
class Call:
    """
    One call.

    `segments` are the lower-case parts of the path behind `/qrs/`; the names
    in `parameters` are lower-case, `complete` tells whether all had a value.
    """

    method: str
    segments: tuple[str, ...]
    parameters: dict[str, str]
    complete: bool
    headers: dict[bytes, bytes]
    body: bytes
    record: CallRecord
    user: str = ""

    def parameter(self, name: str) -> str:
        """
        Give a parameter that must be there.

        Raises:
            Refusal: 400, it is missing.
        """
        value = self.parameters.get(name)
        if value is None:
            raise Refusal(400, "Missing parameter value(s)")
        return value

    def document(self) -> Any:
        """
        Read the body as JSON.

        Raises:
            Refusal: 400, it is something else.
        """
        try:
            return json.loads(self.body)
        except ValueError:
            raise Refusal(400, "The request body could not be read as JSON") from None


def read_query(query: str) -> tuple[dict[str, str], bool]:
    """
    Read a raw query string.

    A plus sign is a plus sign: a blank must be written `%20`. A part without
    `=` or with nothing behind it (a raw `&` in a filter makes such) counts as incomplete.
    """
    parameters: dict[str, str] = {}
    complete = True
    for part in query.split("&"):
        name, equals, value = part.partition("=")
        if not part:
            continue
        if not equals or not value:
            complete = False
            continue
        parameters[unquote(name).lower()] = unquote(value)
    return parameters, complete


def guid(text: str) -> str:
    """
    Check an id from a path or body.

    Raises:
        Refusal: 400, it is no GUID.
    """
    if GUID.fullmatch(text) is None:
        raise Refusal(400, f"The value '{text}' is not a valid GUID")
    return text.lower()
