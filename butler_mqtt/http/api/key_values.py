"""
Butler's endpoints of the key-value store, over the parameters in the journal.

Paths, bodies and status codes as of Butler 16.0.4 (`src/routes/rest_server/key_value_store.js`,
`src/api/key_value_store.js`), errors in Fastify's form: clients that read it need no change.
A POST without a value is 400 here: Butler answers 201 and keeps nothing.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from butler_mqtt.clock import now_ms
from butler_mqtt.contract import parameter_values, strict_json
from butler_mqtt.domain.completions import ParameterChange, ParameterOutcome
from butler_mqtt.domain.model import Parameter
from butler_mqtt.errors import JournalError, RequestError
from butler_mqtt.http.api.pending_response import PendingResponse
from butler_mqtt.http.api.start_call import read_body
from butler_mqtt.http.backend import Backend, KeyValueBackend
from butler_mqtt.http.error_responses import HttpRefusal, butlers_error

#: Seconds within which a change must be on disk; a commit takes milliseconds.
STORE_SECONDS = 10.0
#: Milliseconds that a key may be kept at most: a hundred years.
MAX_TTL_MS = 3_153_600_000_000

#: What JavaScript reads as a number; Python's own reading takes more, such as `1_000`.
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class KeyValueError(Exception):
    """A refusal in Butler's form."""

    def __init__(self, message: str, status: int = 400) -> None:
        self.status = status
        super().__init__(message)


class KeyValueEndpoint:
    """
    What the paths do.

    Args:
        backend: The pipeline and why it may accept nothing.
        store: The parameters.
        max_body_bytes: The longest body that is read.
        store_seconds: Seconds within which a change must be on disk.
    """

    def __init__(
        self,
        backend: Backend,
        store: KeyValueBackend,
        max_body_bytes: int,
        *,
        store_seconds: float = STORE_SECONDS,
    ) -> None:
        self._backend = backend
        self._store = store
        self._max_body_bytes = max_body_bytes
        self._store_seconds = store_seconds

    def routes(self) -> list[Route]:
        """Return the routes; none where Butler's switch closes them."""
        if not self._store.endpoints:
            return []
        return [
            Route("/v4/keyvaluesnamespaces", self.namespaces, methods=["GET"]),
            Route("/v4/keylist/{rest:path}", self.keys, methods=["GET"]),
            Route("/v4/keyvalues/{rest:path}", self.values, methods=["GET", "POST", "DELETE"]),
        ]

    async def namespaces(self, _request: Request) -> Response:
        """Answer with the names of all namespaces."""
        return _response(await asyncio.to_thread(self._read, self._store.namespaces))

    async def keys(self, request: Request) -> Response:
        """Answer with the keys of a namespace."""
        try:
            (namespace,) = _names(request, "/v4/keylist/", 1)
            keys = await asyncio.to_thread(self._read, self._store.keys, namespace, now_ms())
            if keys is None:
                raise _no_namespace(namespace)
            return _response({"namespace": namespace, "keys": [{"key": key} for key in keys]})
        except KeyValueError as error:
            return _refusal(error)

    async def values(self, request: Request) -> Response:
        """Read, store or delete."""
        names = _names(request, "/v4/keyvalues/", 2)
        if request.method in {"POST", "DELETE"}:
            caller = self._backend.caller(request.scope["state"])
            refusal = self._backend.senders().forbids(caller, "parameters")
            if refusal is not None:
                raise refusal
        try:
            if request.method == "POST" and len(names) == 1:
                return await self._post(request, names[0])
            if request.method == "DELETE":
                return await self._delete(*names)
            if request.method in {"GET", "HEAD"} and (len(names) == 1 or names[1] == "keyexists"):
                return await self._get(request, names[0], exists=len(names) == 2)
        except KeyValueError as error:
            return _refusal(error)
        raise _nothing_here(request)

    async def _get(self, request: Request, namespace: str, *, exists: bool) -> Response:
        key = request.query_params.get("key")
        if key is None:
            raise KeyValueError("querystring must have required property 'key'")
        known, value = await asyncio.to_thread(self._read, self._store.value, namespace, key, now_ms())
        if not known:
            raise _no_namespace(namespace)
        found = {"namespace": namespace, "key": key, "value": value}
        if exists:
            return _response({"keyExists": value is not None, "keyValue": {} if value is None else found})
        if value is None:
            raise _no_key(namespace, key)
        return _response(found)

    async def _post(self, request: Request, namespace: str) -> Response:
        body = _body(await read_body(request, self._max_body_bytes), request.headers.get("content-type", ""))
        key, value = (_text(body, name) for name in ("key", "value"))
        ttl = _ttl(body.get("ttl", 0))
        if not key or value is None:
            raise KeyValueError("Required parameter is missing")
        await self._put(Parameter(namespace, key, value), ttl)
        return _response({"namespace": namespace, "key": key, "value": value, "ttl": ttl}, 201)

    async def store_item(self, parameter: Parameter, ttl_ms: int) -> None:
        """Store a parameter of a start request; raises RequestError where that cannot be."""
        try:
            await self._put(parameter, ttl_ms)
        except KeyValueError as error:
            raise RequestError(
                "invalid_request", "Invalid request", f"keyvaluestore: {error}; nothing was started"
            ) from None

    async def _put(self, parameter: Parameter, ttl_ms: int) -> None:
        for problem in parameter_values.problems((parameter,)):
            raise KeyValueError(problem)
        outcome = await self._change(parameter.namespace, parameter.key, parameter.value, ttl_ms)
        if outcome == ParameterOutcome.TOO_MANY_KEYS:
            raise KeyValueError(
                f"Namespace {parameter.namespace} has {self._store.max_keys} keys, as many as "
                "keyValueStore.maxKeysPerNamespace allows"
            )
        if outcome == ParameterOutcome.TOO_MANY_NAMESPACES:
            raise KeyValueError("There are as many namespaces as are allowed; delete one first")

    async def _delete(self, namespace: str, key: str | None = None) -> Response:
        outcome = await self._change(namespace, key, None, 0)
        if outcome == ParameterOutcome.NO_NAMESPACE:
            raise _no_namespace(namespace)
        if outcome == ParameterOutcome.NO_KEY:
            raise _no_key(namespace, key or "")
        return Response(status_code=204, headers=_HEADERS)

    async def _change(self, namespace: str, key: str | None, value: str | None, ttl_ms: int) -> str:
        """Submit a change to the pipeline and return its outcome once that is on disk."""
        obstacle = self._backend.obstacle()
        if obstacle is not None:
            raise _not_recorded(f"{obstacle}; nothing was changed")
        pending = PendingResponse()
        self._store.change(
            ParameterChange(namespace, key, value, ttl_ms, pending.on_stored, pending.given_up)
        )
        outcome = await pending.stored(self._store_seconds)
        if outcome is not None:
            return outcome
        certain = pending.give_up()
        raise _not_recorded(
            f"the journal did not record it within {self._store_seconds:g} s; "
            + ("nothing was changed" if certain else "it may have been changed, repeat the call")
        )

    def _read(self, read: Any, *arguments: object) -> Any:
        try:
            return read(*arguments)
        except JournalError as error:
            raise HttpRefusal("not_recorded", "Journal cannot be read", str(error)) from error


def _names(request: Request, prefix: str, most: int) -> list[str]:
    """Return the names that follow *prefix* in the path, at most so many; a `%2F` belongs to a name."""
    raw = request.scope.get("raw_path") or request.scope["path"].encode()
    parts = raw.decode("ascii", "replace").removeprefix(prefix).split("/")
    try:
        names = [unquote(part, errors="strict") for part in parts]
    except UnicodeDecodeError:
        details = "the names in this path are not percent-encoded UTF-8"
        raise HttpRefusal("invalid_request", "Invalid request", details) from None
    if len(names) > most or not all(names):
        raise _nothing_here(request)
    return names


def _body(body: bytes, content_type: str) -> dict[str, Any]:
    kind = content_type.partition(";")[0].strip().lower()
    if kind and kind != "application/json":
        raise KeyValueError(f"Unsupported Media Type: {kind[:80]}", 415)
    try:
        read = strict_json.loads(strict_json.decode(body), repeated_keys=True)
    except strict_json.JsonError as error:
        raise KeyValueError(f"body is not valid JSON: {error}") from None
    if not isinstance(read, dict):
        raise KeyValueError("body must be object")
    return read


def _text(body: dict[str, Any], name: str) -> str | None:
    """Return a text of the body as Fastify reads it, None when it is missing."""
    if name not in body:
        return None
    value = body[name]
    if isinstance(value, dict | list):
        raise KeyValueError(f"body/{name} must be string")
    return parameter_values.as_text(value)


def _ttl(value: object) -> int:
    """Return the milliseconds of `ttl` as Fastify and Butler read it."""
    if isinstance(value, str) and not _NUMBER.fullmatch(value.strip()):
        raise KeyValueError("body/ttl must be number")
    try:
        milliseconds = 0 if value is None else int(float(value))  # type: ignore[arg-type] # ValueError or TypeError below
    except (TypeError, ValueError, OverflowError):
        raise KeyValueError("body/ttl must be number") from None
    if milliseconds > MAX_TTL_MS:
        raise KeyValueError(f"body/ttl must be <= {MAX_TTL_MS}")
    return max(0, milliseconds)


def _response(content: object, status: int = 200) -> Response:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return Response(text, status, _HEADERS, "application/json; charset=utf-8")


def _refusal(error: KeyValueError) -> Response:
    return _response(butlers_error(error.status, str(error)), error.status)


def _no_namespace(namespace: str) -> KeyValueError:
    return KeyValueError(f"Namespace not found: {namespace}")


def _no_key(namespace: str, key: str) -> KeyValueError:
    return KeyValueError(f"Key '{key}' not found in namespace: {namespace}")


def _nothing_here(request: Request) -> HttpRefusal:
    return HttpRefusal(
        "not_found", "Not found", f"there is nothing for {request.method} at this path; /docs lists all paths"
    )


def _not_recorded(details: str) -> HttpRefusal:
    return HttpRefusal("not_recorded", "Change cannot be recorded", details)
