"""What an operator does: start (a dry run first), start again what failed, cancel, discard."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from butler_mqtt.contract import schema_errors
from butler_mqtt.http.backend import Backend
from butler_mqtt.http.error_responses import HttpRefusal, status_of
from butler_mqtt.http.page import page_requests
from butler_mqtt.http.page.forms import check_csrf, read_form
from butler_mqtt.http.page.page_backend import ActionDeclined, PageBackend, RequestPage
from butler_mqtt.http.page.page_sessions import PageSession
from butler_mqtt.http.page.rendering import HEADERS, html, rendered

#: What the form offers to select tasks by, with its words.
KINDS: Mapping[str, str] = {"taskId": "Task id", "taskName": "Task name", "tag": "Tag"}
#: `sender` of what the page sends; who it was is the token beside it.
SENDER = "web page"
#: Lists of a reply to a dry run, with their words.
_LISTS = (
    ("tasksWouldStart", "would start"),
    ("tasksSkipped", "run already"),
    ("tasksDenied", "the allow-list does not let start"),
    ("tasksFailed", "cannot be started"),
)
_MOST_TEXT = 256


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the form for a start says."""

    kind: str
    value: str
    if_running: str

    def document(self, request_id: str, *, dry_run: bool) -> dict[str, object]:
        asked = {self.kind: self.value, "ifRunning": self.if_running, "sender": SENDER}
        return {"requestId": request_id, **asked, **({"dryRun": True} if dry_run else {})}


class PageActions:
    """
    The forms and what they do; each is for operators only.

    Args:
        core: Where requests go.
        backend: Reads for the page.
        ending: Set when the listener stops.
        may_stop: Whether a cancel may stop executions.
    """

    def __init__(self, core: Backend, backend: PageBackend, ending: asyncio.Event, *, may_stop: bool) -> None:
        self._core = core
        self._backend = backend
        self._ending = ending
        self._may_stop = may_stop

    # ---- start

    async def start_form(self, request: Request) -> Response:
        """Show the form for a start."""
        session = _operator(request)
        kind = next((kind for kind in KINDS if request.query_params.get(kind)), "taskId")
        asked = _Asked(kind, request.query_params.get(kind, "")[:_MOST_TEXT], "queue")
        return html(_start_page(session, asked, request.query_params.get("name", "")[:_MOST_TEXT]))

    async def start(self, request: Request) -> Response:
        """Make the dry run, or after it the start."""
        session = _operator(request)
        form = await read_form(request)
        check_csrf(form, session)
        asked = _asked(form)
        if not asked.value:
            return html(_start_page(session, asked, fault="Say which task: the field is empty."), 400)
        if form.get("step") == "start":
            request_id = form.get("request_id", "")
            if not schema_errors.REQUEST_ID.match(request_id):
                raise HttpRefusal("invalid_request", "Form not understood", "it holds no request id")
            return await self._sent(session, asked.document(request_id, dry_run=False), "started")
        sent = await page_requests.send(
            self._core, asked.document(page_requests.new_id(), dry_run=True), session.name, self._ending
        )
        if sent.reply is None:
            return html(
                _start_page(
                    session,
                    asked,
                    fault="The Qlik server has not answered yet. Try again, or look at Now and Health.",
                ),
                503,
            )
        return html(_start_page(session, asked, reply=sent.reply))

    # ---- what is done with a request

    async def retry_form(self, request: Request) -> Response:
        """Show what starting again means."""
        session, page = _operator(request), await self._page(request)
        task_id = request.query_params.get("task")
        document = await self._again(page.line.request_id, task_id)
        names = {task.task_id: task.name for task in page.tasks}
        ids = document.get("taskId")
        return self._form(
            session,
            page,
            title="Start again",
            action="retry",
            button="Start again",
            lead="A new request asks for what failed of this one:",
            items=[names.get(str(one), str(one)) for one in ids]
            if isinstance(ids, list)
            else [page.line.asked],
            fields={"task": task_id or "", "request_id": page_requests.new_id()},
        )

    async def retry(self, request: Request) -> Response:
        """Ask again for what failed."""
        session = _operator(request)
        form = await read_form(request)
        check_csrf(form, session)
        page = await self._page(request)
        document = await self._again(page.line.request_id, form.get("task") or None)
        request_id = form.get("request_id", "")
        if not schema_errors.REQUEST_ID.match(request_id):
            raise HttpRefusal("invalid_request", "Form not understood", "it holds no request id")
        return await self._sent(session, {**document, "requestId": request_id}, "retried")

    async def cancel_form(self, request: Request) -> Response:
        """Show what taking a request back means."""
        session, page = _operator(request), await self._page(request)
        return self._form(
            session,
            page,
            title="Cancel",
            action="cancel",
            button="Cancel the request",
            lead="What of it has not begun will not begin:",
            items=[page.line.asked],
            stop=self._may_stop,
            fields={"request_id": page_requests.new_id()},
        )

    async def cancel(self, request: Request) -> Response:
        """Take a request back."""
        session = _operator(request)
        form = await read_form(request)
        check_csrf(form, session)
        page = await self._page(request)
        document: dict[str, object] = {
            "requestId": form.get("request_id") or page_requests.new_id(),
            "cancel": page.line.request_id,
            "sender": SENDER,
        }
        if form.get("stop") == "yes" and self._may_stop:
            document["stopRunning"] = True
        sent = await page_requests.send(self._core, document, session.name, self._ending)
        if sent.reply is not None and "error" in sent.reply:
            code, error, details = (str(sent.reply[key]) for key in ("code", "error", "details"))
            raise HttpRefusal(code, error, details)
        return _to_request(page.line.request_id, "cancelled")

    async def discard_form(self, request: Request) -> Response:
        """Show what discarding means."""
        session, page = _operator(request), await self._page(request)
        return self._form(
            session,
            page,
            title="Discard dead letters",
            action="discard",
            button="Discard them",
            lead="The broker refuses these messages; nobody will get them after this:",
            items=list(page.dead_letters),
        )

    async def discard(self, request: Request) -> Response:
        """Discard the dead letters of a request."""
        session = _operator(request)
        check_csrf(await read_form(request), session)
        page = await self._page(request)
        try:
            await asyncio.to_thread(self._backend.discard, page.line.request_id)
        except ActionDeclined as error:
            raise HttpRefusal("not_recorded", "Nothing was discarded", str(error)) from None
        return _to_request(page.line.request_id, "discarded")

    # ---- helpers

    async def _sent(self, session: PageSession, document: Mapping[str, object], notice: str) -> Response:
        sent = await page_requests.send(self._core, document, session.name, self._ending)
        return _to_request(sent.request_id, notice if sent.reply is None or _is_ok(sent.reply) else "")

    async def _page(self, request: Request) -> RequestPage:
        request_id = request.path_params["request_id"]
        pages = await asyncio.to_thread(self._backend.request, request_id)
        if not pages:
            details = f"no request {schema_errors.shown(request_id)} is known"
            raise HttpRefusal("not_found", "No such request", details)
        return pages[0]

    async def _again(self, request_id: str, task_id: str | None) -> Mapping[str, object]:
        try:
            return await asyncio.to_thread(self._backend.again, request_id, task_id)
        except ActionDeclined as error:
            raise HttpRefusal("invalid_request", "Nothing to start again", str(error)) from None

    def _form(
        self,
        session: PageSession,
        page: RequestPage,
        *,
        fields: Mapping[str, str] | None = None,
        stop: bool = False,
        **values: object,
    ) -> Response:
        return html(
            rendered(
                "confirm.html",
                session=session,
                part="requests",
                request_id=page.line.request_id,
                fields=fields or {},
                stop=stop,
                **values,
            )
        )


def _operator(request: Request) -> PageSession:
    session = request.state.session
    assert isinstance(session, PageSession)  # noqa: S101 -- the page lets nobody else come this far
    if not session.operates:
        raise HttpRefusal(
            "forbidden",
            "Not allowed",
            f"the token {session.name} has role reader, which looks at everything and starts nothing",
        )
    return session


def _asked(form: Mapping[str, str]) -> _Asked:
    kind, if_running = form.get("kind", ""), form.get("if_running", "queue")
    if kind not in KINDS or if_running not in {"queue", "skip"}:
        raise HttpRefusal("invalid_request", "Form not understood", "it is not what this page sends")
    return _Asked(kind, form.get("value", "").strip()[:_MOST_TEXT], if_running)


def _start_page(
    session: PageSession,
    asked: _Asked,
    name: str = "",
    *,
    fault: str = "",
    reply: Mapping[str, Any] | None = None,
) -> str:
    groups = [(words, reply[key]) for key, words in _LISTS if reply and reply.get(key)]
    return rendered(
        "start.html",
        title="Start a task",
        part="tasks",
        session=session,
        kinds=KINDS,
        asked=asked,
        name=name,
        fault=fault,
        reply=reply,
        groups=groups,
        starts=len(reply.get("tasksWouldStart", ())) if reply else 0,
        missing=[next(iter(one.values())) for one in (reply or {}).get("tasksNotFound", ())],
        request_id=page_requests.new_id(),
    )


def _is_ok(reply: Mapping[str, Any]) -> bool:
    return status_of(reply) == 200 and reply.get("status") == "ok"


def _to_request(request_id: str, notice: str) -> Response:
    query = f"?notice={notice}" if notice else ""
    return RedirectResponse(f"/ui/requests/{quote(request_id)}{query}", 303, HEADERS)
