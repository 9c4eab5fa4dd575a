"""From how many days before its end something that must be renewed is reported: one home for all reports."""

from __future__ import annotations

from typing import Final

from butler_mqtt.printable import counted

#: A token: the bearer tokens of the REST listener, and the one for the Qlik proxy.
TOKEN: Final = 14
#: A certificate, where somebody looks: in `check` and on the page.
CERTIFICATE: Final = 30
#: A certificate, where somebody is called: an alert, and the rule for Prometheus in `deploy/`.
CERTIFICATE_ALERT: Final = 14
#: A certificate, from which on the page shows it as a fault.
URGENT: Final = 7
#: Seconds of a day.
DAY: Final = 86_400


def within(days: int) -> str:
    """Write in which time something ends of which *days* whole days are left, none of them negative."""
    return f"in {counted(days, 'day')}" if days else "in less than a day"
