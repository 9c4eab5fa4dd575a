"""Who a request comes from, what that sender is shown and may do."""

from __future__ import annotations

from typing import Any

import pytest

from butler_mqtt.domain.decisions import SenderGate, passes
from butler_mqtt.domain.model import Arrival, Message, Request, Task
from butler_mqtt.domain.senders import ANYBODY, OPERATOR, UNKNOWN, Caller, Senders, asked, may_cancel
from butler_mqtt.settings import Sender, Settings, StartTaskFilter

DAILY = StartTaskFilter(enable=True, tags=("daily",))
ERP = Sender("erp", "start/erp", ("erp-token",), ("orders",), ("erp-prod",), DAILY)
CRM = Sender("crm", "start/crm", may=("dryRun", "cancel"), sees_all=True)
SENDERS = Senders(Settings(senders=(ERP, CRM)))
CLOSED = Senders(Settings(senders=(ERP, CRM), unknown_senders="deny"))


def published(topic: str, body: bytes = b"{}") -> Arrival:
    return Arrival("mqtt", body, 0, Message(topic, body, 1, 1))


@pytest.mark.parametrize(
    ("caller", "rule", "may"),
    [
        (SENDERS.of_caller("erp-token", certified=False, role="sender"), "orders", True),
        (SENDERS.of_caller("erp-token", certified=False, role="sender"), "invoices", False),
        (SENDERS.of_caller("somebody", certified=False, role="sender"), "orders", False),
        (SENDERS.of_caller("somebody", certified=False, role="sender"), "invoices", True),
        (SENDERS.of_caller("anna", certified=False, role="operator"), "orders", True),
        (SENDERS.of_caller("rita", certified=False, role="reader"), "invoices", False),
    ],
    ids=["own", "of nobody", "of another", "nobody of nobody", "operator", "reader"],
)
def test_a_webhook_is_for_callers_of_the_sender_of_its_rule(caller: Caller, rule: str, may: bool) -> None:
    assert (SENDERS.forbids_webhook(caller, rule) is None) is may


def test_no_unknown_caller_uses_a_webhook_where_those_are_turned_away() -> None:
    caller = CLOSED.of_caller("somebody", certified=False, role="sender")
    assert CLOSED.forbids_webhook(caller, "invoices") is not None


def test_every_token_but_a_reader_s_opens_webhooks_where_there_are_no_senders() -> None:
    everybody = Senders(Settings())
    for role, may in [("sender", True), ("operator", True), ("reader", False)]:
        caller = everybody.of_caller("anna", certified=False, role=role)
        assert (everybody.forbids_webhook(caller, "orders") is None) is may


@pytest.mark.parametrize(
    ("arrival", "identity"),
    [
        (published("start/erp", b'{"sender": "crm"}'), "erp"),
        (published("start/crm", b'{"sender": "erp"}'), "crm"),
        (published("qliksense/task/start", b'{"sender": "erp"}'), UNKNOWN),
        (Arrival("rest", b"", 0, principal="erp-token"), "erp"),
        (Arrival("rest", b"", 0, principal="erp-token", certified=True), UNKNOWN),
        (Arrival("rest", b"", 0, principal="erp-prod", certified=True), "erp"),
        (Arrival("rest", b"", 0, principal="erp-prod"), UNKNOWN),
        (Arrival("rest", b"", 0, principal="erp"), UNKNOWN),
        (Arrival("rest", b'{"sender": "erp"}', 0), UNKNOWN),
        (Arrival("rest", b"", 0, principal="anna", role="operator"), OPERATOR),
        (Arrival("rest", b"", 0, principal="anna", role="operator", on_behalf_of="erp"), "erp"),
        (Arrival("rest", b"", 0, principal="erp-token", on_behalf_of="crm"), "erp"),
    ],
    ids=[
        "topic of erp",
        "topic of crm",
        "common topic",
        "token",
        "certificate named as a token",
        "certificate",
        "token named as a certificate",
        "token named as a sender",
        "nobody",
        "operator",
        "operator for erp",
        "sender for another",
    ],
)
def test_the_sender_is_where_a_request_came_from(arrival: Arrival, identity: str) -> None:
    assert SENDERS.of(arrival).identity == identity


def test_without_senders_nobody_is_told_apart() -> None:
    nobody = Senders(Settings())
    assert nobody.of(published("qliksense/task/start")) == ANYBODY
    assert nobody.of(Arrival("rest", b"", 0, principal="erp")) == ANYBODY
    assert nobody.of_rule("orders") == ANYBODY
    assert nobody.refusal(ANYBODY) is None
    assert nobody.gate(None) is None
    assert nobody.gate("erp") is None
    assert ANYBODY.sees_everything
    assert may_cancel(None, "erp")


def test_a_rule_is_its_sender_s_or_else_the_operator_s() -> None:
    assert SENDERS.of_rule("orders").identity == "erp"
    assert SENDERS.of_rule("invoices").identity == OPERATOR
    assert CLOSED.refusal(CLOSED.of_rule("invoices")) is None


@pytest.mark.parametrize(
    ("caller", "shown"),
    [
        (Caller("erp", ERP), {"erp"}),
        (Caller("crm", CRM), {"erp", "crm", OPERATOR, UNKNOWN, None}),
        (Caller(UNKNOWN), {UNKNOWN, None}),
        (Caller(UNKNOWN, role="reader"), {"erp", "crm", OPERATOR, UNKNOWN, None}),
        (Caller(OPERATOR, role="operator"), {"erp", "crm", OPERATOR, UNKNOWN, None}),
    ],
    ids=["sender", "sender that sees all", "unknown", "reader", "operator"],
)
def test_a_caller_is_shown_its_own_requests_unless_it_sees_all(
    caller: Caller, shown: set[str | None]
) -> None:
    assert {
        owner
        for owner in ("erp", "crm", OPERATOR, UNKNOWN, None)
        if caller.sees_everything or caller.owns(owner)
    } == shown


@pytest.mark.parametrize(
    ("identity", "cancelled"),
    [
        ("erp", {"erp"}),
        ("crm", {"crm"}),
        (UNKNOWN, {UNKNOWN, None}),
        (OPERATOR, {"erp", "crm", OPERATOR, UNKNOWN, None}),
    ],
)
def test_a_request_is_taken_back_by_its_own_sender_or_an_operator(
    identity: str, cancelled: set[str | None]
) -> None:
    owners = ("erp", "crm", OPERATOR, UNKNOWN, None)
    assert {owner for owner in owners if may_cancel(identity, owner)} == cancelled


def test_whoever_is_no_sender_is_turned_away_where_that_is_asked_for() -> None:
    for arrival in (published("qliksense/task/start"), Arrival("rest", b"", 0, principal="other")):
        assert SENDERS.refusal(SENDERS.of(arrival)) is None
        refusal = CLOSED.refusal(CLOSED.of(arrival))
        assert refusal is not None
        assert refusal.code == "forbidden"
    assert CLOSED.refusal(CLOSED.of(published("start/erp"))) is None
    assert CLOSED.refusal(Caller(OPERATOR, role="operator")) is None


def test_a_reader_starts_nothing_with_senders_or_without() -> None:
    for senders in (SENDERS, Senders(Settings())):
        reader = senders.of(Arrival("rest", b"", 0, principal="eve", role="reader"))
        refusal = senders.refusal(reader)
        assert refusal is not None
        assert refusal.code == "forbidden"


@pytest.mark.parametrize(
    ("senders", "owner", "words"),
    [
        (SENDERS, "erp", None),
        (SENDERS, "former", "its sender former is not configured any more"),
        (SENDERS, "crm", "its sender crm may not start any more"),
        (SENDERS, OPERATOR, None),
        (SENDERS, None, None),
        (SENDERS, UNKNOWN, None),
        (CLOSED, UNKNOWN, "it came from no sender, and unknownSenders is deny"),
        (Senders(Settings()), "former", None),
    ],
    ids=["sender", "removed", "may-not", "operator", "from-before", "unknown", "denied", "no-senders"],
)
def test_what_a_sender_asked_for_may_be_asked_for_again_while_it_may_start(
    senders: Senders, owner: str | None, words: str | None
) -> None:
    barred = senders.bars_again(owner)
    assert (barred is None) if words is None else (barred is not None and words in barred)


def test_what_arrives_on_a_topic_of_no_sender_is_turned_away() -> None:
    # A session may still have the subscription of a sender that was removed.
    stray = SENDERS.of(published("start/former"))
    refusal = SENDERS.refusal(stray)
    assert refusal is not None
    assert refusal.code == "forbidden"


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, ("start",)),
        ({"dry_run": True}, ("dryRun",)),
        ({"parameters": ((),)}, ("start", "parameters")),
        ({"cancel": "erp-1"}, ("cancel",)),
    ],
    ids=["start", "dry run", "parameters", "cancel"],
)
def test_a_request_asks_for_what_it_would_do(fields: dict[str, Any], wanted: tuple[str, ...]) -> None:
    request = Request("{}", "f")._replace(**fields)
    assert asked(request) == wanted
    lacks = [one for one in wanted if one not in CRM.may]
    refusal = SENDERS.forbids(Caller("crm", CRM), *wanted)
    assert (refusal is not None) == bool(lacks)
    assert SENDERS.forbids(Caller("erp", ERP), *wanted) is None


def test_the_gate_is_that_of_the_sender_as_it_is_configured_now() -> None:
    nothing = StartTaskFilter(enable=True)
    assert SENDERS.gate("erp") == SenderGate("erp", DAILY)
    assert SENDERS.gate("crm") == SenderGate("crm", nothing)  # may not start
    assert SENDERS.gate("former") == SenderGate("former", nothing)  # is none any more
    assert SENDERS.gate(UNKNOWN) is None
    assert SENDERS.gate(OPERATOR) is None
    assert SENDERS.gate(None) is None
    assert CLOSED.gate(UNKNOWN) == SenderGate("unknownSenders", nothing)


def test_a_task_has_to_pass_both_gates() -> None:
    daily, other = Task("1", "a", tags=("Daily",)), Task("2", "b", tags=("other",))
    both = StartTaskFilter(enable=True, tags=("daily", "other"))
    open_gate = StartTaskFilter()
    assert passes(daily, open_gate, SenderGate("erp", DAILY))
    assert not passes(other, open_gate, SenderGate("erp", DAILY))
    assert not passes(other, both, SenderGate("erp", DAILY))
    assert not passes(daily, StartTaskFilter(enable=True), SenderGate("erp", DAILY))
    assert passes(other, both, None)
