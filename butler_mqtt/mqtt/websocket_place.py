"""Where a broker takes websockets; without them nothing else of `mqtt.websocket` is loaded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """Where the other side is; `secure` with TLS."""

    host: str
    port: int
    path: str
    secure: bool

    @property
    def authority(self) -> str:
        """Return host and port as in a URL."""
        default = 443 if self.secure else 80
        return self.host if self.port == default else f"{self.host}:{self.port}"
