"""
HTTP answers of the QRS -> values or errors, by what the caller may do next.

Error bodies of the repository are plain text, escaped as HTML text is (seen
with a 400 of 2017), so the status is read before anything is parsed. Only a
body that begins with `<` is a page, whatever its Content-Type says.
"""

from __future__ import annotations

import html
import json
import re
from codecs import BOM_UTF8
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from butler_mqtt.errors import OutcomeUnknown, QlikError, QlikRefused, QlikUnavailable
from butler_mqtt.qrs.json_fields import guid, text
from butler_mqtt.qrs.transport import HttpAnswer

#: Characters of a body that may stand in a message.
MAX_BODY_TEXT = 200
#: Statuses of a server or proxy that is starting, overloaded or without a repository behind it.
PASSING = frozenset({502, 503, 504})
#: The title of a page; it stands near the beginning.
_TITLE = re.compile(rb"<title[^<>]*>([^<]*)", re.IGNORECASE)
_TITLE_WITHIN = 4096


class PassingOutage(QlikUnavailable):
    """An outage that may be over in a moment: a read is repeated within the call."""


def is_page(answer: HttpAnswer) -> bool:
    """Return whether an HTML page, as a proxy sends it, came instead of an answer of the repository."""
    return answer.body[:64].removeprefix(BOM_UTF8).lstrip()[:1] == b"<"


def words_of(answer: HttpAnswer) -> str:
    """Return the text of a refusal, unescaped: one line, bounded, no control characters."""
    # Bounded first: a body may be megabytes; the longest escapes in use take six bytes for a character.
    escaped = answer.body[: 8 * MAX_BODY_TEXT].decode("utf-8-sig", "replace")
    return text(html.unescape(escaped), MAX_BODY_TEXT)


def of_another(answer: HttpAnswer) -> bool:
    """
    Return whether an answer is not the repository's own word, but a page of what stands in its place.

    HTTP.sys itself answers 404 with a page while the repository has not started.
    An address that is too long (414) is our own doing, whoever says so.
    """
    return is_page(answer) and answer.status != 414


def quoted(answer: HttpAnswer) -> str:
    """
    Quote the body for a message: one line, bounded, no control characters.

    A page is named by its title, else by the reason phrase of its status.
    """
    if not is_page(answer):
        words = words_of(answer)
        return f"'{words}'" if words else "no text"
    found = _TITLE.search(answer.body[:_TITLE_WITHIN])
    title = words_of(replace(answer, body=found[1])) if found is not None else ""
    if title:
        return f"an HTML page titled '{title}'"
    reason = text(answer.reason, MAX_BODY_TEXT)
    return f"an HTML page, '{reason}'" if reason else "an HTML page"


def value_of(answer: HttpAnswer, call: str) -> object:
    """
    Return the JSON of an answer to a read, None for 204.

    Raises:
        PassingOutage: 429, 502, 503, 504, or a 2xx that is not JSON.
        QlikUnavailable: Another 5xx, or a page in place of an answer.
        QlikRefused: Any other status.
    """
    if answer.status == 204:
        return None
    if 200 <= answer.status < 300:
        if not is_page(answer):
            try:
                value: object = json.loads(answer.body)
            except (ValueError, RecursionError):
                pass
            else:
                return value
        raise PassingOutage(
            f"{call}: {answer.status} with {quoted(answer)} instead of JSON;"
            " a proxy answers for the repository, or the repository is starting"
        )
    if answer.status in PASSING:
        raise PassingOutage(
            f"{call}: {answer.status} {quoted(answer)}; the repository is starting, overloaded or down",
            retry_seconds(answer),
        )
    raise _error(answer, call)


def text_of(answer: HttpAnswer, call: str) -> str:
    """
    Return the text of an answer to a download; errors as of `value_of`.

    Raises:
        QlikUnavailable: 429 or a 5xx.
        QlikRefused: Any other status than 2xx.
    """
    if 200 <= answer.status < 300:
        return answer.body.decode("utf-8-sig", "replace")
    value_of(answer, call)
    return ""


def execution_of(answer: HttpAnswer, call: str) -> str | None:
    """
    Return the execution id of an answer to a start, None for 204.

    Raises:
        QlikUnavailable: 429: nothing was started.
        QlikRefused: Any other 4xx of the repository: nothing was started.
        OutcomeUnknown: Any other answer that does not carry an id; a page of another among
            them, since nothing says that the start was not passed on; `by_another` if it is
            no 5xx.
    """
    if answer.status == 204:
        return None
    if 200 <= answer.status < 300:
        try:
            value: object = json.loads(answer.body)
        except (ValueError, RecursionError):
            value = None
        execution = guid(value.get("value") if isinstance(value, dict) else value)
        if execution is not None:
            return execution
        raise OutcomeUnknown(
            f"{call}: {answer.status} with {quoted(answer)} instead of an execution id",
            by_another=is_page(answer),
        )
    if answer.status == 429 or (400 <= answer.status < 500 and not is_page(answer)):
        raise _error(answer, call)
    raise OutcomeUnknown(
        f"{call}: {answer.status} {quoted(answer)}; the task may have been started",
        by_another=answer.status < 500,
    )


def _error(answer: HttpAnswer, call: str) -> QlikError:
    status, words = answer.status, quoted(answer)
    line = f"{call}: {status} {words}"
    if status == 429:
        return PassingOutage(f"{line}; the server asks us to slow down", retry_seconds(answer))
    if status >= 500:
        return QlikUnavailable(f"{line}; see the repository's log")
    if of_another(answer):
        return QlikUnavailable(
            f"{line}; that is not the repository's own answer: it has not started,"
            " or a proxy answers in its place" + ("" if status == 403 else _advice(status, words))
        )
    return QlikRefused(line + _advice(status, words), status)


def _advice(status: int, words: str) -> str:
    if status < 400:
        return (
            "; the server sends us elsewhere, as a proxy does that wants a login:"
            " configQRS.port must be the repository's own (4242)"
        )
    if status == 401:
        return (
            "; the server wants a login: configQRS.port must be the repository's own (4242)"
            " and cert.clientCert a certificate of this site"
        )
    if status == 403 and "xsrf" in words.lower():
        return (
            "; the xrfkey of query and header did not arrive as sent:"
            " a proxy in between changes the address or drops X-Qlik-Xrfkey"
        )
    if status == 403 and "account is inactive" in words.lower():
        return (
            "; the user in X-Qlik-User (configQRS.headers), or of the token, is inactive in Qlik Sense:"
            " activate it in the QMC, or name another"
        )
    if status == 403:
        return (
            "; the user in X-Qlik-User (configQRS.headers), or of the token, lacks the right:"
            " read on ReloadTask*, ExecutionResult*, ExecutionSession*, and update on tasks to start them"
        )
    return ""


def retry_seconds(answer: HttpAnswer) -> float | None:
    """Read Retry-After, seconds or an HTTP date, as seconds from now; None when absent or unreadable."""
    value = answer.retry_after.strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    moment = http_date(value)
    if moment is None:
        return None
    # Server time against server time, where the answer has both.
    now = http_date(answer.date) or datetime.now(UTC)
    return max(0.0, (moment - now).total_seconds())


def http_date(value: str) -> datetime | None:
    """
    Read an HTTP date as UTC; None when absent, unreadable, or a time that no clock shows.

    The range of years leaves room for arithmetic: a clock at the end of the calendar overflows.
    """
    try:
        moment = parsedate_to_datetime(value)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if 1970 <= moment.year < 9999 else None
