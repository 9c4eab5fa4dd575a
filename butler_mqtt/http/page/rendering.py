"""HTML from templates; every text is escaped unless it was made here as HTML."""

from __future__ import annotations

from functools import cache
from importlib import resources

from jinja2 import Environment, FunctionLoader, StrictUndefined
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


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_text),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "counted": counted,
        "duration": wording.duration,
        "run_bars": run_bars,
        "since": wording.since,
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


def _text(name: str) -> str:
    return resources.files("butler_mqtt.http.page").joinpath("templates", name).read_text("utf-8")
