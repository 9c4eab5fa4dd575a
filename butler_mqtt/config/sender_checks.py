"""Checks of `senders`: each topic, token, certificate and rule names one sender, and is there."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Final

from butler_mqtt.config.yaml_file import Document, Place
from butler_mqtt.contract import topics
from butler_mqtt.domain.senders import RESERVED
from butler_mqtt.settings import MqttSettings, Settings

_SENDERS: Final = ("Butler", "senders")
_TOKENS: Final = ("Butler", "restServerConfig", "auth", "tokens")
_MQTT: Final = ("Butler", "mqttConfig")
#: Lists of a sender whose entries belong to one sender only, with the word for one entry.
_OWNED: Final = {"tokens": "token", "rules": "rule", "certificates": "certificate"}


def check(
    values: Settings, document: Document, butler: dict[str, Any], rules: Collection[str] | None = None
) -> None:
    """
    Add a problem to *document* for each fault of the senders in *values*.

    Args:
        values: The whole configuration.
        document: The file.
        butler: What is in the file, without defaults.
        rules: Names of the rules there are; None: they are not known, and not checked.
    """
    _names(values, document)
    for key, word in _OWNED.items():
        _once(document, butler, key, word)
    _tokens(document, butler)
    if rules is not None:
        _known(document, butler, "rules", rules, "is no rule")
    if values.mqtt.enable:
        _topics(values, document)


def _names(values: Settings, document: Document) -> None:
    lines: dict[str, int | None] = {}
    for index, sender in enumerate(values.senders):
        place: Place = (*_SENDERS, index, "name")
        if sender.name in RESERVED:
            document.add_problem(
                place, f"is {sender.name!r}, which stands for requests of no sender; choose another"
            )
        elif sender.name in lines:
            document.add_problem(
                place, f"{sender.name!r} is the name of the sender in line {lines[sender.name]} too"
            )
        lines.setdefault(sender.name, document.line(place))


def _once(document: Document, butler: dict[str, Any], key: str, word: str) -> None:
    """Add a problem for each entry of the lists *key* that another sender has too."""
    owners: dict[str, tuple[int, str, int | None]] = {}
    for index, sender, place, name in _entries(butler, key):
        owner, of, line = owners.setdefault(name, (index, sender, document.line(place)))
        if owner != index:
            document.add_problem(
                place, f"{name!r} is a {word} of the sender {of!r} (line {line}) too; it belongs to one"
            )


def _tokens(document: Document, butler: dict[str, Any]) -> None:
    listed = butler["restServerConfig"]["auth"].get("tokens", ())
    if not document.is_valid(_TOKENS):
        return
    _known(document, butler, "tokens", [one["name"] for one in listed], "is no name of auth.tokens")
    roles = {one["name"]: one.get("role", "sender") for one in listed}
    for _, _, place, name in _entries(butler, "tokens"):
        if roles.get(name, "sender") != "sender":
            line = document.line((*_TOKENS, [one["name"] for one in listed].index(name)))
            document.add_problem(
                place,
                f"{name!r} has the role {roles[name]} (line {line}), which is not one of a sender; "
                "give the sender a token of its own",
            )


def _known(document: Document, butler: dict[str, Any], key: str, known: Collection[str], wrong: str) -> None:
    for _, _, place, name in _entries(butler, key):
        if name not in known:
            named = ", ".join(sorted(known)) or "none"
            document.add_problem(place, f"{name!r} {wrong}; there are: {named}")


def _entries(butler: dict[str, Any], key: str) -> Iterator[tuple[int, str, Place, str]]:
    """Yield the number and the name of each sender, and place and value of each entry of its list *key*."""
    for index, sender in enumerate(butler.get("senders", ())):
        for number, name in enumerate(sender.get(key, ())):
            yield index, sender["name"], (*_SENDERS, index, key, number), name


def _topics(values: Settings, document: Document) -> None:
    seen: dict[str, str] = {}
    for index, sender in enumerate(values.senders):
        topic = sender.topic
        if topic is None:
            continue
        place: Place = (*_SENDERS, index, "topic")
        fault = topics.problem(topic)
        if fault is None and topic.startswith("$"):
            fault = "must not begin with $, which belongs to the broker"
        if fault is not None:
            document.add_problem(place, f"{topic[:60]!r} {fault}")
            continue
        where = seen.get(topic) or _own(values.mqtt, topic)
        if where is not None:
            document.add_problem(place, f"{topic[:60]!r} is {where}; each sender needs its own")
        seen.setdefault(topic, f"the topic of the sender {sender.name!r} (line {document.line(place)})")


def _own(mqtt: MqttSettings, topic: str) -> str | None:
    """Return which topic of ours *topic* is, None if it is none."""
    ours = {
        mqtt.task_start_topic: "taskStartTopic, where requests of no sender arrive",
        mqtt.task_start_reply_topic: "taskStartReplyTopic",
        mqtt.status_topic: "statusTopic",
        mqtt.task_event_topic: "taskEventTopic",
    }
    if topic.startswith(f"{mqtt.task_event_topic}/"):
        return f"below taskEventTopic {mqtt.task_event_topic}"
    return ours.get(topic)
