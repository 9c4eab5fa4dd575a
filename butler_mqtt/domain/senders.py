"""
Who a request comes from, and what that sender may do: pure.

The sender is where a request came from (a topic that the broker guards, a token,
a client certificate, a rule), never what its body says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from butler_mqtt.domain.decisions import SenderGate
from butler_mqtt.domain.model import Arrival, Request
from butler_mqtt.errors import RequestError
from butler_mqtt.settings import Sender, Settings, StartTaskFilter

#: What the journal has in place of a sender's name: for requests of operators and of their rules, and for
#: requests of no sender.
OPERATOR: Final = "operator"
UNKNOWN: Final = "unknown"
RESERVED: Final = frozenset({OPERATOR, UNKNOWN})

_NOTHING: Final = StartTaskFilter(enable=True)


class Caller(NamedTuple):
    """
    Whoever stands behind an arrival.

    `identity` is what the journal keeps: a sender's name or one of `RESERVED`;
    None while no senders are configured, and nobody is told apart. `role` is that of
    the token. `stray`: it came on a topic on which nobody may send any more.
    """

    identity: str | None
    sender: Sender | None = None
    role: str = "sender"
    stray: bool = False

    @property
    def sees_everything(self) -> bool:
        """Whether it is shown the requests of all."""
        if self.identity is None or self.role != "sender":
            return True
        return self.sender is not None and self.sender.sees_all

    def owns(self, owner: str | None) -> bool:
        """Return whether the requests of *owner* are its own."""
        return owns(self.identity, owner)


def owns(identity: str | None, owner: str | None) -> bool:
    """
    Return whether requests of *owner* belong to *identity*.

    Those from before there were senders belong to none of them.
    """
    if identity is None:
        return True
    return owner == identity or (owner is None and identity == UNKNOWN)


def may_cancel(identity: str | None, owner: str | None) -> bool:
    """Return whether a request of *identity* may take back one of *owner*: its own, or an operator any."""
    return identity == OPERATOR or owns(identity, owner)


#: Nobody is told apart.
ANYBODY: Final = Caller(None)


class Senders:
    """
    The senders of a configuration.

    Args:
        settings: With `senders` and `unknownSenders`; without both, everybody may do everything.
    """

    def __init__(self, settings: Settings) -> None:
        self.configured = bool(settings.senders) or settings.unknown_senders == "deny"
        self._denies = settings.unknown_senders == "deny"
        self._by_name: Mapping[str, Sender] = {one.name: one for one in settings.senders}
        self._by_topic = {one.topic: one for one in settings.senders if one.topic is not None}
        self._by_token = {token: one for one in settings.senders for token in one.tokens}
        self._by_certificate = {name: one for one in settings.senders for name in one.certificates}
        self._by_rule = {rule: one for one in settings.senders for rule in one.rules}
        self._start_topic = settings.mqtt.task_start_topic

    @property
    def names(self) -> tuple[str, ...]:
        """The identities that requests can have, for metrics; `UNKNOWN` where nobody is told apart."""
        return (*self._by_name, OPERATOR, UNKNOWN) if self.configured else (UNKNOWN,)

    def of(self, arrival: Arrival) -> Caller:
        """Return who sent *arrival*."""
        if arrival.door == "rule":
            return self.of_rule(arrival.rule or "", arrival.on_behalf_of)
        if arrival.message is not None:
            return self.of_topic(arrival.message.topic)
        caller = self.of_caller(arrival.principal, certified=arrival.certified, role=arrival.role)
        if arrival.on_behalf_of is not None and caller.role == OPERATOR and self.configured:
            # Judged as its sender would be, whoever asks for it again.
            return Caller(arrival.on_behalf_of, self._by_name.get(arrival.on_behalf_of), OPERATOR)
        return caller

    def of_topic(self, topic: str) -> Caller:
        """Return who publishes on a topic on which requests arrive."""
        if not self.configured:
            return ANYBODY
        sender = self._by_topic.get(topic)
        if sender is not None:
            return Caller(sender.name, sender)
        return Caller(UNKNOWN, stray=topic != self._start_topic)

    def of_caller(self, principal: str | None, *, certified: bool, role: str) -> Caller:
        """
        Return who calls by HTTP.

        Args:
            principal: Name of the token or common name of the certificate; None: neither.
            certified: It is that of a certificate.
            role: That of the token.
        """
        if not self.configured:
            return Caller(None, role=role)
        if role == OPERATOR:
            return Caller(OPERATOR, role=role)
        sender = (self._by_certificate if certified else self._by_token).get(principal or "")
        return Caller(sender.name, sender) if sender is not None else Caller(UNKNOWN, role=role)

    def of_rule(self, name: str, owner: str | None = None) -> Caller:
        """
        Return whom a rule belongs to: one of no sender is the operator's own.

        What it makes of messages that came while it was a sender's (*owner*) stays that
        sender's, so that a rule taken away from it does not reach past its gate.
        """
        if not self.configured:
            return ANYBODY
        if owner is not None and owner not in RESERVED:
            return Caller(owner, self._by_name.get(owner))
        sender = self._by_rule.get(name)
        return Caller(OPERATOR, role=OPERATOR) if sender is None else Caller(sender.name, sender)

    def gate(self, identity: str | None, *, dry_run: bool = False) -> SenderGate | None:
        """
        Return what the sender of a request lets it start, besides `startTaskFilter`; None: all.

        Judged by what is configured now: a sender that is not there any more, or may not start,
        starts nothing; *dry_run* starts nothing anyway.
        """
        if not self.configured or identity in {None, OPERATOR}:
            return None
        if identity == UNKNOWN:
            return SenderGate("unknownSenders", _NOTHING) if self._denies else None
        sender = self._by_name.get(identity or "")
        if sender is None or not (dry_run or "start" in sender.may):
            return SenderGate(identity or "", _NOTHING)
        return None if sender.allow_task is None else SenderGate(sender.name, sender.allow_task)

    def bars_again(self, owner: str | None) -> str | None:
        """Return why nothing that *owner* asked for can be asked for again, for people; None if it can."""
        if not self.configured or owner in {None, OPERATOR}:
            return None
        if owner == UNKNOWN:
            return "it came from no sender, and unknownSenders is deny" if self._denies else None
        sender = self._by_name.get(owner or "")
        if sender is None:
            return f"its sender {owner} is not configured any more (senders)"
        return None if "start" in sender.may else f"its sender {owner} may not start any more (senders, may)"

    def refusal(self, caller: Caller) -> RequestError | None:
        """Return why nothing is taken from *caller*; None if its requests are judged each for itself."""
        if caller.role == "reader":
            return forbidden("the token is a reader's, which starts, cancels and stores nothing")
        if caller.stray:
            return forbidden("the topic belongs to no sender any more; see senders in the configuration")
        if caller.identity == UNKNOWN and self._denies:
            return forbidden(
                "it came from none of the configured senders, and unknownSenders is deny: use the topic, the "
                "token or the certificate of a sender"
            )
        return None

    def forbids(self, caller: Caller, *actions: str) -> RequestError | None:
        """Return why *caller* may not do all of *actions*, of `settings.ACTIONS`; None if it may."""
        refusal = self.refusal(caller)
        if refusal is not None or caller.sender is None:
            return refusal
        lacks = [one for one in actions if one not in caller.sender.may]
        if not lacks:
            return None
        return forbidden(f"the sender {caller.sender.name} may not: {', '.join(lacks)} (senders, may)")

    def forbids_webhook(self, caller: Caller, rule: str) -> RequestError | None:
        """
        Return why *caller* may not use the webhook of *rule*; None if it may.

        What a rule starts is judged as its own sender's, so that the token of another
        one would reach past its gate.
        """
        refusal = self.forbids(caller, "start")
        if refusal is not None or caller.identity in {None, OPERATOR}:
            return refusal
        if self._by_rule.get(rule) is caller.sender:
            return None
        return forbidden(f"the rule {rule} is not one of the caller's sender (senders, rules)")


def asked(request: Request) -> tuple[str, ...]:
    """Return what of `settings.ACTIONS` a request asks for."""
    if request.cancel is not None:
        return ("cancel",)
    begins = "dryRun" if request.dry_run else "start"
    return (begins, "parameters") if request.parameters else (begins,)


def forbidden(details: str) -> RequestError:
    """Return the refusal of what a sender may not do."""
    return RequestError("forbidden", "Not allowed", details)
