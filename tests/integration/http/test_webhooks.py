"""`POST /v4/rules/{name}`: who may call, and how what a rule says of the message is answered."""

from __future__ import annotations

import hashlib
import hmac
import itertools
from collections.abc import Iterator, Mapping

import pytest
import requests

from butler_mqtt.domain.senders import Senders
from butler_mqtt.settings import RestSettings, Sender, Settings, Webhook
from tests.integration.http.rest_listener import Door, door
from tests.integration.http.test_guard import GUARDED

SIGNED = {"github": Webhook(secret=b"It's a Secret to Everybody"), "plain": Webhook()}
BODY = b"Hello, World!"
#: The example of GitHub's documentation, for that secret and body.
SIGNATURE = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"


@pytest.fixture
def guarded() -> Iterator[Door]:
    """A listener that asks for tokens, with a webhook whose callers sign and one for tokens."""
    with door(GUARDED) as one:
        one.pipeline.webhooks.update(SIGNED)
        yield one


def call(one: Door, rule: str, headers: Mapping[str, str] | None = None) -> requests.Response:
    return requests.post(f"{one.url}/v4/rules/{rule}", data=BODY, headers=headers, timeout=10)


def test_who_signs_the_body_needs_no_token(guarded: Door) -> None:
    answer = call(guarded, "github", {"X-Hub-Signature-256": SIGNATURE})
    assert answer.status_code == 200, answer.text
    arrival = guarded.pipeline.arrivals[0]
    assert (arrival.door, arrival.payload, arrival.webhook and arrival.webhook.rule) == (
        "rule",
        BODY,
        "github",
    )


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Hub-Signature-256": "sha256=" + "0" * 64},
        {"X-Hub-Signature-256": SIGNATURE.removeprefix("sha256=")},
        {"X-Hub-Signature-256": "sha256=" + hmac.new(b"", BODY, hashlib.sha256).hexdigest()},
        {"X-Hub-Signature-256": "sha256=é".encode().decode("latin-1")},
        {"Authorization": "Bearer secret-1"},
    ],
    ids=["none", "another", "bare", "without a secret", "no ASCII", "a token"],
)
def test_who_does_not_sign_is_refused(guarded: Door, headers: dict[str, str]) -> None:
    answer = call(guarded, "github", headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert guarded.pipeline.arrivals == []


def test_a_secret_that_could_not_be_read_lets_nobody_in() -> None:
    with door() as one:
        one.pipeline.webhooks["empty"] = Webhook(secret=b"")
        signature = "sha256=" + hmac.new(b"", BODY, hashlib.sha256).hexdigest()
        assert call(one, "empty", {"X-Hub-Signature-256": signature}).status_code == 401


def test_a_signature_opens_its_own_path_only(guarded: Door) -> None:
    assert call(guarded, "plain", {"X-Hub-Signature-256": SIGNATURE}).status_code == 401
    answer = requests.post(guarded.start, data=b"{}", headers={"X-Hub-Signature-256": SIGNATURE}, timeout=10)
    assert answer.status_code == 401


def test_another_webhook_takes_a_token(guarded: Door) -> None:
    assert call(guarded, "plain", {"Authorization": "Bearer secret-1"}).status_code == 200
    assert guarded.pipeline.arrivals[0].principal == "erp"


def test_the_token_of_another_sender_than_the_rule_s_is_refused(guarded: Door) -> None:
    erp, gateway = (
        Sender("erp", tokens=("erp",), rules=("plain", "github")),
        Sender("iot", tokens=("gateway",)),
    )
    guarded.pipeline.senders = Senders(Settings(senders=(erp, gateway)))
    answer = call(guarded, "plain", {"Authorization": "Bearer secret-2"})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert guarded.pipeline.arrivals == []
    assert call(guarded, "plain", {"Authorization": "Bearer secret-1"}).status_code == 200
    # Who signs needs no token, and so is nobody's.
    assert call(guarded, "github", {"X-Hub-Signature-256": SIGNATURE}).status_code == 200


class ReloadedMeanwhile(dict[str, Webhook]):
    """Webhooks of which each is another one from the second time, the third or so on that it is asked for."""

    def __init__(self, before: Webhook, after: Webhook, change: int) -> None:
        super().__init__(rule=before)
        self._asked = itertools.count(1)
        self._after, self._change = after, change

    def get(self, name: str, _default: object = None, /) -> Webhook:
        return self._after if next(self._asked) > self._change else self[name]


@pytest.mark.parametrize("change", [1, 2, 3])
@pytest.mark.parametrize(
    ("before", "after", "headers"),
    [
        (Webhook(), SIGNED["github"], {"Authorization": "Bearer secret-2"}),
        (SIGNED["github"], Webhook(), {}),
    ],
    ids=["to be signed from now on", "with tokens from now on"],
)
def test_a_reload_during_a_call_lets_nobody_in(
    before: Webhook, after: Webhook, headers: dict[str, str], change: int
) -> None:
    with door(GUARDED) as one:
        erp, iot = Sender("erp", tokens=("erp",), rules=("rule",)), Sender("iot", tokens=("gateway",))
        one.pipeline.senders = Senders(Settings(senders=(erp, iot)))
        one.pipeline.webhooks = ReloadedMeanwhile(before, after, change)
        assert call(one, "rule", headers).status_code in {401, 403}
        assert one.pipeline.arrivals == []


def test_a_rule_without_a_webhook_is_not_found(guarded: Door) -> None:
    answer = call(guarded, "nobody", {"Authorization": "Bearer secret-1"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_headers_come_with_the_message_without_those_that_are_secret(guarded: Door) -> None:
    headers = {"X-Hub-Signature-256": SIGNATURE, "X-GitHub-Event": "push", "Cookie": "a=b"}
    call(guarded, "github", {**headers, "Authorization": "Bearer secret-1"})
    webhook = guarded.pipeline.arrivals[0].webhook
    assert webhook is not None
    seen = dict(webhook.headers)
    assert seen["x-github-event"] == "push"
    assert not {"authorization", "cookie", "x-hub-signature-256"} & seen.keys()


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"matched": False}, 200),
        ({"matched": True, "status": "coalesced", "messages": 2}, 202),
        ({"error": "Rule failed", "details": "x", "code": "rule_failed"}, 400),
    ],
    ids=["no match", "coalesced", "failed"],
)
@pytest.mark.parametrize("prefer", ["", "respond-async"], ids=["at once", "async"])
def test_what_the_rule_says_is_the_answer(said: dict[str, object], status: int, prefer: str) -> None:
    with door(RestSettings(rest_wait_seconds=5)) as one:
        one.pipeline.webhooks["plain"] = Webhook()
        one.pipeline.answer = said
        answer = call(one, "plain", {"Prefer": prefer})
        assert answer.status_code == status
        assert answer.json().items() >= said.items()


def test_a_request_that_takes_long_is_answered_with_its_place() -> None:
    with door(RestSettings(rest_wait_seconds=0.05)) as one:
        one.pipeline.webhooks["plain"] = Webhook()
        one.pipeline.answer = None
        answer = call(one, "plain")
        assert (answer.status_code, answer.headers["Location"][:13]) == (202, "/v4/requests/")
