"""Bodies of requests, read once: who sends one sends it again, at most under another id."""

from __future__ import annotations

import re
import sys
from functools import lru_cache

from butler_mqtt import validation
from butler_mqtt.errors import RequestError
from butler_mqtt.model import Request

#: Bodies remembered as read, of each kind: with an id and without.
MAX_BODIES = 256
#: The longest of them, in bytes.
MAX_BODY_BYTES = 1024

#: In a valid body nothing but its id: no other key ends so, and what a string holds of this has a backslash
#: before its second quotation mark.
_ID = re.compile(rb'"requestId"[ \t\r\n]*:[ \t\r\n]*"([A-Za-z0-9._:-]{1,128})"')
_STAND_IN = "an-id"
_BEFORE = '"requestId":"'
_WRITTEN = f'{_BEFORE}{_STAND_IN}"'


class Bodies:
    """
    What `validation.parse` gives for a body, for one of the last ones without reading it again.

    Args:
        max_selectors: How many different selectors one request may have.
    """

    def __init__(self, max_selectors: int) -> None:
        self._max_selectors = max_selectors
        self._whole = lru_cache(MAX_BODIES)(self._parse)
        self._around = lru_cache(MAX_BODIES)(self._parse_around)

    def parse(self, payload: bytes, max_bytes: int, path_task_id: str | None = None) -> Request:
        """Read one request; arguments, result and errors as of `validation.parse`."""
        if len(payload) > min(MAX_BODY_BYTES, max_bytes):
            return self._parse(payload, path_task_id, max_bytes)
        found = _ID.search(payload)
        if found is None:
            return self._whole(payload, path_task_id)
        start, end = found.span(1)
        around = self._around(payload[:start], payload[end:], path_task_id)
        if around is None:
            return self._parse(payload, path_task_id)
        request, before, after = around
        request_id = found[1].decode()
        return request._replace(request_id=request_id, document=before + request_id + after)

    def _parse(self, payload: bytes, path_task_id: str | None, max_bytes: int = sys.maxsize) -> Request:
        return validation.parse(
            payload, max_bytes=max_bytes, path_task_id=path_task_id, max_selectors=self._max_selectors
        )

    def _parse_around(
        self, head: bytes, tail: bytes, path_task_id: str | None
    ) -> tuple[Request, str, str] | None:
        """Read a body but for its id, with its document before and after that; None for one to be refused."""
        try:
            request = self._parse(head + _STAND_IN.encode() + tail, path_task_id)
        except RequestError:
            return None  # the refusal tells places and values of the body as it came
        before, _, after = request.document.partition(_WRITTEN)
        return request, before + _BEFORE, '"' + after
