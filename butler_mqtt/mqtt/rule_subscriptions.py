"""
What the connection of rules has to subscribe to and unsubscribe from, one packet after another.

One at a time, so that a broker which closes the connection on one shows which: a
SUBSCRIBE carries one Subscription Identifier in any case (MQTT 5.0, 3.8.2.1.2).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from paho.mqtt import client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from butler_mqtt import settings
from butler_mqtt.contract import topics
from butler_mqtt.domain.completions import RuleFilterAnswered
from butler_mqtt.mqtt.paho_client import login_name, named

#: A broker that takes longer to answer is left and tried again.
ANSWER_SECONDS = 10.0
#: Seconds after which a filter that was refused is tried again.
RETRY_SECONDS = 60.0
#: A filter on which the broker closed the connection so often is left out for `LATER_SECONDS`.
HANGUPS = 3
LATER_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class _Step:
    """A packet without an answer; `until` is monotonic."""

    row: int
    topic_filter: str
    subscribes: bool
    packet_id: int
    until: float


class RuleSubscriptions:
    """
    The filters of rules on one connection after another.

    For the network thread, but for `want`.

    Args:
        mqtt: The protocol, and whom the broker's rights are about.
        on_answer: Gets what the broker said of a filter.
        monotonic: The clock, seconds.
    """

    def __init__(
        self,
        mqtt: settings.MqttSettings,
        on_answer: Callable[[RuleFilterAnswered], None],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._mqtt = mqtt
        self._on_answer = on_answer
        self._monotonic = monotonic
        #: Wanted and unwanted filters by identifier; replaced as one by another thread.
        self._plan: tuple[Mapping[int, str], Mapping[int, str]] = ({}, {})
        self._with_identifiers = False
        self._step: _Step | None = None
        #: What needs nothing more on this connection: identifiers, each with whether it was subscribed to.
        self._done: set[tuple[int, bool]] = set()
        #: When refused ones are tried again, and how often the broker closed the connection on them.
        self._again: dict[int, float] = {}
        self._hangups: dict[int, int] = {}

    def want(self, wanted: Mapping[int, str], unwanted: Mapping[int, str]) -> None:
        """Subscribe to *wanted* and unsubscribe from *unwanted*; from any thread."""
        self._plan = (wanted, unwanted)

    @property
    def empty(self) -> bool:
        """Return whether there is nothing to subscribe to or unsubscribe from."""
        return not any(self._plan)

    @property
    def overdue(self) -> bool:
        """Return whether the broker has let the time for its answer pass."""
        return self._step is not None and self._monotonic() > self._step.until

    def postpone(self) -> None:
        """Give the broker its time again: an answer may stand behind messages that are not read yet."""
        if self._step is not None:
            self._step = replace(self._step, until=self._monotonic() + ANSWER_SECONDS)

    def accepted(self, *, with_identifiers: bool) -> None:
        """Begin with a connection; *with_identifiers*: the broker has Subscription Identifiers."""
        self._with_identifiers = with_identifiers
        self._step = None
        self._done.clear()
        self._again = {row: at for row, at in self._again.items() if self._hangups.get(row, 0) >= HANGUPS}

    def ended(self, *, hung_up: bool) -> None:
        """Take the end of a connection; *hung_up*: the broker closed it, perhaps on what was sent last."""
        step, self._step = self._step, None
        if step is None or not hung_up:
            return
        self._hangups[step.row] = self._hangups.get(step.row, 0) + 1
        if self._hangups[step.row] >= HANGUPS:
            self._again[step.row] = self._monotonic() + LATER_SECONDS
            packet = "SUBSCRIBE to" if step.subscribes else "UNSUBSCRIBE from"
            self._report(step.row, f"the broker closes the connection on {packet} {step.topic_filter}")

    def turned(self, client: paho.Client) -> None:
        """Send what is next, unless an answer is awaited."""
        if self._step is None:
            wanted, unwanted = self._plan
            self._unsubscribe_next(client, wanted, unwanted) or self._subscribe_next(client, wanted)

    def brought(self, identifiers: Sequence[int], topic: str) -> tuple[int, ...]:
        """Return for which filters a message came: those it names, else the one that matches its topic."""
        if identifiers:
            return tuple(identifiers)
        wanted, unwanted = self._plan
        rows = [row for row in sorted(wanted) if topics.matches(wanted[row], topic)]
        if not self._with_identifiers:
            # Only filters that do not overlap are subscribed to.
            return tuple(rows[:1])
        # A subscription of before, made without an identifier.
        return () if any(topics.matches(one, topic) for one in unwanted.values()) else tuple(rows)

    def subscribed(self, packet_id: int, reasons: Sequence[ReasonCode]) -> None:
        """Take the answer to a SUBSCRIBE."""
        step = self._step
        if step is None or step.packet_id != packet_id or not step.subscribes:
            return
        self._step = None
        self._hangups.pop(step.row, None)
        reason = reasons[0]
        if reason.is_failure:
            self._again[step.row] = self._monotonic() + RETRY_SECONDS
            self._report(
                step.row,
                f"the subscription to {step.topic_filter} was answered with {named(reason)}; "
                f"the broker's ACL must let {login_name(self._mqtt)} read it at QoS 1",
            )
            return
        self._done.add((step.row, True))
        problem = None
        if reason.value != 1:
            problem = f"{step.topic_filter} was granted with QoS {reason.value} instead of 1"
        self._on_answer(RuleFilterAnswered(step.row, subscribed=True, problem=problem))

    def unsubscribed(self, packet_id: int, reasons: Sequence[ReasonCode]) -> None:
        """Take the answer to an UNSUBSCRIBE; MQTT 3.1.1 has no reasons."""
        step = self._step
        if step is None or step.packet_id != packet_id or step.subscribes:
            return
        self._step = None
        self._done.add((step.row, False))
        if any(reason.value >= 0x80 for reason in reasons):
            self._report(
                step.row, f"UNSUBSCRIBE from {step.topic_filter} was answered with {named(reasons[0])}"
            )
        else:
            self._on_answer(RuleFilterAnswered(step.row, subscribed=False))

    # ---- helpers

    def _unsubscribe_next(
        self, client: paho.Client, wanted: Mapping[int, str], unwanted: Mapping[int, str]
    ) -> bool:
        for row, topic_filter in sorted(unwanted.items()):
            if not self._is_due(row, subscribes=False):
                continue
            if topic_filter in wanted.values():
                # The subscription is that of the wanted row now, which replaces its identifier.
                self._done.add((row, False))
                self._on_answer(RuleFilterAnswered(row, subscribed=False))
                continue
            result, packet_id = client.unsubscribe(topic_filter)
            self._sent(row, topic_filter, result, packet_id, subscribes=False)
            return True
        return False

    def _subscribe_next(self, client: paho.Client, wanted: Mapping[int, str]) -> bool:
        for row, topic_filter in sorted(wanted.items()):
            if not self._is_due(row, subscribes=True):
                continue
            if not self._with_identifiers and (other := self._overlapped(row, wanted)) is not None:
                self._done.add((row, True))
                self._report(
                    row,
                    f"the broker has no Subscription Identifiers, and {topic_filter} overlaps with {other}; "
                    "give the rules filters that do not overlap",
                )
                continue
            if self._mqtt.protocol_version != "5":
                result, packet_id = client.subscribe(topic_filter, 1)
            else:
                result, packet_id = client.subscribe(
                    topic_filter,
                    options=SubscribeOptions(1, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND),
                    properties=self._identifier(row),
                )
            self._sent(row, topic_filter, result, packet_id, subscribes=True)
            return True
        return False

    def _identifier(self, row: int) -> Properties | None:
        if not self._with_identifiers:
            return None
        properties = Properties(PacketTypes.SUBSCRIBE)  # type: ignore[no-untyped-call] # paho leaves it untyped
        properties.SubscriptionIdentifier = row
        return properties

    def _overlapped(self, row: int, wanted: Mapping[int, str]) -> str | None:
        """Return an earlier filter that some topic matches too."""
        return next(
            (
                wanted[other]
                for other in sorted(wanted)
                if other < row and topics.overlap(wanted[other], wanted[row])
            ),
            None,
        )

    def _is_due(self, row: int, *, subscribes: bool) -> bool:
        return (row, subscribes) not in self._done and self._monotonic() >= self._again.get(row, 0.0)

    def _sent(
        self, row: int, topic_filter: str, result: int, packet_id: int | None, *, subscribes: bool
    ) -> None:
        if result == paho.MQTT_ERR_SUCCESS and packet_id is not None:
            until = self._monotonic() + ANSWER_SECONDS
            self._step = _Step(row, topic_filter, subscribes, packet_id, until)

    def _report(self, row: int, problem: str) -> None:
        self._on_answer(RuleFilterAnswered(row, subscribed=False, problem=problem))
