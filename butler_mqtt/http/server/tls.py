"""TLS of a listener; certificates may be renewed while it runs."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from butler_mqtt.settings import RestTls

_log = logging.getLogger("butler_mqtt.http")

_Stamp = tuple[tuple[int, int, int] | None, ...]


class Certificates:
    """
    A server context that is reloaded when its files change.

    A context in use takes a new certificate for the next handshakes. An added
    CA counts at once; to remove one takes a restart, since a context cannot
    forget.

    Args:
        tls: The files; with `ca`, clients may send a certificate, which the guard checks.

    Raises:
        OSError: A file cannot be read, or certificate and key do not match (`ssl.SSLError`).
    """

    def __init__(self, tls: RestTls) -> None:
        self._tls = tls
        self._seen = self._stamp()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        if tls.ca is not None:
            self.context.verify_mode = ssl.CERT_OPTIONAL
        self._load(self.context)

    def reload_changed(self) -> None:
        """Load changed files; unusable ones are logged once and the old ones stay in force."""
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))  # a trial, without effect on the one in use
            self._load(self.context)
        except OSError as error:
            _log.error(
                "the changed certificate %s with key %s cannot be used, the old one stays in force: %s",
                self._tls.cert,
                self._tls.key,
                error,
                extra={"action": "rest_certificate_refused"},
            )
        else:
            _log.info(
                "certificate %s was changed; new connections see it",
                self._tls.cert,
                extra={"action": "rest_certificate_changed"},
            )

    def _load(self, context: ssl.SSLContext) -> None:
        assert self._tls.cert is not None  # noqa: S101 -- the configuration requires it with enable: true
        # Without a password OpenSSL would prompt for one on the terminal and wait.
        context.load_cert_chain(self._tls.cert, self._tls.key, password="")
        if self._tls.ca is not None:
            context.load_verify_locations(self._tls.ca)

    def _stamp(self) -> _Stamp:
        return tuple(_stamp(file) for file in (self._tls.cert, self._tls.key, self._tls.ca))


def _stamp(file: Path | None) -> tuple[int, int, int] | None:
    if file is None:
        return None
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
