"""The commands of docs/ that need no root, run as printed."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import trustme

from butler_mqtt.journal.sqlite import Journal
from tests.docs.blocks import Block, blocks
from tests.project import ROOT

RUN = [
    block for page in sorted((ROOT / "docs").glob("*.md")) for block in blocks(page) if block.mark == "run"
]


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Give a folder that stands in for the root of a machine with the service on it."""
    for folder in (
        "var/lib/butler-mqtt",
        "var/backups",
        "etc/butler-mqtt/credentials",
        "opt/butler-mqtt/bin",
    ):
        (tmp_path / folder).mkdir(parents=True)
    journal = Journal(f"sqlite:///{tmp_path}/var/lib/butler-mqtt/butler-mqtt.sqlite")
    journal.open()
    journal.close()
    certificate = trustme.CA().issue_cert("client")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "etc/butler-mqtt/credentials/client.pem")
    for name, what in (("python", sys.executable), ("butler-mqtt", f"{sys.executable} -m butler_mqtt")):
        (tmp_path / "opt/butler-mqtt/bin" / name).write_text(f'#!/bin/sh\nexec {what} "$@"\n')
        (tmp_path / "opt/butler-mqtt/bin" / name).chmod(0o755)
    return tmp_path


def run(block: Block, machine: Path) -> str:
    text = block.text
    for folder in ("/opt/", "/var/", "/etc/"):
        text = text.replace(folder, f"{machine}{folder}")
    done = subprocess.run(["sh", "-euc", text], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{block}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("block", RUN, ids=str)
def test_the_block_runs(block: Block, machine: Path) -> None:
    run(block, machine)


def test_the_backup_is_a_journal(machine: Path) -> None:
    (block,) = (block for block in RUN if "backup" in block.text)
    run(block, machine)
    copy = machine / "var/backups/butler-mqtt.sqlite"
    assert copy.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(copy)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")}
    assert {"requests", "deliveries", "starts", "runs"} <= tables


def test_a_backup_of_no_journal_ends_with_1_and_leaves_no_file(machine: Path) -> None:
    (block,) = (block for block in RUN if "backup" in block.text)
    (machine / "var/lib/butler-mqtt/butler-mqtt.sqlite").unlink()
    with pytest.raises(AssertionError, match="there is no journal at"):
        run(block, machine)
    assert list((machine / "var/backups").iterdir()) == []


def test_the_backup_is_described_once() -> None:
    """A second description goes on to say what the first one stopped saying."""
    named = [
        f"{page.name}: {line}"
        for page in sorted((ROOT / "docs").glob("*.md"))
        for block in blocks(page)
        for line in block.text.splitlines()
        if "requests backup" in line or "requests restore" in line or "/var/backups" in line
    ]
    assert [line.partition(":")[0] for line in named] == ["operations.md"] * 2
