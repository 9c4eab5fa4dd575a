"""What `check` shows of deliberate refusals, and what `--save` writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from butler_mqtt.checks import qlik, site_record
from butler_mqtt.checks.finding import State, ok
from butler_mqtt.checks.site_refusals import shown
from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.qrs.transport import HttpAnswer
from butler_mqtt.settings import QrsSettings, Settings
from tests.acceptance.service.process import write_config
from tests.brokers import Mosquitto, free_port
from tests.integration.checks.site_and_broker import by_name, run
from tests.integration.qrs.scripted_server import Call, reply, serving, settings_for
from tests.integration.simulator.running import Client

DESCRIPTION = {"apis": ["GET /qrs/about"]}
SECRET = "very-secret-1"
USER = ("X-Qlik-User", "UserDirectory=INTERNAL; UserId=sa_repository")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("site.badFilter", ("400", "text/plain", "Cannot parse the expression")),
        ("site.unknownPath", ("404", "text/plain", "No matching endpoint found")),
        ("site.wrongXrfkey", ("403", "text/plain", "XSRF prevention check failed")),
    ],
)
def test_status_type_and_first_bytes_of_a_deliberate_refusal_are_shown(
    site: Client, qrs: Settings, name: str, words: tuple[str, ...]
) -> None:
    line = by_name(qlik.check(qrs))[name]
    assert line.state is State.OK
    assert line.text.startswith("holds: ")
    assert [word for word in words if word not in line.text] == []


def test_a_page_in_place_of_a_text_does_not_hold(site: Client, qrs: Settings) -> None:
    site.plant(kind="html", status=404, path="*/no/such/path", count=None)
    line = by_name(qlik.check(qrs))["site.unknownPath"]
    assert line.text.startswith("does not hold: ")
    assert "text/html" in line.text


def described(call: Call) -> bytes:
    """Answer as a site that describes itself, and says what it was sent."""
    if call.path == "/about/api/description":
        return reply(200, DESCRIPTION)
    return reply(404, f"<p>{call.headers['x-qlik-user']} {SECRET}</p>".encode(), content_type="text/html")


def saved(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text("ascii"))


def test_the_servers_own_description_is_saved(tmp_path: Path) -> None:
    with serving(described, None) as server:
        finding = site_record.save(tmp_path / "new" / "site", settings_for(server, None), [])
    assert finding.state is State.OK
    assert saved(tmp_path / "new" / "site", "api-description.json") == DESCRIPTION
    assert not (tmp_path / "new" / "site" / "openapi.json").exists()


def test_the_report_and_answers_are_saved_without_configured_headers(tmp_path: Path) -> None:
    with serving(described, None) as server:
        settings = settings_for(server, None, headers=(USER, ("X-Secret", SECRET)))
        site_record.save(tmp_path, settings, [ok("configuration", f"told {SECRET}")])
    assert saved(tmp_path, "report.json")["findings"] == [
        {"name": "configuration", "state": "ok", "text": "told ***"}
    ]
    answers = {one["what"]: one for one in saved(tmp_path, "answers.json")}
    assert answers["a path that does not exist is answered with 404 and a text"] == {
        "what": "a path that does not exist is answered with 404 and a text",
        "call": "GET /qrs/no/such/path",
        "status": 404,
        "reason": "X",
        "contentType": "text/html",
        "bytes": len(f"<p>{USER[1]} {SECRET}</p>"),
        "body": "<p>*** ***</p>",
    }
    assert answers["openapi.json"]["status"] == 404
    assert all(SECRET not in file.read_text() for file in tmp_path.iterdir())


def test_the_xrfkey_of_the_header_is_the_only_one_that_is_wrong(tmp_path: Path) -> None:
    with serving(described, None) as server:
        site_record.save(tmp_path, settings_for(server, None), [])
    differing = [call for call in server.calls if call.query["xrfkey"] != call.headers["x-qlik-xrfkey"]]
    assert [(call.method, call.path) for call in differing] == [("GET", "/about")]


def test_what_a_server_that_is_down_answers_is_saved_as_errors(tmp_path: Path) -> None:
    settings = QrsSettings(use_ssl=False, port=free_port())
    assert site_record.save(tmp_path, settings, []).state is State.OK
    assert all("error" in one for one in saved(tmp_path, "answers.json"))


def test_a_folder_that_cannot_be_written_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    finding = site_record.save(tmp_path / "file", QrsSettings(), [])
    assert finding.state is State.WRONG
    assert str(tmp_path / "file") in finding.text


def test_the_command_saves_all_its_lines(tmp_path: Path, broker: Mosquitto, site: Client) -> None:
    config = write_config(tmp_path, port=broker.port, site=site.simulator)
    done = run(config, "--save", str(tmp_path / "site"), "--json")
    assert done.returncode == ExitCode.OK
    lines = json.loads(done.stdout)
    assert lines[-1]["name"] == "saved"
    assert saved(tmp_path / "site", "report.json")["findings"] == lines[:-1]
    by_call = {one["call"]: one for one in saved(tmp_path / "site", "answers.json")}
    assert by_call["GET /qrs/task/count"]["status"] == 404


def test_an_answer_without_a_type_or_a_body_is_said_to_be_so() -> None:
    assert shown(HttpAnswer(404, b"")) == "404, no Content-Type, no body"
