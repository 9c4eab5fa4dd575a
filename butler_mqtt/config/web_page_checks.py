"""What the page needs beside its own section: the REST listener, a token to sign in with, TLS for others."""

from __future__ import annotations

from typing import Any, Final

from butler_mqtt.config.yaml_file import Document
from butler_mqtt.loopback import is_loopback
from butler_mqtt.settings import Settings

_PAGE: Final = ("Butler", "webPage")
_REST: Final = ("Butler", "restServerConfig")


def check(values: Settings, document: Document, butler: dict[str, Any]) -> None:
    """Add a problem to *document* for each thing that the page lacks."""
    if not values.web_page.enable:
        return
    enable, host = (*_PAGE, "enable"), (*_REST, "serverHost")
    section = butler["restServerConfig"]
    if not values.rest.enable:
        where = document.where((*_REST, "enable"), _REST)
        document.add_problem(enable, f"is true, and the page needs `restServerConfig.enable: true` {where}")
        return
    tokens = section["auth"].get("tokens", ())
    if not any(token.get("role") in {"reader", "operator"} for token in tokens):
        where = document.where((*_REST, "auth", "tokens"), _REST)
        document.add_problem(
            enable,
            "is true, and nobody could sign in: "
            f"give a token {where} `role: operator`, or `role: reader` to one that is only to read",
        )
    if is_loopback(values.rest.server_host) or not document.is_valid(host):
        return
    beyond = f"restServerConfig.serverHost in line {document.line(host)} lets other machines open the page"
    if not values.web_page.origins and document.is_valid((*_PAGE, "origins")):
        document.add_problem(
            (*_PAGE, "origins"),
            f"is empty, and {beyond}: name its address in browsers, "
            "such as `origins: [https://butler.example.com:8443]`",
        )
    if not values.rest.tls.enable:
        where = document.where((*_REST, "tls", "enable"), _REST)
        document.add_problem(
            enable, f"is true, and {beyond}: that needs `restServerConfig.tls.enable: true` {where}"
        )
