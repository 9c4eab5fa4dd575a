"""The two applications: the REST door, and the monitoring pages alone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from butler_mqtt.contract import schema_errors
from butler_mqtt.domain.senders import Caller
from butler_mqtt.errors import JournalError, RequestError
from butler_mqtt.http.api import description_page, interface_files, openapi_completion, webhook_call
from butler_mqtt.http.api.key_values import KeyValueEndpoint
from butler_mqtt.http.api.request_list import RequestList
from butler_mqtt.http.api.start_endpoint import StartEndpoint
from butler_mqtt.http.api.task_list import TaskList
from butler_mqtt.http.backend import Backend, Check
from butler_mqtt.http.error_responses import HttpRefusal, json_response, refusal_response
from butler_mqtt.http.guard import Guard, Page
from butler_mqtt.http.origins import OriginGuard
from butler_mqtt.http.rate_limit import RateLimit
from butler_mqtt.loopback import is_loopback
from butler_mqtt.settings import MonitoringSettings, RestSettings

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: The page is text alone: whatever a browser would load for it is refused.
_PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"

_log = logging.getLogger("butler_mqtt.http")

#: Seconds for which a caller may wait for the end of a request, and between two reads of its state.
MAX_WAIT_SECONDS = 60
POLL_SECONDS = 0.5


def rest(
    backend: Backend,
    settings: RestSettings,
    ending: asyncio.Event,
    *,
    limit: RateLimit | None = None,
    start: StartEndpoint | None = None,
    page: Page | None = None,
) -> Guard:
    """Make the application of the REST listener, with *page*; *limit* and *start* are made when absent."""
    key_values = (
        KeyValueEndpoint(backend, backend.key_values, settings.max_body_bytes) if backend.key_values else None
    )
    start = start or StartEndpoint(
        backend,
        settings.max_body_bytes,
        settings.rest_wait_seconds,
        ending,
        store=key_values.store_item if key_values else None,
    )
    both = ["POST", "PUT"]

    async def read(request: Request) -> Response:
        wait = _seconds(request.query_params.get("wait", "0"))
        caller = backend.caller(request.scope["state"])
        return await _state(backend, request.path_params["request_id"], caller, wait, ending)

    async def document(_request: Request) -> Response:
        return json_response(openapi_completion.document())

    async def docs(_request: Request) -> Response:
        return HTMLResponse(
            description_page.render(openapi_completion.document()),
            headers={"Content-Security-Policy": _PAGE_POLICY},
        )

    routes = [
        Route("/v4/reloadtask/start", start.__call__, methods=both),
        Route("/v4/reloadtask/{task_id}/start", start.__call__, methods=both),
        Route("/v4/requests", RequestList(backend).__call__, methods=["GET"]),
        Route("/v4/requests/{request_id}", read, methods=["GET"]),
        Route("/v4/requests/{request_id}/cancel", start.cancel, methods=both),
        Route("/v4/rules/{rule}", start.webhook, methods=["POST"]),
        Route("/v4/tasks", TaskList(backend).__call__, methods=["GET"]),
        *(key_values.routes() if key_values else ()),
        Route("/openapi.json", document, methods=["GET"]),
        Route("/docs", docs, methods=["GET"]),
        *interface_files.routes(),
        *_monitoring_routes(backend),
    ]
    return Guard(
        _application(routes, backend.refused),
        settings,
        limit or RateLimit(),
        backend.refused,
        backend.refused_calls,
        page=page,
        signed=partial(webhook_call.is_signed, backend.webhook),
    )


def monitoring(backend: Backend, settings: MonitoringSettings, max_body_bytes: int) -> ASGIApp:
    """Make the application of the monitoring listener."""
    return OriginGuard(
        _application(_monitoring_routes(backend), lambda _code: None),
        loopback=is_loopback(settings.host),
        max_body_bytes=max_body_bytes,
    )


def _application(routes: Sequence[Route], refused: Callable[[str], None]) -> Starlette:
    async def on_http(request: Request, error: Exception) -> Response:
        return _http_fault(request, error)

    async def on_refusal(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestError)  # noqa: S101 -- registered for nothing else
        refused(error.code)
        return refusal_response(error, request.scope["path"])

    async def on_bug(request: Request, _error: Exception) -> Response:
        refused("internal_error")
        details = "the request could not be processed; see the log"
        return refusal_response(
            HttpRefusal("internal_error", "Internal error", details), request.scope["path"]
        )

    app = Starlette(
        routes=routes,
        exception_handlers={HTTPException: on_http, RequestError: on_refusal, Exception: on_bug},
    )
    app.router.redirect_slashes = False
    return app


def _http_fault(request: Request, error: Exception) -> Response:
    """Answer an unknown path or a wrong method; to OPTIONS the methods are the answer."""
    assert isinstance(error, HTTPException)  # noqa: S101 -- registered for nothing else
    # Starlette joins a set, in another order at each start.
    allowed = ", ".join(sorted((error.headers or {}).get("Allow", "").split(", ")))
    if error.status_code == 405 and request.method == "OPTIONS":
        return Response(status_code=204, headers={"Allow": f"{allowed}, OPTIONS"})
    if error.status_code == 405:
        details = f"{request.method} is not allowed here; allowed: {allowed}"
        refusal = HttpRefusal("method_not_allowed", "Method not allowed", details, headers={"Allow": allowed})
    else:
        paths = [route.path for route in request.app.routes if isinstance(route, Route)]
        listed = "/docs lists all paths" if "/docs" in paths else f"here are {', '.join(paths)}"
        details = f"there is nothing at {schema_errors.shown(request.scope['path'])}; {listed}"
        refusal = HttpRefusal("not_found", "Not found", details)
    return refusal_response(refusal, request.scope["path"])


def _seconds(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 4 or int(text) > MAX_WAIT_SECONDS:
        details = f"wait must be whole seconds up to {MAX_WAIT_SECONDS}, is {schema_errors.shown(text)}"
        raise HttpRefusal("invalid_request", "Invalid request", details)
    return int(text)


async def _state(
    backend: Backend, request_id: str, caller: Caller, wait: int, ending: asyncio.Event
) -> Response:
    """Return the state of a request; with *wait*, once it has finished or so many seconds are over."""
    end = asyncio.get_running_loop().time() + wait
    while True:
        try:
            state = await asyncio.to_thread(backend.inquire, request_id, caller)
        except JournalError as error:
            raise HttpRefusal("not_recorded", "Journal cannot be read", str(error)) from error
        if state is None:
            shown = schema_errors.shown(request_id)
            details = f"no request {shown} is known; it may be older than retentionDays"
            raise HttpRefusal("not_found", "Not found", details)
        left = end - asyncio.get_running_loop().time()
        if state["finished"] or left <= 0 or ending.is_set():
            return json_response(state)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ending.wait(), min(POLL_SECONDS, left))


def _monitoring_routes(backend: Backend) -> list[Route]:
    async def healthz(_request: Request) -> Response:
        return _checked(backend.health())

    async def readyz(_request: Request) -> Response:
        return _checked(backend.readiness())

    async def metrics(_request: Request) -> Response:
        text = await asyncio.to_thread(backend.exposition)
        return Response(text, headers={"Cache-Control": "no-store", "Content-Type": _METRICS_TYPE})

    return [
        Route("/healthz", healthz, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
    ]


def _checked(checks: Sequence[Check]) -> Response:
    healthy = all(check.passed for check in checks)
    content: dict[str, object] = {
        "status": "ok" if healthy else "failed",
        "checks": {one.name: one.fault or "ok" for one in checks if not one.advisory},
    }
    if warnings := {one.name: one.fault for one in checks if one.advisory and one.fault}:
        content["warnings"] = warnings
    return json_response(content, 200 if healthy else 503)
