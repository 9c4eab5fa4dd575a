"""What one rule says of one message, as values: the daemon judges and renders nowhere else."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from butler_mqtt.domain.model import Arrival, RuleOrigin
from butler_mqtt.errors import RequestError
from butler_mqtt.settings import RuleSettings

if TYPE_CHECKING:
    from butler_mqtt.rules.message import DecodedMessage, RuleMessage
    from butler_mqtt.rules.rule import Judgement, Rule

#: Seconds between two warnings about one rule, as that its `when` cannot be evaluated.
WARN_SECONDS = 3600.0

_log = logging.getLogger("butler_mqtt.rules")


def message_of(arrival: Arrival) -> RuleMessage:
    """Return what rules see of a message or a call."""
    # Loaded already: there are rules.
    from butler_mqtt.rules.message import RuleMessage  # noqa: PLC0415 -- costly to load, and needed with rules only

    if arrival.webhook is not None:
        return RuleMessage(arrival.payload, "", dict(arrival.webhook.headers), arrival.received_at)
    message = arrival.message
    topic, properties = ("", ()) if message is None else (message.topic, message.user_properties)
    return RuleMessage(arrival.payload, topic, dict(properties), arrival.received_at)


def origin_of(rule: str, arrival: Arrival) -> RuleOrigin:
    """Return what is kept of a message or a call beside the request that a rule makes of it."""
    message = arrival.message
    if message is None:
        return RuleOrigin(rule, arrival.payload)
    expires_at = None
    if message.expiry_seconds is not None:
        expires_at = arrival.received_at + message.expiry_seconds * 1000
    return RuleOrigin(rule, message.payload, message.topic, expires_at=expires_at)


def judged(rule: Rule, decoded: DecodedMessage) -> Judgement | RequestError:
    """Judge; what keeps the rule from judging is its refusal."""
    try:
        judgement = rule.judge(decoded)
    except RequestError as error:
        return error
    except Exception:  # noqa: BLE001 -- a fault in one rule must cost no other message anything
        return _bug(rule.name)
    if judgement.outcome == "failed":
        return RequestError("rule_failed", "Rule failed", f"rule {rule.name}: {judgement.reason}")
    return judgement


def rendered(rule: Rule, message: RuleMessage | DecodedMessage, count: int) -> bytes | RequestError:
    """Render the request, or say why it cannot be."""
    try:
        return rule.render(message, count)
    except RequestError as error:
        return error
    except Exception:  # noqa: BLE001 -- as in `judged`
        return _bug(rule.name)


def rendered_by(settings: RuleSettings, message: RuleMessage, count: int) -> bytes | RequestError:
    """Render the request by a rule as it was when a window began, which this version may refuse."""
    from butler_mqtt.rules.rule import Rule, RuleError  # noqa: PLC0415 -- costly to load, needed with rules only

    try:
        rule = Rule(settings)
    except RuleError as error:
        return RequestError("rule_failed", "Rule failed", str(error))
    return rendered(rule, message, count)


def _bug(rule: str) -> RequestError:
    _log.exception("rule %s: judging a message failed", rule, extra={"action": "bug"})
    return RequestError("internal_error", "Internal error", f"rule {rule}: the message could not be judged")
