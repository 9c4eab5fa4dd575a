"""REST, monitoring and websockets cost nothing while they are off."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.http.daemon_with_listeners import ListeningDaemon

SCRIPT = """
import sys
from butler_mqtt.daemon.daemon import Daemon
from butler_mqtt.settings import JournalSettings, MonitoringSettings, Settings

journal = JournalSettings("sqlite:///journal.sqlite")
Daemon(Settings(journal=journal, monitoring=MonitoringSettings(enable={on})))
names = ("starlette", "uvicorn", "prometheus_client", "cryptography", "wsproto", "h11")
print([name for name in names if name in sys.modules])
"""


@pytest.mark.parametrize(("on", "loaded"), [(False, []), (True, ["starlette", "prometheus_client"])])
def test_what_serves_and_counts_is_loaded_only_for_a_listener(
    tmp_path: Path, on: bool, loaded: list[str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(on=on)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert done.stdout.strip() == str(loaded)


def test_without_the_page_nothing_of_it_is_served(listening: ListeningDaemon) -> None:
    for path in ("/ui", "/ui/", "/ui/static/page.css"):
        assert listening.call("GET", path).status_code == 404


def test_what_makes_the_page_is_loaded_with_it_alone() -> None:
    script = (
        "import sys; import butler_mqtt.daemon.listeners; print('jinja2' in sys.modules); "
        "import butler_mqtt.http.page.web_page; print('jinja2' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
