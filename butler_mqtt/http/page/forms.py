"""Forms that a browser sends: read within limits, and only with what this page put into them."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from urllib.parse import parse_qsl

from starlette.requests import Request

from butler_mqtt.http.api.start_call import read_body
from butler_mqtt.http.error_responses import HttpRefusal
from butler_mqtt.http.page.page_sessions import PageSession

#: Bytes and fields of a form.
_MOST_BYTES, _MOST_FIELDS = 16 * 1024, 40


async def read_form(request: Request) -> Mapping[str, str]:
    """
    Read a form; of a field that comes twice the last value counts.

    Raises:
        RequestError: It is none, or too long.
    """
    body = await read_body(request, _MOST_BYTES)
    try:
        fields = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS
        )
    except ValueError:
        raise HttpRefusal(
            "invalid_request", "Form not understood", "it is not what a form of the page sends"
        ) from None
    return dict(fields)


def check_csrf(form: Mapping[str, str], session: PageSession) -> None:
    """Raise HttpRefusal `forbidden` unless a form was made for this session."""
    if not hmac.compare_digest(form.get("csrf", "").encode(), session.csrf.encode()):
        raise HttpRefusal(
            "forbidden",
            "Form out of date",
            "the form was made for another sign-in; nothing was done. Open it again and repeat it",
        )
