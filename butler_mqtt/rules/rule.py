"""One rule: whether a message is meant, and which request it makes."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from butler_mqtt.contract import validation
from butler_mqtt.errors import RequestError
from butler_mqtt.expressions.explanation import explain
from butler_mqtt.expressions.expression import Expression
from butler_mqtt.expressions.parser import ExpressionError
from butler_mqtt.expressions.template import RenderError, Template, TemplateError, dotted
from butler_mqtt.expressions.values import EvaluationError, Scope, ValueFault, text_of
from butler_mqtt.rules.message import DecodedMessage, PayloadError, RuleMessage, decoded
from butler_mqtt.settings import RuleSettings

#: Longest request that a rule makes, in bytes.
MAX_REQUEST_BYTES: Final = 262_144
#: Longest key of a window, in characters.
MAX_KEY: Final = 1024


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

    `reason` is for people: what is wrong where the outcome is `failed` or
    `error`. `key` is the value of `coalesce.key` as text, None without one.
    """

    outcome: RuleOutcome
    reason: str = ""
    key: str | None = None


class RuleError(ValueError):
    """A rule that cannot be used; the text names the rule and the place in it."""


_UNMATCHED: Final = Judgement(RuleOutcome.UNMATCHED, "`when` is false")
_MATCHED: Final = Judgement(RuleOutcome.MATCHED)


class Rule:
    """
    One entry of `rules`, ready to judge messages.

    Raises:
        RuleError: An expression of it cannot be used. What the configuration
            file's reader lets through always can.
    """

    def __init__(self, settings: RuleSettings) -> None:
        self.settings = settings
        self.name = settings.name
        coalesce = settings.coalesce
        self._when = self._expression("when", settings.when)
        self._key = self._expression("coalesce.key", coalesce.key if coalesce else None)
        try:
            self._start = Template(settings.start)
        except TemplateError as error:
            raise RuleError(f"rule {self.name}: {error}") from None

    def _expression(self, place: str, text: str | None) -> Expression | None:
        try:
            return None if text is None else Expression(text)
        except ExpressionError as error:
            raise RuleError(
                f"rule {self.name}: {place}, character {error.offset + 1}: {error.message}"
            ) from None

    def judge(self, message: RuleMessage | DecodedMessage, count: int = 1) -> Judgement:
        """Return whether *message*, the last of *count* coalesced ones, is meant."""
        try:
            scope = self._scope(message, count)
        except PayloadError as error:
            return Judgement(RuleOutcome.FAILED, str(error))
        if self._when is not None:
            try:
                if not self._when.condition(scope):
                    return _UNMATCHED
            except EvaluationError as error:
                return Judgement(RuleOutcome.ERROR, f"when: {error.message}")
        return _MATCHED if self._key is None else self._with_key(self._key, scope)

    def _with_key(self, expression: Expression, scope: Scope) -> Judgement:
        try:
            key = text_of(expression.evaluate(scope))
            if len(key) > MAX_KEY:
                raise ValueFault(f"has {len(key)} characters, {MAX_KEY} are allowed")
        except (EvaluationError, ValueFault) as error:
            return Judgement(RuleOutcome.FAILED, f"coalesce.key: {error}")
        return Judgement(RuleOutcome.MATCHED, key=key)

    def explain(self, message: RuleMessage | DecodedMessage, count: int = 1) -> list[str]:
        """Return why *message* is not meant, one sentence for each part of `when` that keeps it out."""
        try:
            scope = self._scope(message, count)
        except PayloadError as error:
            return [str(error)]
        return explain(self._when, scope.variables) if self._when else []

    def render(self, message: RuleMessage | DecodedMessage, count: int = 1) -> bytes:
        """
        Return the body of the request that *message*, the last of *count*, makes; it is a valid one.

        Raises:
            RequestError: `rule_failed`; `details` names the place in the rule.
        """
        try:
            made = self._start.render(self._scope(message, count))
        except PayloadError as error:
            raise self._failed(str(error)) from None
        except RenderError as error:
            raise self._failed(f"{dotted(error.path)}: {error.message}") from None
        text = json.dumps(made, ensure_ascii=False, separators=(",", ":"))
        body = text.encode("utf-8", "surrogatepass")  # a header may hold what is no text; it is refused below
        try:
            validation.parse(
                body,
                max_bytes=MAX_REQUEST_BYTES,
                max_selectors=sys.maxsize // 10,
                parameters=True,
            )
        except RequestError as error:
            raise self._failed(f"start makes no valid request: {error.details}{_hint(error)}") from None
        return body

    def _scope(self, message: RuleMessage | DecodedMessage, count: int) -> Scope:
        return Scope(decoded(message).variables(self.settings.payload) | {"count": count})

    def _failed(self, details: str) -> RequestError:
        return RequestError("rule_failed", "Rule failed", f"rule {self.name}: {details}")


def _hint(error: RequestError) -> str:
    """Return what to do about a number where a text is meant."""
    if "must be a string" in error.details and "is the number" in error.details:
        return "; string(…) in the expression makes a text of it"
    return ""
