"""What `butler-mqtt rules test` prints: what each rule says of a message, and why."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from butler_mqtt.cli import printing, resolve_report
from butler_mqtt.clock import now_ms
from butler_mqtt.contract import topics
from butler_mqtt.domain.senders import Senders
from butler_mqtt.errors import BrokerError, QlikError, RequestError
from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.mqtt.topic_listener import TopicListener
from butler_mqtt.rules.message import DecodedMessage, RuleMessage
from butler_mqtt.rules.rule import Rule, RuleOutcome
from butler_mqtt.rules.rule_set import RuleSet
from butler_mqtt.settings import Settings

#: The outcome of a rule whose messages come from elsewhere.
_ELSEWHERE = "elsewhere"
_WORDS = {
    RuleOutcome.MATCHED: "matches",
    RuleOutcome.UNMATCHED: "does not match",
    RuleOutcome.ERROR: "does not match: `when` cannot be evaluated",
    RuleOutcome.FAILED: "fails: rule_failed",
    _ELSEWHERE: "is for other messages",
}
#: Seconds for which the broker is listened to at a time, so that Ctrl-C is heard.
_TURN_SECONDS = 0.5


class Trial:
    """
    Messages put to all rules of a configuration.

    Args:
        settings: The configuration.
        as_json: One line of JSON for each message, else text.
        resolve: Whether the Qlik server is asked which tasks each request means.
    """

    def __init__(self, settings: Settings, *, as_json: bool, resolve: bool) -> None:
        self._settings = settings
        self._rules = RuleSet(settings.rules)
        self._senders = Senders(settings)
        self._as_json = as_json
        self._resolve = resolve

    def webhooks(self) -> list[str]:
        """Return the names of the rules that have a webhook."""
        return [rule.name for rule in self._rules if rule.settings.webhook is not None]

    def message(
        self,
        topic: str | None,
        webhook: str | None,
        payload: bytes,
        properties: Mapping[str, str],
        count: int = 1,
    ) -> ExitCode:
        """
        Print what the rules say of one message.

        Returns:
            OK when a rule makes a request of it, FAILED when none does or the request
            would be refused, UNAVAILABLE when the Qlik server does not answer.
        """
        if not self._rules:
            return printing.failed("the configuration has no rules; docs/rules.md tells how to write one")
        if topic is not None and (fault := topics.problem(topic)):
            printing.print_error(f"the topic {topic!r} {fault}")
            return ExitCode.USAGE
        message = RuleMessage(payload, topic or "", properties, now_ms())
        try:
            return self._judge(message, webhook, count)
        except QlikError as error:
            printing.print_error(str(error))
            return ExitCode.UNAVAILABLE

    def listen(self, seconds: float | None) -> ExitCode:
        """
        Print what the rules say of the messages that others publish, for *seconds* or until Ctrl-C.

        Returns:
            OK when a rule made a request or Ctrl-C ended it, FAILED when none did,
            UNAVAILABLE when the broker or the Qlik server does not answer.
        """
        filters = self._rules.filters()
        if not filters:
            return printing.failed("no rule that is on has a topic to listen to")
        code = ExitCode.FAILED
        end = None if seconds is None else time.monotonic() + seconds
        heard = 0
        try:
            with TopicListener(self._settings.mqtt) as listener:
                listener.listen(filters)
                printing.print_error(f"listening to {', '.join(filters)}")
                while end is None or time.monotonic() < end:
                    one = listener.next(
                        _TURN_SECONDS if end is None else min(_TURN_SECONDS, end - time.monotonic())
                    )
                    if one is None or one.retained:
                        continue  # the daemon, too, does nothing with what was stored
                    heard += 1
                    message = RuleMessage(one.payload, one.topic, dict(one.properties), one.received_at)
                    if self._judge(message, None, 1) is ExitCode.OK:
                        code = ExitCode.OK
        except KeyboardInterrupt:
            return ExitCode.OK
        except (BrokerError, QlikError) as error:
            printing.print_error(str(error))
            return ExitCode.UNAVAILABLE
        if not heard:
            printing.print_error(f"no message came within {seconds:g} seconds")
        return code

    def _judge(self, message: RuleMessage, webhook: str | None, count: int) -> ExitCode:
        decoded = DecodedMessage(message)
        records = [self._record(rule, decoded, webhook, count) for rule in self._rules]
        if self._as_json:
            source = {"topic": message.topic} if webhook is None else {"webhook": webhook}
            printing.print_json(source | {"bytes": len(message.payload), "rules": records})
        else:
            where = f"on {message.topic}" if webhook is None else f"to the webhook of {webhook}"
            printing.print_text(f"message {where}, {len(message.payload)} bytes", "bold")
            # Those that match come first.
            for record in sorted(records, key=lambda one: [*_WORDS].index(one["outcome"])):
                self._print(record)
        made = any(
            "request" in record and record["enable"] and "error" not in record.get("tasks", ())
            for record in records
        )
        return ExitCode.OK if made else ExitCode.FAILED

    def _record(self, rule: Rule, decoded: DecodedMessage, webhook: str | None, count: int) -> dict[str, Any]:
        record: dict[str, Any] = {"rule": rule.name, "enable": rule.settings.enable}
        if elsewhere := _elsewhere(rule, decoded.message.topic, webhook):
            return record | {"outcome": _ELSEWHERE, "reasons": [elsewhere]}
        judgement = rule.judge(decoded, count)
        record |= {"outcome": judgement.outcome.value, "reasons": []}
        if judgement.outcome in {RuleOutcome.UNMATCHED, RuleOutcome.ERROR}:
            return record | {"reasons": rule.explain(decoded, count) or [judgement.reason]}
        if judgement.outcome is RuleOutcome.FAILED:
            return record | {"reasons": [judgement.reason]}
        if judgement.key is not None:
            record["key"] = judgement.key
        if "${{" not in str(rule.settings.start.get("requestId", "${{")):
            record["constantId"] = True
        try:
            record["request"] = json.loads(rule.render(decoded, count))
        except RequestError as error:
            return record | {"outcome": RuleOutcome.FAILED.value, "reasons": [error.details]}
        if self._resolve and "cancel" not in record["request"]:
            record["tasks"] = self._resolved(rule, record["request"])
        return record

    def _resolved(self, rule: Rule, request: Mapping[str, object]) -> dict[str, Any]:
        """Return the tasks of a request as they would be judged for the sender of *rule*, or its refusal."""
        caller = self._senders.of_rule(rule.name)
        try:
            return resolve_report.ask(self._settings, request, parameters=True, caller=caller)
        except RequestError as error:
            return resolve_report.refused(error)

    def _print(self, record: Mapping[str, Any]) -> None:
        off = "" if record["enable"] else ", but it is off (enable: false)"
        style = "green" if record["outcome"] == RuleOutcome.MATCHED else ""
        printing.print_text(f"{record['rule']} {_WORDS[record['outcome']]}{off}", style)
        for reason in record["reasons"]:
            printing.print_line(f"  {reason}", 4)
        for line in _made(record):
            printing.print_line(f"  {line}", 4)
        if "tasks" in record:
            printing.show(record["tasks"], as_json=False)


def _elsewhere(rule: Rule, topic: str, webhook: str | None) -> str:
    """Return where the messages of *rule* come from, if not from there."""
    if webhook is not None:
        return "" if rule.name == webhook else "it has another webhook, or none"
    if any(topics.matches(topic_filter, topic) for topic_filter in rule.settings.topics):
        return ""
    if not rule.settings.topics:
        return f"it has a webhook only: --webhook {rule.name}"
    return f"its topic is {', '.join(rule.settings.topics)}"


def _made(record: Mapping[str, Any]) -> Iterator[str]:
    if "key" in record:
        yield f"messages with the key {record['key']!r} wait for one another"
    if "request" in record:
        yield f"makes the request {json.dumps(record['request'], ensure_ascii=False)}"
    if record.get("constantId"):
        yield "which is the same requestId for every message: all but the first start nothing"
