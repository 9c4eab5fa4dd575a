"""What the page reads of a journal with 10,000 requests: quickly, and no more than a page shows."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.datastructures import QueryParams

from butler_mqtt.contract.task_status import task_status
from butler_mqtt.daemon.page_sources.page_sources import page_backend
from butler_mqtt.http.backend import ListQuery, TaskQuery
from butler_mqtt.http.exposition import Levels
from butler_mqtt.http.page import failure_views, now_view, request_views, task_views
from butler_mqtt.http.page.page_backend import PageBackend
from butler_mqtt.http.page.rendering import rendered
from butler_mqtt.http.page.view import PageView, ViewCall
from butler_mqtt.journal import task_rows
from butler_mqtt.journal.search import Filters
from tests.integration.requests.filling import fill

#: Far above what it takes, far below what a person minds.
SECONDS = 1.0


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> PageBackend:
    journal: Path = tmp_path_factory.mktemp("many") / "journal.sqlite"
    fill(journal, 10_000, days=20)

    def tasks(query: TaskQuery) -> list[tuple[str, Any]] | None:
        found = task_rows.page(journal, query.limit + 1, tag=query.tag, after=query.after)
        if found is None:
            return None
        return [(one.task_id, task_status(one.task_id, one.name, one.starts)) for one in found]

    def filters(query: ListQuery) -> Filters:
        return Filters(
            states=(query.state,) if query.state else (),
            task=query.task,
            tag=query.tag,
            sender=query.sender,
        )

    return page_backend(journal, filters=filters, tasks=tasks, levels=Levels, subscription=lambda: None)


def shown(views: Callable[[PageBackend], list[PageView]], backend: PageBackend, query: str = "") -> str:
    view = views(backend)[0]
    call = ViewCall({}, QueryParams(query), operates=True)

    def once() -> tuple[float, str]:
        began = time.perf_counter()
        text = rendered(view.template, **view.read(call))
        return time.perf_counter() - began, text

    # The first of a template compiles it.
    times, texts = zip(*(once() for _ in range(3)), strict=True)
    assert min(times) < SECONDS, times
    return str(texts[-1])


@pytest.mark.parametrize("query", ["", "state=failed", "sender=sender+7", "task=Task+3", "tag=tag+40"])
def test_a_page_of_requests_is_quick_whatever_it_is_filtered_by(backend: PageBackend, query: str) -> None:
    assert 1 <= shown(request_views.views, backend, query).count("<tr>") <= 51


def test_pages_of_the_list_follow_each_other_without_a_gap(backend: PageBackend) -> None:
    seen: list[tuple[int, int]] = []
    before = None
    for _ in range(5):
        found = backend.requests(ListQuery(50, before=before))
        assert len(found) == 51
        seen += [place for place, _ in found[:50]]
        before = seen[-1]
        assert found[50][0] < before
    assert seen == sorted(set(seen), reverse=True)


def test_failures_tasks_and_what_goes_on_are_quick_too(backend: PageBackend) -> None:
    # Ten failed, 20 were refused.
    assert shown(failure_views.views, backend).count("<article") == 25
    assert shown(task_views.views, backend).count("<svg") == 50
    assert "Nothing waits" in shown(now_view.views, backend)
