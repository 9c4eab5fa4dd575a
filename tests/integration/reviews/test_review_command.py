"""`butler-mqtt review`, with a journal of the daemon's core and a simulated site."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from butler_mqtt.cli.main import app
from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.settings import Settings
from tests.brokers import free_port
from tests.integration.simulator.running import CROSS, QUICK, Client
from tests.pipeline.fixtures import MakeHarness
from tests.terminals import on_terminal


@pytest.fixture
def journal(make_harness: MakeHarness) -> Path:
    """Return the journal of a week of one sender that knows the site of yesterday."""
    harness = make_harness()
    harness.site.lasting = False
    harness.site.add("Quick", tags=("nightly",))
    old = harness.site.add("Cross")
    harness.ask({"requestId": "erp-1", "sender": "erp", "tag": ["nightly", "nightli"]})
    harness.ask({"requestId": "erp-2", "sender": "erp", "taskId": old})
    harness.ask({"requestId": "erp-3", "sender": "erp → 日報", "taskName": "Täglich"})
    return harness.path


def write(folder: Path, settings: Settings, port: int | None = None) -> Path:
    """Write the configuration for the site; *port*: where nothing listens."""
    file = folder / "review.yaml"
    qrs = settings.qrs
    file.write_text(
        json.dumps(
            {
                "Butler": {
                    "configQRS": {"host": qrs.host, "port": port or qrs.port},
                    "cert": {
                        "clientCert": str(qrs.client_cert),
                        "clientCertKey": str(qrs.client_cert_key),
                        "clientCertCA": str(qrs.client_cert_ca),
                    },
                    "startTaskFilter": {"enable": True, "allowTask": {"tag": ["Nightly", "gone"]}},
                }
            }
        ),
        "utf-8",
    )
    return file


def run(config: Path, journal: Path, *options: str) -> Result:
    arguments = ["review", "-c", str(config), "--journal", str(journal), *options]
    return CliRunner().invoke(app, arguments, prog_name="butler-mqtt")


def by_topic(document: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    topics: dict[str, list[dict[str, Any]]] = {}
    for remark in document["remarks"]:
        topics.setdefault(remark["topic"], []).append(remark)
    return topics


def test_the_review_holds_the_journal_against_the_site(
    tmp_path: Path, site: Client, qrs: Settings, journal: Path
) -> None:
    done = run(write(tmp_path, qrs), journal, "--json")
    assert done.exit_code == ExitCode.OK
    document = json.loads(done.stdout)
    assert (document["requests"], document["tasks"], document["notAsked"]) == (3, 8, None)
    found = by_topic(document)
    assert [one["selector"] for one in found["selectorNotFound"]] == [
        {"taskName": "Täglich"},
        {"tag": "nightli"},
    ]
    assert found["selectorNotFound"][1]["alike"] == "Nightly"
    assert found["selectorNotFound"][1]["last"]["requestId"] == "erp-1"
    assert [(one["taskName"], one["sameName"]) for one in found["taskGone"]] == [("Cross", [CROSS])]
    assert [(one["selector"], one["tasksNow"]) for one in found["selectorInUse"]] == [
        ({"tag": "nightli"}, 0),
        ({"tag": "nightly"}, 1),
    ]
    assert [one["selector"] for one in found["entryWithoutTask"]] == [{"tag": "gone"}]
    assert all(one["advice"] for one in document["remarks"])
    assert QUICK not in done.stdout


def test_with_the_server_down_the_journal_is_reviewed_and_the_rest_is_named(
    tmp_path: Path, site: Client, qrs: Settings, journal: Path
) -> None:
    config = write(tmp_path, qrs, free_port())
    done = run(config, journal)
    assert done.exit_code == ExitCode.UNAVAILABLE
    assert "tag nightli found nothing in 1 request" in done.stdout
    assert "Entries of the configuration without a task: not known" in done.stdout
    assert "the Qlik server could not be asked: " in done.stderr
    document = json.loads(run(config, journal, "--json").stdout)
    assert document["tasks"] is None
    assert document["notAsked"]


def test_a_site_whose_lists_are_cut_is_reviewed_by_asking_for_each_selector(
    tmp_path: Path, site: Client, qrs: Settings, journal: Path
) -> None:
    config = write(tmp_path, qrs)
    whole = json.loads(run(config, journal, "--json").stdout)
    site.switch(listLimit=2)
    cut = json.loads(run(config, journal, "--json").stdout)
    assert (whole["tasks"], cut["tasks"]) == (8, None)
    # Only a misspelling is found among tasks that were not asked for.
    assert [(one["text"], one.get("tasksNow"), one.get("sameName")) for one in cut["remarks"]] == [
        (one["text"], one.get("tasksNow"), one.get("sameName")) for one in whole["remarks"]
    ]


def test_without_the_files_of_the_certificate_the_journal_is_reviewed(
    tmp_path: Path, qrs: Settings, journal: Path
) -> None:
    config = write(tmp_path, qrs)
    config.write_text(config.read_text("utf-8").replace("client.pem", "no-such.pem"), "utf-8")
    done = run(config, journal)
    assert done.exit_code == ExitCode.UNAVAILABLE
    assert "tag nightli found nothing" in done.stdout
    assert "no-such.pem" in done.stderr


def test_without_a_journal_it_fails(tmp_path: Path, qrs: Settings) -> None:
    done = run(write(tmp_path, qrs), tmp_path / "none.sqlite")
    assert done.exit_code == ExitCode.FAILED
    assert "there is no journal at" in done.stderr


def test_on_a_terminal_it_fits_80_columns(tmp_path: Path, site: Client, qrs: Settings, journal: Path) -> None:
    command = [sys.executable, "-m", "butler_mqtt", "review", "-c", str(write(tmp_path, qrs))]
    shown = on_terminal([*command, "--journal", str(journal)])
    lines = shown.splitlines()
    assert "Tasks that are gone" in shown
    assert max(map(len, lines)) <= 80


def test_where_nothing_is_utf_8_json_is_ascii_and_text_has_no_traceback(
    tmp_path: Path, site: Client, qrs: Settings, journal: Path
) -> None:
    config = write(tmp_path, qrs)
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii:strict"}
    command = [sys.executable, "-m", "butler_mqtt", "review", "-c", str(config), "--journal", str(journal)]
    for options in ([], ["--json"]):
        done = subprocess.run([*command, *options], env=environment, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (ExitCode.OK, b"")
        assert done.stdout.isascii()
    assert "Täglich" in {one.get("taskName") for one in map(selector, json.loads(done.stdout)["remarks"])}


def selector(remark: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = remark.get("selector", {})
    return found


def test_what_is_advised_of_several_lines_in_a_row_stands_once(
    tmp_path: Path, qrs: Settings, journal: Path
) -> None:
    shown = run(write(tmp_path, qrs, free_port()), journal).stdout
    part = shown.partition("Tags and values in use")[2].partition("\n\n")[0]
    assert (part.count("tag night"), part.count("could not be asked")) == (2, 1)
