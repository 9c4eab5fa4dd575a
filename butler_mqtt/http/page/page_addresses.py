"""Under which addresses the page is served: loopback names, and those that the configuration names."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import HTTPConnection

from butler_mqtt.contract import schema_errors
from butler_mqtt.http.error_responses import HttpRefusal
from butler_mqtt.http.origins import names_loopback

_HTTPS = "https://"
_DEFAULT_PORT = ":443"


class PageAddresses:
    """
    Refuses other names, which a foreign site may have given this machine, and what foreign pages send.

    Args:
        origins: Addresses in browsers, `https://name[:port]` in lower case.
    """

    def __init__(self, origins: Sequence[str]) -> None:
        self._hosts = frozenset(origin.removeprefix(_HTTPS).removesuffix(_DEFAULT_PORT) for origin in origins)

    def check(self, request: HTTPConnection) -> None:
        """
        Check `Host` and, where there is one, `Origin`.

        Raises:
            HttpRefusal: `forbidden`.
        """
        host = self._host(request)
        if not self._named(host) and not names_loopback(host):
            raise HttpRefusal(
                "forbidden",
                "Address not served",
                f"the page is not served as {schema_errors.shown(host)}; "
                "its addresses are localhost and those of webPage.origins",
            )
        for origin in request.headers.getlist("origin"):
            scheme, _, rest = origin.lower().partition("://")
            same = rest.removesuffix(_DEFAULT_PORT) == host.removesuffix(_DEFAULT_PORT)
            if not same or (self._named(host) and scheme != "https" and not names_loopback(host)):
                raise HttpRefusal(
                    "forbidden",
                    "Sent by another site",
                    f"Origin is {schema_errors.shown(origin)}, and the page takes only what it sent itself",
                )

    def is_secure(self, request: HTTPConnection) -> bool:
        """Return whether the browser has the page by HTTPS, from here or from a proxy in front."""
        return request.scope.get("scheme") == "https" or self._named(self._host(request))

    def _host(self, request: HTTPConnection) -> str:
        hosts = request.headers.getlist("host")
        # Several mean that somebody tries what each part of the way makes of them.
        return hosts[0].lower() if len(hosts) == 1 else ""

    def _named(self, host: str) -> bool:
        return host.removesuffix(_DEFAULT_PORT) in self._hosts
