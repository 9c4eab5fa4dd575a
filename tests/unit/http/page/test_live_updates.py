"""Events for open pages: one poll for all of them, none while nobody looks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from butler_mqtt.errors import JournalError
from butler_mqtt.http.error_responses import HttpRefusal
from butler_mqtt.http.page.live_updates import MOST_PAGES, LiveUpdates


class Journal:
    def __init__(self) -> None:
        self.version = 1
        self.polls = 0
        self.fault = False
        self.polled = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def __call__(self) -> int:
        # Read before the poll counts: a test that has seen it may change them.
        version, fault = self.version, self.fault
        self.polls += 1
        self._loop.call_soon_threadsafe(self.polled.set)
        if fault:
            raise JournalError("it cannot be read")
        return version


def name(event: str) -> str:
    return next(line.removeprefix("event: ") for line in event.split("\n") if line.startswith("event: "))


def run(check: Callable[[Journal, LiveUpdates, asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        journal, ending = Journal(), asyncio.Event()
        await check(
            journal,
            LiveUpdates(journal, ending, poll_seconds=0.01, rest_seconds=0.01, tick_seconds=30),
            ending,
        )

    asyncio.run(asyncio.wait_for(main(), 20))


async def begun(live: LiveUpdates) -> AsyncIterator[str]:
    events = live.events(lambda: True)
    assert name(await anext(events)) == "begin"
    return events


async def polled(journal: Journal, times: int) -> None:
    while journal.polls < times:
        journal.polled.clear()
        await journal.polled.wait()


async def closed(events: AsyncIterator[str]) -> None:
    await events.aclose()  # type: ignore[attr-defined] # it is a generator


def test_a_change_is_told_to_every_page_with_one_poll() -> None:
    async def check(journal: Journal, live: LiveUpdates, _ending: asyncio.Event) -> None:
        pages = [await begun(live) for _ in range(50)]
        await polled(journal, 1)
        journal.version = 2
        told = await asyncio.gather(*(anext(page) for page in pages))
        assert {name(event) for event in told} == {"change"}
        assert live.changes == 1
        before = journal.polls
        await polled(journal, before + 3)
        assert live.changes == 1
        for page in pages:
            await closed(page)

    run(check)


def test_a_page_that_is_slow_misses_no_change() -> None:
    async def check(journal: Journal, live: LiveUpdates, _ending: asyncio.Event) -> None:
        slow, quick = await begun(live), await begun(live)
        await polled(journal, 1)
        journal.version = 2
        assert name(await anext(quick)) == "change"
        assert name(await anext(slow)) == "change"
        await closed(slow)
        await closed(quick)

    run(check)


def test_nothing_is_polled_while_nobody_looks() -> None:
    async def check(journal: Journal, live: LiveUpdates, _ending: asyncio.Event) -> None:
        assert not live.watching
        first, second = await begun(live), await begun(live)
        await polled(journal, 2)
        await closed(first)
        assert live.watching
        await closed(second)
        assert not live.watching

    run(check)


def test_the_end_of_the_listener_ends_all_events() -> None:
    async def check(journal: Journal, live: LiveUpdates, ending: asyncio.Event) -> None:
        page = await begun(live)
        await polled(journal, 1)
        ending.set()
        assert [event async for event in page] == []

    run(check)


def test_who_is_signed_out_is_told_and_hears_no_more() -> None:
    async def check(journal: Journal, live: LiveUpdates, _ending: asyncio.Event) -> None:
        page = live.events(lambda: False)
        await anext(page)
        await polled(journal, 1)
        journal.version = 2
        assert [name(event) async for event in page] == ["end"]

    run(check)


def test_a_journal_that_cannot_be_read_is_a_change_and_its_return_another() -> None:
    async def check(journal: Journal, live: LiveUpdates, _ending: asyncio.Event) -> None:
        page = await begun(live)
        await polled(journal, 1)
        journal.fault = True
        assert name(await anext(page)) == "change"
        journal.fault = False
        assert name(await anext(page)) == "change"
        await closed(page)

    run(check)


def test_pages_are_bounded() -> None:
    async def check(_journal: Journal, live: LiveUpdates, _ending: asyncio.Event) -> None:
        pages = [await begun(live) for _ in range(MOST_PAGES)]
        with pytest.raises(HttpRefusal):
            live.refuse_when_full()
        await closed(pages.pop())
        live.refuse_when_full()
        for page in pages:
            await closed(page)

    run(check)
