"""A POST that was given up does not reach the server any more, whenever the link comes back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tests.project import ROOT

#: Not root: root in a user name space.
UNSHARE = ["unshare", *(() if os.geteuid() == 0 else ("--user", "--map-root-user")), "--net"]


@pytest.fixture(scope="module", autouse=True)
def _name_spaces() -> None:
    missing = [name for name in ("ip", "unshare", "nsenter") if shutil.which(name) is None]
    assert not missing, f"{', '.join(missing)} is missing: apt-get install iproute2 util-linux"
    tried = subprocess.run(
        [*UNSHARE, "ip", "link", "add", "name", "here", "type", "veth"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert tried.returncode == 0, (
        f"network name spaces cannot be made here ({tried.stderr.strip()}): run the tests as root on a"
        " machine, or in a container with --cap-add SYS_ADMIN --cap-add NET_ADMIN"
    )


def test_a_post_in_doubt_does_not_arrive_after_its_connection_was_closed() -> None:
    done = subprocess.run(
        [*UNSHARE, sys.executable, "-m", "tests.integration.qrs.cut_link"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    came = done.stdout.split()
    # A socket that is just closed shows that the link carried what TCP still had to send.
    assert [path for path in came if "/socket/" in path] == [
        f"/qrs/socket/{when}" for when in ("before", "cut-off", "after")
    ]
    assert [path for path in came if "/transport/" in path] == [
        f"/qrs/transport/{when}" for when in ("before", "after")
    ]
