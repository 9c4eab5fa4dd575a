"""One rule: whether a message is meant, and which request it makes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum

from butler_mqtt.errors import RequestError
from butler_mqtt.rules.message import DecodedMessage, RuleMessage
from butler_mqtt.settings import RuleSettings


class RuleOutcome(StrEnum):
    """What a rule says of a message."""

    MATCHED = "matched"
    UNMATCHED = "unmatched"
    #: The payload is not what the rule says it is, or the key of its window cannot be told: `rule_failed`.
    FAILED = "failed"
    #: `when` cannot be evaluated; the message is not meant.
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Judgement:
    """
    What a rule says of one message.

    `reason` is for people: why it does not match, or what cannot be evaluated.
    `key` is the value of `coalesce.key` as text, None without one.
    """

    outcome: RuleOutcome
    reason: str = ""
    key: str | None = None


class Rule:
    """One entry of `rules`, ready to judge messages."""

    def __init__(self, settings: RuleSettings) -> None:
        self.settings = settings
        self.name = settings.name

    def judge(self, message: RuleMessage | DecodedMessage, count: int = 1) -> Judgement:
        """Return whether *message*, the last of *count* coalesced ones, is meant."""
        del message, count
        return Judgement(RuleOutcome.MATCHED)  # being built

    def render(self, message: RuleMessage | DecodedMessage, count: int = 1) -> bytes:
        """
        Return the body of the request that *message* makes.

        Raises:
            RequestError: `rule_failed`; `details` names the place in the rule.
        """
        del message, count
        if not self.settings.start:
            raise RequestError("rule_failed", "Rule failed", f"rule {self.name}: start is empty")
        return json.dumps(self.settings.start, ensure_ascii=False).encode()
