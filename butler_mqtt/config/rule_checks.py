"""
Checks of the section `rules`: the expressions, the requests they fill, the topics.

The only part of the configuration that knows the language of rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from butler_mqtt.config.yaml_file import Document, Place
from butler_mqtt.contract import topics
from butler_mqtt.expressions import constant_parts
from butler_mqtt.expressions.expression import Expression
from butler_mqtt.expressions.parser import ExpressionError
from butler_mqtt.expressions.template import Template, TemplateError, TemplateProblem
from butler_mqtt.settings import MqttSettings, RuleSettings, Settings

_RULES: Final = ("Butler", "rules")


def check(values: Settings, document: Document, butler: dict[str, Any]) -> None:
    """Add a problem to *document* for each fault in the rules; *butler* holds what is in the file."""
    places: list[Place] = [(*_RULES, index) for index, item in enumerate(butler["rules"]) if item]
    sections = [item for item in butler["rules"] if item]
    rules = list(zip(values.rules, places, sections, strict=True))
    _names(rules, document)
    for rule, place, section in rules:
        _expression(rule.when, rule.payload, (*place, "when"), document)
        key = rule.coalesce.key if rule.coalesce else None
        _expression(key, rule.payload, (*place, "coalesce", "key"), document)
        _start(values, rule, place, document)
        _ways_in(values, rule, place, section, document)
    filters = list(_filters(rules))
    for rule, place, topic_filter in filters:
        _filter(values.mqtt, rule, place, topic_filter, document)
    if values.mqtt.protocol_version == "3.1.1":
        _overlaps(filters, document)


_Rules = list[tuple[RuleSettings, Place, Mapping[str, Any]]]


def _names(rules: _Rules, document: Document) -> None:
    first: dict[str, Place] = {}
    for rule, place, _ in rules:
        if rule.name in first:
            line = document.line((*first[rule.name], "name"))
            document.add_problem(
                (*place, "name"), f"{rule.name!r} is the name of the rule in line {line} too"
            )
        first.setdefault(rule.name, place)


def _expression(text: str | None, payload: str, place: Place, document: Document) -> None:
    if text is None:
        return
    try:
        expression = Expression(text)
    except ExpressionError as error:
        document.add_problem(place, error.message, error.offset)
        return
    if (offset := _field_of_nothing(expression, payload)) is not None:
        document.add_problem(place, _no_fields(payload), offset)
        return
    judge = constant_parts.condition_problem if place[-1] == "when" else constant_parts.value_problem
    if (problem := judge(expression)) is not None:
        document.add_problem(place, *problem)


def _field_of_nothing(expression: Expression, payload: str) -> int | None:
    """Return where a field is taken of a payload that has none."""
    return None if payload == "json" else expression.field_of("payload")


def _no_fields(payload: str) -> str:
    return f"with payload: {payload} there are no fields in it; write payload: json"


def _start(values: Settings, rule: RuleSettings, place: Place, document: Document) -> None:
    faults: list[TemplateProblem] = []
    try:
        template = Template(rule.start)
    except TemplateError as error:
        filled, faults = error.filled, error.problems
    else:
        filled = template.filled
        for path, start, expression in template.expressions:
            if (offset := _field_of_nothing(expression, rule.payload)) is not None:
                faults.append(TemplateProblem(path, _no_fields(rule.payload), start + offset))
            elif (problem := constant_parts.value_problem(expression)) is not None:
                faults.append(TemplateProblem(path, problem[0], start + problem[1]))
    faults += constant_parts.problems(rule.start, filled)
    if "parameters" in rule.start and not values.key_value_store.enable:
        faults.append(TemplateProblem(("parameters",), "needs keyValueStore.enable: true"))
    for fault in faults:
        document.add_problem((*place, "start", *fault.path), fault.message, fault.offset)


def _ways_in(
    values: Settings, rule: RuleSettings, place: Place, section: Mapping[str, Any], document: Document
) -> None:
    """Check that messages can come, and what a webhook needs."""
    coalesce, webhook = rule.coalesce, section.get("webhook", {})
    if not rule.topics and rule.webhook is None:
        document.add_problem(
            place, f"rule {rule.name} needs a topic, a webhook or both: where its messages come from"
        )
    if coalesce and coalesce.max_seconds < coalesce.quiet_seconds:
        document.add_problem(
            (*place, "coalesce", "maxSeconds"),
            f"is {coalesce.max_seconds:g}, less than quietSeconds ({coalesce.quiet_seconds:g})",
        )
    if rule.webhook is None:
        return
    if "signatureHeader" in webhook and "secretFile" not in webhook:
        document.add_problem(
            (*place, "webhook", "signatureHeader"), "is set without secretFile, with which callers sign"
        )
    if rule.webhook.secret is not None and "requestId" not in rule.start:
        document.add_problem(
            (*place, "start", "requestId"),
            "is missing: a signed call can be sent again by whoever saw it, and only a requestId made of"
            " its payload keeps it from starting anything twice",
        )
    if rule.enable and not values.rest.enable:
        document.add_problem((*place, "webhook"), "needs restServerConfig.enable: true")


def _filters(rules: _Rules) -> Iterator[tuple[RuleSettings, Place, str]]:
    for rule, place, section in rules:
        listed = isinstance(section.get("topic"), list)
        for index, topic_filter in enumerate(rule.topics):
            yield rule, (*place, "topic", index) if listed else (*place, "topic"), topic_filter


def _filter(
    mqtt: MqttSettings, rule: RuleSettings, place: Place, topic_filter: str, document: Document
) -> None:
    fault = topics.filter_problem(topic_filter)
    if fault is None and topic_filter.startswith("$share/"):
        fault = "is a shared subscription, of which this daemon would get a part only"
    if fault:
        document.add_problem(place, f"{topic_filter[:60]!r} {fault}")
        return
    if rule.enable and not mqtt.enable:
        document.add_problem(place, "needs mqttConfig.enable: true")
    own = [
        ("taskStartTopic", mqtt.task_start_topic),
        *(("the topic of a sender", topic) for topic in mqtt.sender_topics if not topics.problem(topic)),
        ("taskStartReplyTopic", mqtt.task_start_reply_topic),
        ("statusTopic", mqtt.status_topic),
        ("taskEventTopic", f"{mqtt.task_event_topic}/#"),
    ]
    for key, topic in own:
        if topics.overlap(topic_filter, topic):
            document.add_problem(
                place,
                f"{topic_filter[:60]!r} meets {key} ({topic[:60]}), which is this daemon's own",
            )
            return


def _overlaps(filters: list[tuple[RuleSettings, Place, str]], document: Document) -> None:
    """Refuse filters that both match a topic, where the broker cannot say for which one a message came."""
    enabled = [(place, one) for rule, place, one in filters if rule.enable and document.is_valid(place)]
    for count, (place, one) in enumerate(enabled):
        for other_place, other in enabled[:count]:
            if one != other and topics.overlap(one, other):
                where = f"{other[:60]!r} (line {document.line(other_place)})"
                document.add_problem(
                    place,
                    f"{one[:60]!r} and {where} match the same topics, which MQTT 3.1.1 cannot tell apart;"
                    " write protocolVersion: 5, or filters that do not overlap",
                )
                break
