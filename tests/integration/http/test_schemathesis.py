"""Requests made up from the API's description, valid and not, against the running daemon."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.http.daemon_with_listeners import ListeningDaemon


@pytest.mark.long
def test_nothing_that_the_description_allows_or_forbids_is_answered_5xx(
    build: Callable[..., ListeningDaemon], tmp_path: Path
) -> None:
    listening = build(rest={"restWaitSeconds": 0.5}).start()
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            "run",
            f"{listening.url}/openapi.json",
            "--phases=examples,coverage,fuzzing",
            "--checks=not_a_server_error,content_type_conformance,response_schema_conformance",
            "--max-examples=25",
            "--mode=all",
            "--seed=1",
            "--generation-database=none",
            "--request-timeout=30",
            "--no-color",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert (passed := re.search(r"(\d+) generated, \d+ passed", done.stdout)), done.stdout[-3000:]
    assert int(passed[1]) > 500
    assert listening.daemon.runs()
    assert listening.daemon.logged("action=bug") == 0
