"""The page as an application below `/ui`: who may see it, its paths, its views, its errors."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from importlib import resources
from urllib.parse import quote

from markupsafe import Markup
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from butler_mqtt.errors import JournalError, RequestError
from butler_mqtt.http.backend import Backend
from butler_mqtt.http.error_responses import RETRY_AFTER, STATUS, HttpRefusal
from butler_mqtt.http.page import failure_views, health_view, now_view, request_views, rule_views, task_views
from butler_mqtt.http.page.live_updates import LiveUpdates
from butler_mqtt.http.page.page_actions import PageActions
from butler_mqtt.http.page.page_addresses import PageAddresses
from butler_mqtt.http.page.page_backend import PageBackend
from butler_mqtt.http.page.page_sessions import PageSession, PageSessions
from butler_mqtt.http.page.rendering import HEADERS, html, rendered
from butler_mqtt.http.page.sign_in import SignIn, secrets_of
from butler_mqtt.http.page.view import PageView, ViewCall
from butler_mqtt.settings import RestSettings, Settings

#: What is served as it is, with its media type.
_STATIC = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}
#: A script asks for the part that changes by this header.
_LIVE_PART = "x-live-part"
#: Seconds for which what one page got is good for the others, unless the journal has changed since.
_SHARED_SECONDS = 10.0
#: Parts that are kept for others.
_MOST_PARTS = 200

_log = logging.getLogger("butler_mqtt.http")


@dataclass(frozen=True, slots=True)
class _Part:
    """The changing part of a view as it was at some time, and the count of changes then."""

    html: str
    made_at: float
    changes: int


class WebPage:
    """
    The application.

    Args:
        core: Where requests go.
        backend: Reads for the page.
        settings: The whole configuration.
        ending: Set when the listener stops.
    """

    #: Paths without a session.
    OPEN = ("/ui/sign-in", "/ui/static/")

    def __init__(
        self, core: Backend, backend: PageBackend, settings: Settings, ending: asyncio.Event
    ) -> None:
        self._addresses = PageAddresses(settings.web_page.origins)
        parts = ["now", "requests", "tasks", "failures", *(["rules"] if settings.rules else ()), "health"]
        self._sessions = PageSessions(backend.sessions, settings.rest.tokens, parts)
        self._live = LiveUpdates(backend.version, ending)
        self._refused = core.refused
        self._refused_calls = core.refused_calls
        self._parts: dict[tuple[bool, str], _Part] = {}
        # One after another: pages that ask at once then share what the first one got.
        self._one_at_a_time = asyncio.Lock()
        actions = PageActions(core, backend, ending, may_stop=settings.start_task.allow_stop)
        sign_in = SignIn(self._sessions, self._addresses, core.refused)
        views = [
            view
            for module in (now_view, request_views, task_views, failure_views, rule_views, health_view)
            for view in module.views(backend)
        ]
        of_request = "/ui/requests/{request_id}"
        get, post = ["GET"], ["POST"]
        self._app = _application(
            [
                Route("/ui", _to_begin, methods=get),
                Route("/ui/sign-in", sign_in.show, methods=get),
                Route("/ui/sign-in", sign_in.begin, methods=post),
                Route("/ui/sign-out", sign_in.end, methods=post),
                Route("/ui/static/{name}", _static, methods=get),
                Route("/ui/live", self._events, methods=get),
                Route("/ui/start", actions.start_form, methods=get),
                Route("/ui/start", actions.start, methods=post),
                *(Route(view.path, self._showing(view), methods=get) for view in views),
                Route(f"{of_request}/retry", actions.retry_form, methods=get),
                Route(f"{of_request}/retry", actions.retry, methods=post),
                Route(f"{of_request}/cancel", actions.cancel_form, methods=get),
                Route(f"{of_request}/cancel", actions.cancel, methods=post),
                Route(f"{of_request}/discard", actions.discard_form, methods=get),
                Route(f"{of_request}/discard", actions.discard, methods=post),
            ]
        )

    def reconfigured(self, rest: RestSettings) -> None:
        """Let in with other tokens from the next call on; called from another thread."""
        self._sessions.reconfigured(rest.tokens)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call below /ui."""
        request = HTTPConnection(scope)
        path = scope["path"]
        try:
            self._addresses.check(request)
        except HttpRefusal as refusal:
            self._refused(refusal.code)
            self._refused_calls.forbidden(f"a call of the page was refused: {refusal.details}")
            await _refusal(refusal, None)(scope, receive, send)
            return
        secret, session = self._sessions.among(secrets_of(request))
        scope.setdefault("state", {}).update(session=session, secret=secret)
        if session is None and not path.startswith(self.OPEN) and path != "/ui":
            await self._sign_in_first(scope)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _sign_in_first(self, scope: Scope) -> Response:
        request = Request(scope)
        if request.method != "GET" or request.url.path == "/ui/live" or _LIVE_PART in request.headers:
            return html(rendered("error.html", **_signed_out()), 401)
        query = f"?{request.url.query}" if request.url.query else ""
        following = quote(f"{request.url.path}{query}", safe="/")
        return RedirectResponse(f"/ui/sign-in?next={following}", 303, HEADERS)

    # ---- views

    def _showing(self, view: PageView) -> Callable[[Request], Awaitable[Response]]:
        async def show(request: Request) -> Response:
            session: PageSession = request.state.session
            call = ViewCall(request.path_params, request.query_params, session.operates)
            key = (session.operates, f"{request.url.path}?{request.url.query}")
            if _LIVE_PART in request.headers:
                async with self._one_at_a_time:
                    part = self._shared(key) or await self._made(view, call, key)
                return html(part.html)
            values = await asyncio.to_thread(view.read, call)
            live = rendered(view.template, **values)
            still = rendered(view.still, **values) if view.still else ""
            return html(
                rendered(
                    "page.html",
                    title=values["title"],
                    part=view.name,
                    session=session,
                    still=Markup(still),  # noqa: S704 -- made by a template just now
                    live=Markup(live),  # noqa: S704 -- as above
                )
            )

        return show

    def _shared(self, key: tuple[bool, str]) -> _Part | None:
        part = self._parts.get(key)
        if part is None or not self._live.watching or part.changes != self._live.changes:
            return None
        return part if time.monotonic() - part.made_at < _SHARED_SECONDS else None

    async def _made(self, view: PageView, call: ViewCall, key: tuple[bool, str]) -> _Part:
        changes = self._live.changes  # before it is read: what is written meanwhile is told later
        made_at = time.monotonic()
        part = _Part(await asyncio.to_thread(_rendered_part, view, call), made_at, changes)
        self._parts.pop(key, None)
        self._parts[key] = part
        while len(self._parts) > _MOST_PARTS:
            del self._parts[next(iter(self._parts))]
        return part

    async def _events(self, request: Request) -> Response:
        self._live.refuse_when_full()
        secret = request.state.secret
        events: AsyncIterator[str] = self._live.events(lambda: self._sessions.of(secret) is not None)
        return StreamingResponse(events, headers=HEADERS, media_type="text/event-stream")


def _rendered_part(view: PageView, call: ViewCall) -> str:
    return rendered(view.template, **view.read(call))


async def _to_begin(_request: Request) -> Response:
    return RedirectResponse("/ui/", 308, HEADERS)


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _STATIC:
        raise HTTPException(404)
    content = resources.files("butler_mqtt.http.page").joinpath("static", name).read_bytes()
    return Response(content, headers={**HEADERS, "Cache-Control": "no-cache"}, media_type=_STATIC[name])


# ---- errors


def _application(routes: list[Route]) -> Starlette:
    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 -- registered for nothing else
        if error.status_code == 405:
            refusal = HttpRefusal(
                "method_not_allowed", "Not done this way", "go back and use the page's forms"
            )
        else:
            refusal = HttpRefusal("not_found", "Not found", "there is no such page; the parts are above")
        return _refusal(refusal, request.state.session)

    async def on_refusal(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestError)  # noqa: S101 -- registered for nothing else
        return _refusal(error, request.state.session)

    async def on_journal(request: Request, error: Exception) -> Response:
        refusal = HttpRefusal("not_recorded", "The journal cannot be read", str(error))
        return _refusal(refusal, request.state.session)

    async def on_bug(request: Request, _error: Exception) -> Response:
        refusal = HttpRefusal(
            "internal_error", "A fault of the daemon", "its log says more; nothing was done"
        )
        return _refusal(refusal, request.state.session)

    app = Starlette(
        routes=routes,
        exception_handlers={
            HTTPException: on_http,
            RequestError: on_refusal,
            JournalError: on_journal,
            Exception: on_bug,
        },
    )
    app.router.redirect_slashes = False
    return app


def _refusal(refusal: RequestError, session: PageSession | None) -> Response:
    text = rendered(
        "error.html",
        title=refusal.error,
        details=refusal.details,
        code=refusal.code,
        session=session,
        part="",
        sign_in=False,
    )
    answer = html(text, STATUS.get(refusal.code, 400))
    if isinstance(refusal, HttpRefusal):
        answer.headers.update(refusal.headers)
    if refusal.code in RETRY_AFTER:
        answer.headers.setdefault("Retry-After", str(RETRY_AFTER[refusal.code]))
    return answer


def _signed_out() -> dict[str, object]:
    return {
        "title": "Signed out",
        "details": "sign in to go on; nothing was done",
        "code": "unauthorized",
        "session": None,
        "part": "",
        "sign_in": True,
    }
