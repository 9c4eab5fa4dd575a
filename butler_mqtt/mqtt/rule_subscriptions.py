"""
What the connection of rules has to subscribe to and unsubscribe from, a packet for each filter.

A SUBSCRIBE carries one Subscription Identifier in any case (MQTT 5.0, 3.8.2.1.2). They are
sent without waiting for the answers, each of which would take a round trip; after the broker
has closed a connection on several of them, one at a time, which shows on which.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

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
#: Packets without an answer at most.
AT_ONCE = 100
#: Seconds after which a filter that was refused is tried again.
RETRY_SECONDS = 60.0
#: A filter on which the broker closed the connection so often is left out for `LATER_SECONDS`.
HANGUPS = 3
LATER_SECONDS = 600.0


class _Step(NamedTuple):
    """What a packet says of a filter."""

    row: int
    topic_filter: str
    subscribes: bool


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
        #: Those without an answer, with their packet ids, and until when one is awaited.
        self._steps: dict[_Step, int] = {}
        self._until = 0.0
        #: Whether the broker has closed a connection on one of several.
        self._one_by_one = False
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
        return bool(self._steps) and self._monotonic() > self._until

    def postpone(self) -> None:
        """Give the broker its time again: an answer may stand behind messages that are not read yet."""
        self._until = self._monotonic() + ANSWER_SECONDS

    def accepted(self, *, with_identifiers: bool) -> None:
        """Begin with a connection; *with_identifiers*: the broker has Subscription Identifiers."""
        self._with_identifiers = with_identifiers
        self._steps.clear()
        self._done.clear()
        self._again = {row: at for row, at in self._again.items() if self._hangups.get(row, 0) >= HANGUPS}

    def ended(self, *, hung_up: bool) -> None:
        """Take the end of a connection; *hung_up*: the broker closed it, perhaps on what was sent last."""
        steps = list(self._steps)
        self._steps.clear()
        if not steps or not hung_up:
            return
        if len(steps) > 1:
            self._one_by_one = True
            return
        (step,) = steps
        self._hangups[step.row] = self._hangups.get(step.row, 0) + 1
        if self._hangups[step.row] >= HANGUPS:
            self._again[step.row] = self._monotonic() + LATER_SECONDS
            packet = "SUBSCRIBE to" if step.subscribes else "UNSUBSCRIBE from"
            self._report(step.row, f"the broker closes the connection on {packet} {step.topic_filter}")

    def turned(self, client: paho.Client) -> None:
        """Send what is due, as far as not too many answers are awaited."""
        most = 1 if self._one_by_one else AT_ONCE
        if len(self._steps) >= most:
            return
        wanted, unwanted = self._plan
        for step in chain(self._to_unsubscribe(wanted, unwanted), self._to_subscribe(wanted)):
            self._send(client, step)
            if len(self._steps) >= most:
                return
        if not self._steps:
            # Whatever the broker objected to is left out, or was answered after all.
            self._one_by_one = False

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
        step = self._answered(packet_id, subscribes=True)
        if step is None:
            return
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
        step = self._answered(packet_id, subscribes=False)
        if step is None:
            return
        self._done.add((step.row, False))
        if any(reason.value >= 0x80 for reason in reasons):
            self._report(
                step.row, f"UNSUBSCRIBE from {step.topic_filter} was answered with {named(reasons[0])}"
            )
        else:
            self._on_answer(RuleFilterAnswered(step.row, subscribed=False))

    # ---- helpers

    def _answered(self, packet_id: int, *, subscribes: bool) -> _Step | None:
        """Take out what was answered; None when that is no packet of these."""
        for step, sent in self._steps.items():
            if sent == packet_id and step.subscribes == subscribes:
                self._until = self._monotonic() + ANSWER_SECONDS
                del self._steps[step]
                return step
        return None

    def _to_unsubscribe(self, wanted: Mapping[int, str], unwanted: Mapping[int, str]) -> Iterator[_Step]:
        again = set(wanted.values())
        for row, topic_filter in sorted(unwanted.items()):
            step = _Step(row, topic_filter, subscribes=False)
            if not self._is_due(step):
                continue
            if topic_filter in again:
                # The subscription is that of the wanted row now, which replaces its identifier.
                self._done.add((row, False))
                self._on_answer(RuleFilterAnswered(row, subscribed=False))
            else:
                yield step

    def _to_subscribe(self, wanted: Mapping[int, str]) -> Iterator[_Step]:
        for row, topic_filter in sorted(wanted.items()):
            step = _Step(row, topic_filter, subscribes=True)
            if not self._is_due(step):
                continue
            if not self._with_identifiers and (other := self._overlapped(row, wanted)) is not None:
                self._done.add((row, True))
                self._report(
                    row,
                    f"the broker has no Subscription Identifiers, and {topic_filter} overlaps with {other}; "
                    "give the rules filters that do not overlap",
                )
            else:
                yield step

    def _send(self, client: paho.Client, step: _Step) -> None:
        if not step.subscribes:
            result, packet_id = client.unsubscribe(step.topic_filter)
        elif self._mqtt.protocol_version != "5":
            result, packet_id = client.subscribe(step.topic_filter, 1)
        else:
            result, packet_id = client.subscribe(
                step.topic_filter,
                options=SubscribeOptions(1, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND),
                properties=self._identifier(step.row),
            )
        if result == paho.MQTT_ERR_SUCCESS and packet_id is not None:
            self._steps[step] = packet_id
            self._until = self._monotonic() + ANSWER_SECONDS

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

    def _is_due(self, step: _Step) -> bool:
        if (step.row, step.subscribes) in self._done or step in self._steps:
            return False
        return self._monotonic() >= self._again.get(step.row, 0.0)

    def _report(self, row: int, problem: str) -> None:
        self._on_answer(RuleFilterAnswered(row, subscribed=False, problem=problem))
