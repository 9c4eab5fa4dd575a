"""HTML from templates; every text is escaped unless it was made here as HTML."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse

from butler_mqtt.http.page import wording
from butler_mqtt.http.page.run_bars import run_bars
from butler_mqtt.printable import counted

#: Nothing but what this listener serves, and no script or style within the page.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
#: For every answer below /ui. With `no-referrer` browsers would send `Origin: null` with our own forms.
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

#: Control characters, and marks that turn the direction of all that follows in a line, our words too. Marks
#: for one place (U+200E, U+200F) and joiners belong to how some languages are written.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_text),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_seen,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "counted": counted,
        "duration": wording.duration,
        "run_bars": run_bars,
        "since": wording.since,
        "verbatim": _verbatim,
        "when": wording.when,
        "words": wording.words,
    }
    environment.globals |= {"zone": wording.zone}
    return environment


def rendered(template: str, **values: object) -> str:
    """Return a template of `templates/` with these values."""
    return _environment().get_template(template).render(**values)


def html(text: str, status: int = 200) -> HTMLResponse:
    """Return a response with a page, or a part of one."""
    return HTMLResponse(text, status, HEADERS)


def _seen(value: object) -> object:
    """Write what would not be seen, but show in what is beside it, as an escape; HTML made here has none."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), value)


def _verbatim(value: object) -> Markup:
    """Escape for HTML alone: for what stands in a field, or isolated by `bdi`."""
    return escape(value)


def _text(name: str) -> str:
    return resources.files("butler_mqtt.http.page").joinpath("templates", name).read_text("utf-8")
