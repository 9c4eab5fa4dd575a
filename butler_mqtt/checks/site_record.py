"""
Writes the report and answers of the Qlik server into a folder, to be sent to whoever works on this program.

They settle what no documentation of Qlik states. Configured headers are cut out of them.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from butler_mqtt import __version__
from butler_mqtt.checks import site_refusals
from butler_mqtt.checks.finding import Finding, ok, wrong
from butler_mqtt.checks.site_refusals import Question
from butler_mqtt.qrs.proxy_session import Exchange
from butler_mqtt.qrs.repository import RepositoryClient
from butler_mqtt.qrs.transport import ExchangeFailed, HttpAnswer
from butler_mqtt.settings import QrsSettings

#: Bytes of a body that are kept.
KEPT_BYTES = 4096
#: How the server describes itself: the file, and the call (help.qlik.com, Repository Service API, About API).
DESCRIPTIONS: Mapping[str, tuple[str, str]] = {
    "api-description.json": ("/about/api/description", "extended=true"),
    "api-enums.json": ("/about/api/enums", ""),
    "openapi.json": ("/about/openapi/main", ""),
}


def save(folder: Path, qrs: QrsSettings, findings: Sequence[Finding]) -> Finding:
    """Write what was found, and what the server answers, into *folder*, made if absent."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        report = {"version": __version__, "findings": [one.as_json() for one in findings]}
        _write(folder / "report.json", _json(report), qrs)
        with closing(RepositoryClient(qrs, threading.Event()).transport()) as transport:
            answers = [
                {"what": question.what, **_answer(transport, question)[0]}
                for question in (*site_refusals.LINES.values(), *site_refusals.others())
            ]
            for name, (path, query) in DESCRIPTIONS.items():
                described, body = _answer(transport, Question(name, path, query))
                answers.append({"what": name, **described})
                if described.get("status") == 200:
                    _write(folder / name, body, qrs)
        _write(folder / "answers.json", _json(answers), qrs)
    except OSError as error:
        return wrong(
            "saved", f"{error.filename or folder} cannot be written: {error.strerror}", "name another folder"
        )
    return ok(
        "saved",
        f"{folder} holds report.json, answers.json and how the server describes itself; names of this site's"
        " hosts, tasks and files are in it, so read it before you send it",
    )


def _answer(transport: Exchange, question: Question) -> tuple[dict[str, Any], bytes]:
    """Return an answer in the form that is written, and its whole body."""
    call = f"GET /qrs{question.path}{'?' if question.query else ''}{question.query}"
    try:
        answer = transport.exchange("GET", question.path, question.query, xrfkey=question.xrfkey)
    except ExchangeFailed as error:
        return {"call": call, "error": str(error)}, b""
    return {"call": call, **_described(answer)}, answer.body


def _described(answer: HttpAnswer) -> dict[str, Any]:
    return {
        "status": answer.status,
        "reason": answer.reason,
        "contentType": answer.content_type,
        "bytes": len(answer.body),
        "body": answer.body[:KEPT_BYTES].decode("utf-8", "backslashreplace"),
    }


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2).encode() + b"\n"


def _write(file: Path, content: bytes, qrs: QrsSettings) -> None:
    for _, value in qrs.headers:
        for form in (value, json.dumps(value)[1:-1]):
            if form:
                content = content.replace(form.encode("utf-8", "surrogateescape"), b"***")
    file.write_bytes(content)
