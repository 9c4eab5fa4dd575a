"""Whether the URL of a target can be used; loads Apprise only when asked."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

#: What to do where Apprise is not installed.
MISSING = "alerts.enable: true needs Apprise, which is not installed: pip install 'butler-mqtt[alerts]'"


def apprise_installed() -> bool:
    """Return whether alerts can be sent."""
    return find_spec("apprise") is not None


def url_fault(url: str, *, installed: Callable[[], bool] = apprise_installed) -> str | None:
    """Return what is wrong with the URL of a target, without quoting it; None where nothing is."""
    if not installed():
        return MISSING
    from butler_mqtt.alerting import apprise_target  # noqa: PLC0415 -- it loads a hundred services

    return apprise_target.fault(url)
