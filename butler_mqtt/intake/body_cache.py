"""Bodies of requests, parsed once: senders send the same body again, at most under another id."""

from __future__ import annotations

import re

from butler_mqtt.contract import validation
from butler_mqtt.domain.model import Request

#: Valid bodies remembered as read.
MAX_BODIES = 256
#: The longest of them, in bytes.
MAX_BODY_BYTES = 1024

#: In a valid body nothing but its id: no other key ends so, and what a string holds of this has a backslash
#: before its second quotation mark.
_ID = re.compile(rb'"requestId"[ \t\r\n]*:[ \t\r\n]*"([A-Za-z0-9._:-]{1,128})"')
#: How its id begins in a document.
_BEGINS = '"requestId":"'


class BodyCache:
    """
    Returns what `validation.parse` does, for one of the last bodies without parsing it again.

    Args:
        max_selectors: How many different selectors one request may have.
        parameters: Whether requests may have some.
    """

    def __init__(self, max_selectors: int, *, parameters: bool = False) -> None:
        self._max_selectors = max_selectors
        self._parameters = parameters
        #: By path id and the text around the id: the request, and the text around the id in its document.
        self._known: dict[tuple[str | None, bytes, bytes], tuple[Request, str, str]] = {}

    def parse(self, payload: bytes, max_bytes: int, path_task_id: str | None = None) -> Request:
        """Read one request; arguments, result and errors as of `validation.parse`."""
        short = len(payload) <= min(MAX_BODY_BYTES, max_bytes)
        found = _ID.search(payload) if short else None
        # Without an id all is before it; with one, there is always something after it.
        start, end = found.span(1) if found else (len(payload), len(payload))
        body = path_task_id, payload[:start], payload[end:]
        if short and body in self._known:
            request, before, after = self._known[body]
            if found is None:
                return request
            request_id = found[1].decode()
            return request._replace(request_id=request_id, document=before + request_id + after)
        request = validation.parse(
            payload,
            max_bytes=max_bytes,
            path_task_id=path_task_id,
            max_selectors=self._max_selectors,
            parameters=self._parameters,
        )
        # Names of parameters are the sender's: one may be `requestId` too.
        if short and not request.parameters:
            if len(self._known) >= MAX_BODIES:
                del self._known[next(iter(self._known))]
            before, begins, after = request.document.partition(_BEGINS)
            self._known[body] = request, before + begins, after[after.find('"') :]
        return request
