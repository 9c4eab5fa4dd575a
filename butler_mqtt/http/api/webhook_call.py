"""One call of a rule's webhook, read from HTTP; whether its message matches is for the pipeline to judge."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

from starlette.requests import Request

from butler_mqtt.contract import schema_errors
from butler_mqtt.domain.model import WebhookCall
from butler_mqtt.http.api import start_call
from butler_mqtt.http.api.start_call import StartCall
from butler_mqtt.http.error_responses import HttpRefusal
from butler_mqtt.http.refused_calls import RefusedCalls
from butler_mqtt.settings import Webhook

#: Before the name of a rule in a path.
_PREFIX = "/v4/rules/"
#: Headers that expressions do not see, beside that of the signature: what they hold is secret.
_HIDDEN = frozenset({"authorization", "proxy-authorization", "cookie"})

Webhooks = Callable[[str], Webhook | None]


def is_signed(webhooks: Webhooks, path: str) -> bool:
    """Return whether *path* is that of a webhook whose callers sign the body."""
    if not path.startswith(_PREFIX):
        return False
    webhook = webhooks(path.removeprefix(_PREFIX))
    return webhook is not None and webhook.secret is not None


async def read(
    request: Request, webhooks: Webhooks, key: str | None, max_body_bytes: int, calls: RefusedCalls
) -> StartCall:
    """
    Read the call and its body, of at most *max_body_bytes*.

    *key* is its `idempotency_key`, *calls* logs a refusal.

    Raises:
        RequestError: `not_found`: no rule of that name has a webhook; `unauthorized`: its signature is
            wrong; or its body is too long, incomplete or encoded.
    """
    rule = request.path_params["rule"]
    webhook = webhooks(rule)
    if webhook is None:
        details = f"no rule {schema_errors.shown(rule)} has a webhook; butler-mqtt rules lists them"
        raise HttpRefusal("not_found", "Not found", details)
    start_call.refuse_encoding(request)
    body = await start_call.read_body(request, max_body_bytes)
    if webhook.secret is not None or request.scope["state"]["signed"]:
        _check_signature(request, rule, webhook, body, calls)
    hidden = {*_HIDDEN, webhook.signature_header.lower()}
    names = dict.fromkeys(name for name in request.headers if name not in hidden)
    headers = tuple((name, ", ".join(request.headers.getlist(name))) for name in names)
    return StartCall(body, None, key, start_call.prefers_async(request), webhook=WebhookCall(rule, headers))


def _check_signature(request: Request, rule: str, webhook: Webhook, body: bytes, calls: RefusedCalls) -> None:
    secret = webhook.secret or b""
    given = request.headers.get(webhook.signature_header, "").strip()
    expected = f"sha256={hmac.new(secret, body, hashlib.sha256).hexdigest()}"
    # Without a secret nothing is signed rightly: it may be that its file could not be read.
    if secret and hmac.compare_digest(given.lower().encode(), expected.encode()):
        return
    address = request.client.host if request.client else "unknown"
    why = "its signature is wrong" if given else f"it has no {webhook.signature_header}"
    calls.unauthorized(f"a call of the webhook of rule {rule} from {address} was refused: {why}")
    raise HttpRefusal(
        "unauthorized",
        "Unauthorized",
        f"the header {webhook.signature_header} must be sha256= and the HMAC SHA-256 of the body in hex",
    )
