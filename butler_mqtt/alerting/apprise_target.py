"""
A target of alerts, reached through Apprise; the only home of that library, loaded only where it is used.

Apprise neither repeats a message nor stores anything here: what is to be sent
again is in the journal (https://appriseit.com/ says what a URL may hold).
"""

from __future__ import annotations

import logging
import re
import threading
import warnings
from typing import Final
from urllib.parse import unquote

import apprise
from apprise import AppriseAsset, NotifyFormat, NotifyType

from butler_mqtt.alerting.alert_sender import THREAD, TargetRefused

#: Characters of a reason that are kept.
MAX_REASON: Final = 300
#: How Apprise writes a status by which a target says that the same will be refused again.
_FINAL: Final = re.compile(r"error=4(?!08|29)\d\d\b")
#: Shorter parts of a URL are words, such as a port.
_LEAST_SECRET: Final = 6

with warnings.catch_warnings():
    # Loads all services once; libraries of some warn that they are old.
    warnings.simplefilter("ignore")
    apprise.Apprise.instantiate("json://localhost")

# It would log what it sends, and where; its reasons are read from its results.
logging.getLogger(apprise.LOGGER_NAME).propagate = False
logging.getLogger(apprise.LOGGER_NAME).addHandler(logging.NullHandler())


def _is_not_of_alerts(_record: logging.LogRecord) -> bool:
    return not threading.current_thread().name.startswith(THREAD)


# They name the URL of an answer whose head they cannot parse, where tokens of Slack and Teams are.
for _name in ("urllib3.connection", "urllib3.connectionpool"):
    logging.getLogger(_name).addFilter(_is_not_of_alerts)


class AppriseTarget:
    """
    Sends texts to one target.

    Args:
        url: Of Apprise; its parameters `cto` and `rto` are the seconds for
            connecting and for an answer.

    Raises:
        ValueError: Apprise does not understand the URL.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        # No time for a whole message: it would take a thread that the end of the process waits for.
        asset = AppriseAsset(
            app_id="butler-mqtt",
            app_desc="butler-mqtt",
            async_mode=False,
            default_service_retry=0,
            storage_mode="memory",
            service_timeout=0,
        )
        self._sender = apprise.Apprise(asset=asset)
        service = apprise.Apprise.instantiate(url, asset=asset)
        if service is None:
            raise ValueError("is not a URL that Apprise understands")
        service.overflow_mode = apprise.OverflowMode.TRUNCATE
        service.request_rate_per_sec = 0.0  # one at a time, and seldom
        self._sender.add(service)

    def send(self, title: str, body: str, *, good: bool) -> None:
        """
        Send a text; *good*: something is well again. Takes as long as the target does.

        Raises:
            TargetRefused: It did not take it, or was not reached, for a reason without parts of its URL.
        """
        kind = NotifyType.SUCCESS if good else NotifyType.FAILURE
        try:
            result = self._sender.notify(
                body=body,
                title=title,
                notify_type=kind,
                body_format=NotifyFormat.TEXT,
                log_level=logging.WARNING,
            )
        except Exception as error:  # noqa: BLE001 -- a plugin may raise whatever its library does
            raise TargetRefused(self._reason(f"{type(error).__name__}: {error}")) from None
        with result:
            lines = [] if result else [str(entry.message) for entry in result.logs()]
            if not result:
                reason = self._reason("; ".join(dict.fromkeys(lines)))
                raise TargetRefused(reason, final=bool(_FINAL.search(reason)))

    def _reason(self, text: str) -> str:
        """Return what Apprise says without parts of the URL, in which secrets may be anywhere."""
        line = " ".join("".join(one if one.isprintable() else " " for one in text[:4000]).split())
        for part in secrets(self._url):
            whole = re.escape(part) if len(part) >= _LEAST_SECRET else rf"(?<!\w){re.escape(part)}(?!\w)"
            line = re.sub(whole, "***", line)
        return line[:MAX_REASON] or "not sent, and Apprise does not say why"


def fault(url: str) -> str | None:
    """Return what is wrong with the URL of a target, without quoting it; None where nothing is."""
    try:
        AppriseTarget(url)
    except ValueError as error:
        scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]{0,20}(?=:)", url)
        known = f"; it begins with {scheme[0]}:" if scheme else "; it begins with no scheme such as mailto:"
        return f"{error}{known}, see docs/alerts.md#targets"
    return None


def secrets(url: str) -> list[str]:
    """Return the parts of *url* that may be secret, longest first: all but scheme and host."""
    rest = url.partition("://")[2] or url
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    behind = rest[len(authority) :]
    login, _, host = authority.rpartition("@")
    # Where there is no host, a token stands in its place, as in slack://token/token.
    named = "." in host or host.partition(":")[0] == "localhost" or host.startswith("[")
    private = [login, *re.split("[:@]", login), *([] if named else [host, *host.split(":")])]
    long = [one for one in re.split(r"[/?&=#@,;+]", behind) if len(one) >= _LEAST_SECRET and one not in host]
    found = {text for part in (*private, *long) for text in (part, unquote(part)) if text}
    return sorted(found, key=len, reverse=True)
