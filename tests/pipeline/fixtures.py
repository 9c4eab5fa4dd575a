"""Fixtures of tests on the daemon's core: running harnesses, with pauses that a test can wait for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from butler_mqtt.journal.sqlite import Journal
from butler_mqtt.settings import Settings
from tests.journals import put_empty
from tests.pipeline.harness import Harness

MakeHarness = Callable[..., Harness]


def making(place: Path, **defaults: Any) -> Iterator[MakeHarness]:
    """Give a function that makes a running harness of settings and fields of `Harness`; then close all."""
    harnesses: list[Harness] = []

    def make(settings: Settings | None = None, **parts: Any) -> Harness:
        folder = place / f"harness-{len(harnesses)}"
        folder.mkdir()
        harness = Harness(folder, settings or Settings(), **{**defaults, **parts})
        harness.start()
        harnesses.append(harness)
        return harness

    yield make
    for harness in harnesses:
        harness.pipeline.close()


@pytest.fixture
def make_harness(tmp_path: Path) -> Iterator[MakeHarness]:
    """Return a function that makes a running harness of settings and fields of `Harness`."""
    yield from making(tmp_path)


@pytest.fixture
def harness(make_harness: MakeHarness) -> Harness:
    """Give a running harness of the default settings."""
    return make_harness()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """Give an open journal without content."""
    put_empty(tmp_path / "journal.sqlite")
    opened = Journal(f"sqlite:///{tmp_path / 'journal.sqlite'}")
    opened.open()
    yield opened
    opened.close()
