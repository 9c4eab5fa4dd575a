"""
Rules of MQTT topics, and where a reply may go.

Pure functions on text; the rules are those of MQTT 5.0, section 4.7, and of
the brokers that are stricter than it about control characters.
"""

from __future__ import annotations

import unicodedata

from butler_mqtt import settings

#: Longest UTF-8 string an MQTT packet can hold, in bytes.
MAX_BYTES = 65535


def matches(topic_filter: str, topic: str) -> bool:
    """
    Return whether a subscription to *topic_filter* would receive *topic*.

    `+` stands for one level, a final `#` for the level above it and everything
    below; neither matches a first level that begins with `$`.
    """
    wanted = topic_filter.split("/")
    levels = topic.split("/")
    if topic.startswith("$") and wanted[0] in {"+", "#"}:
        return False
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index == len(levels) or level not in {"+", levels[index]}:
            return False
    return len(wanted) == len(levels)


def covers(one: str, other: str) -> bool:
    """Return whether a subscription to the filter *one* receives all that one to *other* does."""
    wanted, levels = one.split("/"), other.split("/")
    if other.startswith("$") and wanted[0] in {"+", "#"}:
        return False
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index == len(levels) or levels[index] == "#" or level not in {"+", levels[index]}:
            return False
    return len(wanted) == len(levels)


def overlap(one: str, other: str) -> bool:
    """Return whether there is a topic that both filters match; a topic name is a filter too."""
    first, second = one.split("/"), other.split("/")
    if (first[0] in {"+", "#"} and other.startswith("$")) or (
        second[0] in {"+", "#"} and one.startswith("$")
    ):
        return False
    for level, counterpart in zip(first, second, strict=False):
        if "#" in {level, counterpart}:
            return True
        if level != counterpart and "+" not in {level, counterpart}:
            return False
    rest = first[len(second) :] or second[len(first) :]
    return rest in ([], ["#"])


def problem(topic: str) -> str | None:
    """Return why *topic* is no topic name that can be published to, None if it is one."""
    if "+" in topic or "#" in topic:
        return "must not contain the wildcards + and #"
    return _text_problem(topic)


def filter_problem(topic_filter: str) -> str | None:
    """Return why *topic_filter* is no topic filter, None if it is one."""
    levels = topic_filter.split("/")
    if any("#" in level for level in levels[:-1]) or ("#" in levels[-1] and levels[-1] != "#"):
        return "may contain # only as its whole last level"
    if any("+" in level and level != "+" for level in levels):
        return "may contain + only as a whole level"
    return _text_problem(topic_filter)


def comes_back(mqtt: settings.MqttSettings, topic: str) -> str | None:
    """Return why a message on *topic* would come back to this daemon, None if it would not."""
    if topic in mqtt.start_topics or topic == mqtt.status_topic:
        return "is a topic this daemon listens to"
    if any(matches(one, topic) for one in mqtt.rule_filters):
        return "is a topic of a rule"
    return None


def may_reply(mqtt: settings.MqttSettings, topic: str) -> str | None:
    """
    Return why a sender may not have replies at *topic*, None if it may.

    A reply must not come back to us as a request, as a message for a rule or as
    a daemon's status, nor look like an event; `taskStartReplyTopic` itself is not judged by
    `replyTopicAllow`.
    """
    if reason := problem(topic) or ("begins with $, the broker's own" if topic.startswith("$") else None):
        return reason
    if reason := comes_back(mqtt, topic):
        return reason
    if topic == mqtt.task_event_topic or topic.startswith(f"{mqtt.task_event_topic}/"):
        return f"lies under taskEventTopic {mqtt.task_event_topic}"
    allowed = topic == mqtt.task_start_reply_topic or any(
        matches(one, topic) for one in mqtt.reply_topic_allow
    )
    return None if allowed else "lies under none of replyTopicAllow"


def _text_problem(text: str) -> str | None:
    """Apply what names and filters have in common."""
    if not text:
        return "must not be empty"
    # Some brokers close the connection on these, so that one bad reply topic would hold up all replies.
    if any(
        unicodedata.category(character) in {"Cc", "Cs"} or _is_noncharacter(character) for character in text
    ):
        return "must not contain control characters or code points that are no characters"
    if len(text.encode()) > MAX_BYTES:
        return f"must not be longer than {MAX_BYTES} bytes"
    return None


def _is_noncharacter(character: str) -> bool:
    """Return whether Unicode reserves this code point as never being a character."""
    number = ord(character)
    return 0xFDD0 <= number <= 0xFDEF or number & 0xFFFE == 0xFFFE
