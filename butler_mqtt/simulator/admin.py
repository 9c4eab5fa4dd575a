"""The admin endpoints: switches, faults, what was called, foreign starts and stops, tasks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from butler_mqtt.simulator.call_log import CallRecord
from butler_mqtt.simulator.definitions import DefinitionError, task_definition
from butler_mqtt.simulator.faults import FaultError, Faults
from butler_mqtt.simulator.proxy import TOKEN_SECONDS, USER, QlikProxy
from butler_mqtt.simulator.site import FOREIGN_USER, Site
from butler_mqtt.simulator.switches import SwitchError
from butler_mqtt.simulator.tasks import SimulatedTask

_Scope = MutableMapping[str, Any]


class AdminDoor(Protocol):
    """The main listener, as far as the admin endpoints move it."""

    accepted: int

    async def move(self, position: str, spare: Any = None) -> None:
        """Go up or down."""


class Admin:
    """The endpoints; each answers JSON, a refusal is `{"error": text}`."""

    def __init__(
        self, site: Site, faults: Faults, door: Callable[[], AdminDoor], proxies: Sequence[QlikProxy] = ()
    ) -> None:
        self._site = site
        self._proxies = proxies
        self._faults = faults
        self._door = door

    def routes(self) -> list[Route]:
        """Return all routes."""
        return [
            Route("/admin", self.state, methods=["GET"]),
            Route("/admin/switches", self.switches, methods=["GET", "PUT"]),
            Route("/admin/faults", self.faults, methods=["GET", "POST", "DELETE"]),
            Route("/admin/faults/{fault:int}", self.fault, methods=["DELETE"]),
            Route("/admin/calls", self.calls, methods=["GET"]),
            Route("/admin/starts", self.starts, methods=["GET"]),
            Route("/admin/tasks", self.tasks, methods=["GET", "POST"]),
            Route("/admin/tasks/{task}", self.task, methods=["GET", "PUT", "DELETE"]),
            Route("/admin/tasks/{task}/start", self.start, methods=["POST"]),
            Route("/admin/tasks/{task}/stop", self.stop, methods=["POST"]),
            Route("/admin/executions", self.executions, methods=["GET"]),
            Route("/admin/proxy", self.proxy, methods=["GET"]),
            Route("/admin/proxy/sessions", self.sessions, methods=["DELETE"]),
            Route("/admin/proxy/tokens", self.tokens, methods=["POST"]),
            Route("/admin/restart", self.restart, methods=["POST"]),
            Route("/admin/reset", self.reset, methods=["POST"]),
        ]

    async def state(self, _request: Request) -> Response:
        """Return the server's time and numbers of entities."""
        site = self._site
        return JSONResponse(
            {
                "time": site.clock.stamp(),
                "tasks": len(site.tasks),
                "calls": site.calls.total,
                "connections": self._door().accepted,
                "sessions": len(site.executions.sessions),
                "results": len(site.executions.results),
                "executions": sum(one.executions for one in site.calls.starts.values()),
            }
        )

    async def switches(self, request: Request) -> Response:
        """Return the switches, or set those that the body names."""
        site = self._site
        if request.method == "PUT":
            before = site.switches
            try:
                site.set_switches(before.changed(await _document(request, dict)))
            except SwitchError as error:
                raise HTTPException(400, str(error)) from None
            if site.switches.listener != before.listener:
                await self._door().move(site.switches.listener, request.scope["state"].get("wire"))
        return JSONResponse(site.switches.as_json())

    async def faults(self, request: Request) -> Response:
        """List the faults, add one or several, or remove all."""
        if request.method == "DELETE":
            self._faults.clear()
            return Response(status_code=204)
        if request.method == "GET":
            return JSONResponse([fault.as_json() for fault in self._faults])
        body = await _document(request, dict, list)
        try:
            injected = [self._faults.inject(raw) for raw in (body if isinstance(body, list) else [body])]
        except FaultError as error:
            raise HTTPException(400, str(error)) from None
        shown = [fault.as_json() for fault in injected]
        return JSONResponse(shown if isinstance(body, list) else shown[0], 201)

    async def fault(self, request: Request) -> Response:
        """Remove one fault."""
        if not self._faults.remove(request.path_params["fault"]):
            raise HTTPException(404, "no such fault")
        return Response(status_code=204)

    async def calls(self, request: Request) -> Response:
        """Return the calls from `since` on that match `method`, `path`, `status`, `taskId`, `user`."""
        asked = request.query_params
        since = _number(asked.get("since", "0"), "since")
        limit = _number(asked.get("limit", "1000"), "limit")
        found = [record.as_json() for record in self._site.calls.since(since) if _fits(record, asked)]
        following = found[limit]["index"] if len(found) > limit else self._site.calls.total
        return JSONResponse({"calls": found[:limit], "next": following})

    async def starts(self, _request: Request) -> Response:
        """Return how often each task's start was requested and how many executions began."""
        counts = self._site.calls.starts
        names = ("requests", "executions", "empty", "foreign")
        return JSONResponse(
            {
                **{name: sum(getattr(one, name) for one in counts.values()) for name in names},
                "tasks": {task_id: one.as_json() for task_id, one in counts.items()},
            }
        )

    async def tasks(self, request: Request) -> Response:
        """List all tasks in full, or add one or several."""
        if request.method == "GET":
            return Response(
                b"[" + b",".join(task.full() for task in self._site.tasks) + b"]",
                media_type="application/json",
            )
        body = await _document(request, dict, list)
        added = [self._put(raw) for raw in (body if isinstance(body, list) else [body])]
        shown = [task.document for task in added]
        return JSONResponse(shown if isinstance(body, list) else shown[0], 201)

    async def task(self, request: Request) -> Response:
        """Give, replace or delete one task."""
        if request.method == "PUT":
            raw = {**await _document(request, dict), "id": request.path_params["task"]}
            return JSONResponse(self._put(raw).document)
        task = self._find(request)
        if request.method == "DELETE":
            self._site.delete_task(task)
            return Response(status_code=204)
        return JSONResponse(task.document)

    async def start(self, request: Request) -> Response:
        """Start a task as another user; the body may name the `user`."""
        task = self._find(request)
        user = FOREIGN_USER
        if await request.body():
            user = str((await _document(request, dict)).get("user", FOREIGN_USER))
        execution_id = self._site.start(task, user, None, synchronous=False)
        return JSONResponse({"executionId": execution_id}, 201)

    async def stop(self, request: Request) -> Response:
        """Abort what runs of a task."""
        return JSONResponse({"stopped": self._site.stop(self._find(request))})

    async def executions(self, request: Request) -> Response:
        """Return the results, newest last, with their sessions; `taskId` and `active=true` filter."""
        site = self._site
        task_id = request.query_params.get("taskId", "").lower()
        active = request.query_params.get("active") == "true"
        shown = []
        for result in site.executions.results:
            session = site.executions.sessions.get(result.document["executionID"])
            if (task_id and result.task.id != task_id) or (active and session is None):
                continue
            shown.append({**result.document, "session": None if session is None else session.document})
        return JSONResponse(shown)

    async def proxy(self, _request: Request) -> Response:
        """Return the sessions at the proxy, and how many were opened and calls refused so far."""
        return JSONResponse(self._proxy().as_json())

    async def sessions(self, _request: Request) -> Response:
        """End all sessions at the proxy."""
        return JSONResponse({"ended": self._proxy().end_sessions()})

    async def tokens(self, request: Request) -> Response:
        """Make a token for the `user` of the body, for so many `seconds`; or with its `claims`."""
        body = await _document(request, dict)
        if "claims" in body:
            token = self._proxy().signed(body["claims"])
        else:
            token = self._proxy().token(
                str(body.get("user", USER)), float(body.get("seconds", TOKEN_SECONDS))
            )
        return JSONResponse({"token": token}, 201)

    def _proxy(self) -> QlikProxy:
        if not self._proxies:
            raise HTTPException(404, "there is no proxy; --proxy-port makes one")
        return self._proxies[0]

    async def restart(self, _request: Request) -> Response:
        """Forget subscriptions, as a restart of the repository does."""
        return JSONResponse({"subscriptionsLost": self._site.changes.lose_subscriptions()})

    async def reset(self, request: Request) -> Response:
        """Go back to the beginning."""
        self._faults.clear()
        self._site.reset()
        for proxy in self._proxies:
            proxy.end_sessions()
        await self._door().move(self._site.switches.listener, request.scope["state"].get("wire"))
        return Response(status_code=204)

    def _put(self, raw: Any) -> SimulatedTask:
        try:
            return self._site.put_task(task_definition(raw))
        except DefinitionError as error:
            raise HTTPException(400, str(error)) from None

    def _find(self, request: Request) -> SimulatedTask:
        task = self._site.tasks.get(request.path_params["task"].lower())
        if task is None:
            raise HTTPException(404, "no such task")
        return task


def application(
    site: Site, faults: Faults, door: Callable[[], AdminDoor], proxies: Sequence[QlikProxy] = ()
) -> Callable[[_Scope, Any, Any], Awaitable[None]]:
    """Return the ASGI application of the admin endpoints."""
    app = Starlette(
        routes=Admin(site, faults, door, proxies).routes(),
        exception_handlers={HTTPException: _refused},
    )

    async def current(scope: _Scope, receive: Any, send: Any) -> None:
        # What is due by now happens before the answer is made.
        site.agenda.run()
        await app(scope, receive, send)

    return current


async def _refused(_request: Request, error: Exception) -> Response:
    status, detail = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, "")
    return JSONResponse({"error": detail}, status)


async def _document(request: Request, *types: type) -> Any:
    try:
        document = await request.json()
    except ValueError:
        raise HTTPException(400, "the body is not JSON") from None
    if not isinstance(document, types):
        raise HTTPException(400, f"the body is not {' or '.join(one.__name__ for one in types)}")
    return document


def _number(text: str, name: str) -> int:
    if not text.isdecimal():
        raise HTTPException(400, f"{name}: {text!r} is not a number")
    return int(text)


def _fits(record: CallRecord, asked: Any) -> bool:
    return (
        asked.get("method", record.method).upper() == record.method
        and asked.get("path", "").lower() in record.path.lower()
        and asked.get("status", str(record.status)) == str(record.status)
        and ("taskId" not in asked or asked["taskId"].lower() in record.task_ids)
        and asked.get("user", record.user or "") == (record.user or "")
    )
