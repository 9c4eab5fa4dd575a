"""Checks what a file of Butler's says about notifications, which are alerts here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from butler_mqtt.checks.finding import Finding, ok, warning
from butler_mqtt.settings import Settings

#: By Butler's section, a name for the target and what its file holds.
REPLACED_BY: Mapping[str, tuple[str, str]] = {
    "emailNotification": (
        "mail",
        "mailto://user:password@mail.example.com:587?from=butler@example.com&to=bi@example.com&mode=starttls",
    ),
    "slackNotification": ("slack", "the address of the incoming webhook, https://hooks.slack.com/services/…"),
    "teamsNotification": ("teams", "the address of the workflow that posts webhook requests to a channel"),
    "webhookNotification": ("webhook", "jsons://host/path"),
    "incidentTool": ("incidents", "signl4://secret, or pagerduty://integration-key@api-key"),
}


def check(settings: Settings) -> Iterator[Finding]:
    """Name each section of Butler's that is on, with the line that replaces it."""
    for section in settings.notifications:
        name, holds = REPLACED_BY[section]
        if settings.alerts.enable:
            yield ok("alerts.butler", f"{section} of Butler is not read; alerts.targets is instead")
            continue
        line = f"alerts: {{ enable: true, targets: [ {{ name: {name}, urlFile: {name}.url }} ] }}"
        yield warning(
            "alerts.butler",
            f"{section} of Butler is not read, so that nobody is called",
            f"write `{line}`, where the file {name}.url holds {holds}; docs/alerts.md explains it",
        )
