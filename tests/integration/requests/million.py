"""
Figures of a journal with a million requests: `python -m tests.integration.requests.million [COUNT] [FOLDER]`.

Not a test: it takes minutes. A quarter of the requests is old. Every search is
timed; then the pipeline turns as it does under load, with and without pruning.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from butler_mqtt.clock import now_ms
from butler_mqtt.journal.search import Filters, Search
from butler_mqtt.journal.usage import UsageReader
from tests.integration.requests import turn_times
from tests.integration.requests.filling import DAY, fill
from tests.integration.requests.test_listing import SEARCHES


def main() -> None:
    """Make the journal, or take the one of an earlier run, and print the figures."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with TemporaryDirectory() as name:
        folder = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(name)
        whole = folder / "million.sqlite"
        if not whole.exists():
            draft = folder / "million.part"
            fill(draft, count, days=40)
            draft.rename(whole)
        print(f"{count} requests, {whole.stat().st_size / 1e6:.0f} MB")  # noqa: T201 -- its purpose
        for filters in [*SEARCHES, Filters(states=("succeeded",))]:
            print(f"{_search(whole, filters):7.3f} s  {_named(filters)}")  # noqa: T201 -- its purpose
        print(f"{_review(whole):7.3f} s  review of 30 days, without the Qlik server")  # noqa: T201 -- its purpose
        place = Path(name) / "copy"
        place.mkdir()
        shutil.copy(whole, place / "journal.sqlite")
        os.sync()  # or the first turns would wait for the copy
        print(turn_times.measure(place))  # noqa: T201 -- its purpose


def _named(filters: Filters) -> str:
    given = {key: getattr(filters, key) for key in filters.__slots__ if getattr(filters, key)}
    return ", ".join(f"{key} {value}" for key, value in given.items()) or "all"


def _search(file: Path, filters: Filters) -> float:
    def once() -> float:
        began = time.perf_counter()
        with Search(file) as search:
            search.requests_rows(search.find(filters, 20))
        return time.perf_counter() - began

    return min(once() for _ in range(3))


def _review(file: Path) -> float:
    began = time.perf_counter()
    with UsageReader(file) as reader:
        reader.usage(now_ms() - 30 * DAY)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
