"""
Figures of a journal with a million requests: `python -m tests.requests.million [COUNT] [FOLDER]`.

Not a test: it takes minutes. A quarter of the requests is old. The pipeline
turns as it does under load, with and without pruning; then every search is timed.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from butler_mqtt.journal.search import Filters, Search
from butler_mqtt.settings import Journal, Settings
from tests.fakes import House
from tests.requests.filling import fill
from tests.requests.test_listing import SEARCHES

#: Seconds for which the pipeline turns, with and without pruning.
TURNING_SECONDS = 30.0


def main() -> None:
    """Make the journal, or take the one of an earlier run, and print the figures."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with TemporaryDirectory() as name:
        folder = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(name)
        whole = folder / "million.sqlite"
        if not whole.exists():
            fill(whole, count, days=40)
        print(f"{count} requests, {whole.stat().st_size / 1e6:.0f} MB")  # noqa: T201 -- its purpose
        for filters in [*SEARCHES, Filters(states=("succeeded",))]:
            print(f"{_search(whole, filters):7.3f} s  {_named(filters)}")  # noqa: T201 -- its purpose
        for days, words in ((3650.0, "without"), (30.0, "with")):
            place = Path(name) / words
            place.mkdir()
            shutil.copy(whole, place / "journal.sqlite")
            os.sync()  # or the first turns would wait for the copy
            print(f"turns {words} pruning: {_turns(place, days)}")  # noqa: T201 -- its purpose
            shutil.rmtree(place)


def _named(filters: Filters) -> str:
    given = {key: getattr(filters, key) for key in filters.__slots__ if getattr(filters, key)}
    return ", ".join(f"{key} {value}" for key, value in given.items()) or "all"


def _search(file: Path, filters: Filters) -> float:
    def once() -> float:
        began = time.perf_counter()
        with Search(file) as search:
            search.chapters(search.find(filters, 20))
        return time.perf_counter() - began

    return min(once() for _ in range(3))


def _turns(folder: Path, days: float) -> str:
    house = House(folder, replace(Settings(), journal=Journal(retention_days=days)))
    house.start()
    house.site.lasting = False
    task = house.site.add("Sales")
    took: list[float] = []
    before = _count(house)
    end = time.monotonic() + TURNING_SECONDS
    while time.monotonic() < end:
        for _ in range(5):
            house.send({"taskId": task, "ifRunning": "skip"})
        # Only turns that tidy are of interest: pruning is in no others.
        tidied = house.pipeline._tidied
        began = time.perf_counter()
        house.pipeline.turn(0.0)
        if house.pipeline._tidied != tidied:
            took.append(time.perf_counter() - began)
        house.find()
        house.post()
        house.follow()
        house.broker.confirm()
        time.sleep(0.02)
    pruned = before - _count(house)
    house.pipeline.close()
    took.sort()

    def at(share: float) -> float:
        return 1000 * took[min(len(took) - 1, int(share * len(took)))]

    return (
        f"median {1000 * statistics.median(took):.1f} ms, 90 % {at(0.9):.1f}, 99 % {at(0.99):.1f}, "
        f"longest {at(1.0):.1f}; {len(took)} turns, {pruned} old requests pruned"
    )


def _count(house: House) -> int:
    # By the highest id of those that are still there in order of age, without reading the table.
    with Search(house.path) as search:
        oldest = search.after(0, 1)
    return -oldest[0] if oldest else 0


if __name__ == "__main__":
    main()
