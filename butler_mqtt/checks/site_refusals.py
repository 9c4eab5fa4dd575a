"""
Asks the Qlik server for answers that it refuses, and shows them; reads only.

How a real site words them, and with which type, is documented nowhere.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from butler_mqtt.checks.finding import Finding, ok
from butler_mqtt.checks.site_lists import FAILS, HOLDS
from butler_mqtt.qrs import filters
from butler_mqtt.qrs.answer_errors import is_page, words_of
from butler_mqtt.qrs.json_fields import text
from butler_mqtt.qrs.transport import HttpAnswer

#: Characters of a body that a line shows.
SHOWN = 80
#: As long as an xrfkey must be, and never the one of the query.
OTHER_XRFKEY = "otherotherother0"


class Ask(Protocol):
    """Reads /qrs*path*; *query* is encoded already; *xrfkey* stands in the header in place of the query's."""

    def __call__(self, path: str, query: str = "", *, xrfkey: str | None = None) -> HttpAnswer:
        """Return the answer, whatever its status; raises ExchangeFailed."""
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """A call that is to be refused: *what* in words, as answered, if the assumption holds, by `expected`."""

    what: str
    path: str
    query: str = ""
    xrfkey: str | None = None
    expected: Callable[[HttpAnswer], bool] = lambda _: True


def _filter(expression: str) -> str:
    return f"filter={filters.encode(expression)}"


#: Those that have a line of the report, by its name.
LINES: Mapping[str, Question] = {
    "site.badFilter": Question(
        "a filter that cannot be read is answered with 400 and a text",
        "/task",
        _filter("name eq"),
        expected=lambda answer: answer.status == 400 and not is_page(answer),
    ),
    "site.unknownPath": Question(
        "a path that does not exist is answered with 404 and a text",
        "/no/such/path",
        expected=lambda answer: answer.status == 404 and not is_page(answer),
    ),
    "site.wrongXrfkey": Question(
        "xrfkeys that differ are answered with 403 and a text about XSRF",
        "/about",
        xrfkey=OTHER_XRFKEY,
        expected=lambda answer: answer.status == 403 and "xsrf" in words_of(answer).lower(),
    ),
}


def others() -> tuple[Question, ...]:
    """Return further questions that only what is saved answers."""
    unknown = uuid.uuid4()
    return (
        Question("an id that no task has", f"/reloadtask/{unknown}"),
        Question("an id that is none", "/reloadtask/no-id"),
        Question("a task by its id, whatever its kind", f"/task/{unknown}"),
        Question("the number of tasks of all kinds", "/task/count"),
        Question("an id in quotes", "/task", _filter(f"id eq '{unknown}'")),
        Question("an unknown property in a filter", "/task", _filter("noSuchProperty eq 1")),
        Question("a group without a term", "/task", _filter("()")),
        Question("a quote that is doubled", "/task", _filter("name eq 'a''b'")),
        Question("a session that is over", f"/executionsession/{unknown}"),
    )


def check(ask: Ask) -> Iterator[Finding]:
    """Check each; the line shows status, Content-Type and the first bytes."""
    for name, question in LINES.items():
        answer = ask(question.path, question.query, xrfkey=question.xrfkey)
        holds = HOLDS if question.expected(answer) else FAILS
        yield ok(name, f"{holds}: {question.what}: {shown(answer)}")


def shown(answer: HttpAnswer) -> str:
    """Return status, Content-Type and the first bytes, as they came but for what cannot be printed."""
    body = text(answer.body[:SHOWN].decode("utf-8", "backslashreplace"), SHOWN)
    kind = text(answer.content_type, SHOWN) or "no Content-Type"
    return f"{answer.status}, {kind}, {repr(body) if body else 'no body'}"
