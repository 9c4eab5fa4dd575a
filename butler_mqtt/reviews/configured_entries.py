"""Lines about what the configuration names: entries that match no task, rules that match no message. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from butler_mqtt.domain.model import Selector, SelectorKind
from butler_mqtt.journal.usage import Usage
from butler_mqtt.printable import counted
from butler_mqtt.reviews.remark import Remark, Topic
from butler_mqtt.reviews.selectors_in_use import written
from butler_mqtt.reviews.site_tasks import SiteTasks
from butler_mqtt.settings import Settings, StartTaskFilter

_DAY = 86_400_000
#: Begins an expression in a text of a rule; what such a text means is known with a message only.
_EXPRESSION = "${{"


def entries(settings: Settings) -> Iterator[tuple[str, Selector]]:
    """Give each selector that is in force in the configuration, with its place there."""
    if settings.start_task_filter.enable:
        yield from _of_list("startTaskFilter.allowTask", settings.start_task_filter)
    for sender in settings.senders:
        if sender.allow_task is not None:
            yield from _of_list(f"senders, {sender.name}, allowTask", sender.allow_task)
    for rule in settings.rules:
        if rule.enable:
            for holder in (rule.start, *_holders(rule.start.get("stages"))):
                yield from ((f"rules, {rule.name}", one) for one in _constant(holder))
    if settings.alerts.enable:
        for target in settings.alerts.targets:
            allow = StartTaskFilter(tags=target.tags, custom_properties=target.custom_properties)
            yield from _of_list(f"alerts.targets, {target.name}", allow)
        for overdue in settings.alerts.overdue:
            yield "alerts.overdue", Selector(SelectorKind(overdue.kind), overdue.value, overdue.name)


def without_task(settings: Settings, site: SiteTasks) -> Iterator[Remark]:
    """Give a line for each entry of the configuration that matches no task."""
    for place, selector in entries(settings):
        if site.means(selector) == []:
            alike = site.alike(selector)
            yield Remark(
                Topic.NO_MATCH,
                f"{place}: {written(selector)} matches no task",
                f"correct it: {alike} is there, a misspelling of it?"
                if alike is not None
                else "remove the entry, or correct it",
                {"place": place, "selector": selector.as_json()},
            )


def unmatched(settings: Settings, usage: Usage, until: int) -> Iterator[Remark]:
    """Give a line for each rule that matched no message in the period, or never."""
    for rule in settings.rules:
        use = usage.rules.get(rule.name)
        matched_at = use.matched_at if use is not None else None
        if not rule.enable or (matched_at is not None and matched_at >= usage.since):
            continue
        since = "has never matched"
        if matched_at is not None:
            since = f"matched last {(until - matched_at) // _DAY} days ago"
        messages, errors = (use.messages, use.errors) if use is not None else (0, 0)
        yield Remark(
            Topic.UNMATCHED,
            f"rule {rule.name} {since}; {counted(messages, 'message')} judged",
            _advice(rule.name, messages, errors),
            {"rule": rule.name, "messages": messages, "errors": errors},
        )


def _advice(name: str, messages: int, errors: int) -> str:
    if errors:
        return f"{errors} of them could not be read or evaluated: butler-mqtt rules test, with one of them"
    if messages:
        return "try its condition on a message: butler-mqtt rules test --topic TOPIC --payload PAYLOAD"
    return f"no message came: check the topic of {name} and the broker's rights, or remove the rule"


def _of_list(place: str, allow: StartTaskFilter) -> Iterator[tuple[str, Selector]]:
    for task_id in sorted(allow.task_ids):
        yield place, Selector(SelectorKind.TASK_ID, task_id)
    for tag in allow.tags:
        yield place, Selector(SelectorKind.TAG, tag)
    for name, value in allow.custom_properties:
        yield place, Selector(SelectorKind.CUSTOM_PROPERTY, value, name)


def _holders(stages: object) -> Sequence[Mapping[str, object]]:
    return [one for one in stages if isinstance(one, Mapping)] if isinstance(stages, list) else []


def _constant(holder: Mapping[str, object]) -> Iterator[Selector]:
    """Give the selectors of a request's template that are the same for every message."""
    for kind in SelectorKind:
        given = holder.get(kind.value, [])
        for value in given if isinstance(given, list) else [given]:
            if isinstance(value, str) and _EXPRESSION not in value:
                yield Selector(kind, value.lower() if kind is SelectorKind.TASK_ID else value)
            elif isinstance(value, Mapping):
                pair = (value.get("value"), value.get("name"))
                if all(isinstance(one, str) and _EXPRESSION not in one for one in pair):
                    yield Selector(kind, str(pair[0]), str(pair[1]))
