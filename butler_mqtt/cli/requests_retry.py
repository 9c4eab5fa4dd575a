"""`requests retry`: a new request for the tasks of an old one that failed."""

from __future__ import annotations

from pathlib import Path

from butler_mqtt.audit.requests_again import FAILED, owner, retried
from butler_mqtt.audit.requests_choice import Declined
from butler_mqtt.cli import printing
from butler_mqtt.cli.start_request import on_topic_of, start
from butler_mqtt.domain.senders import RESERVED
from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.settings import Settings


def retry(
    settings: Settings,
    journal: Path,
    request_id: str,
    *,
    number: int | None,
    unknown: bool,
    timeout: float,
    as_json: bool,
) -> ExitCode:
    """
    Request what failed of a request again, in a new request whose sender names the old one.

    Args:
        settings: The broker and the topics, those of senders too: it goes to that of the old one's.
        journal: The file that holds the old one.
        request_id: The old one's id; of several that ask for the same the newest.
        number: Which of several, as `requests ID` numbers them.
        unknown: Also the tasks of which it is not known whether they began.
        timeout: Seconds to wait for the reply.
        as_json: Print the reply as one line of JSON.

    Returns:
        As `start`; FAILED also when nothing of it failed.

    Raises:
        JournalError: The journal cannot be read.
    """
    try:
        document = retried(journal, request_id, number, FAILED | {"unknown"} if unknown else FAILED)
        if not settings.mqtt.enable:
            raise Declined("mqttConfig.enable is false: send the request again through REST")
        sender = owner(journal, request_id, number)
        # That of its sender judges it again; others have no topic of their own.
        mqtt = on_topic_of(settings, None if sender in {None, *RESERVED} else sender)
    except (Declined, ValueError) as error:
        return printing.failed(str(error))
    return start(mqtt, document, timeout=timeout, as_json=as_json)
