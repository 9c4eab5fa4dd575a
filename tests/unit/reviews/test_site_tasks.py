"""Tasks of the server, looked up by what selects them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from butler_mqtt.domain.model import Selector, SelectorKind, Task
from butler_mqtt.errors import QlikRefused
from butler_mqtt.reviews.site_tasks import SiteTasks, read

SALES = Task(
    id="11111111-0000-4000-8000-000000000001",
    name="Sales",
    tags=("Daily", "Straße"),
    custom_properties=(("Region", "EMEA"), ("Group", "nightly")),
)
STOCK = Task(id="11111111-0000-4000-8000-000000000002", name="STOCK", tags=("daily", "weekly-reports"))
#: Of each kind: one that means something in other letter case, and some that mean nothing.
SELECTORS = [
    Selector(SelectorKind.TASK_ID, SALES.id.upper()),
    Selector(SelectorKind.TASK_ID, "11111111-0000-4000-8000-000000000009"),
    Selector(SelectorKind.TASK_NAME, "stock"),
    Selector(SelectorKind.TASK_NAME, "Sale"),
    Selector(SelectorKind.TAG, "DAILY"),
    Selector(SelectorKind.TAG, "STRASSE"),
    Selector(SelectorKind.TAG, "dail"),
    Selector(SelectorKind.CUSTOM_PROPERTY, "emea", "REGION"),
    Selector(SelectorKind.CUSTOM_PROPERTY, "EMEA", "Group"),
]


class Server:
    """Shows tasks whole or not; counts what it is asked."""

    def __init__(self, tasks: Sequence[Task], *, whole: bool, refuses: Sequence[Selector] = ()) -> None:
        self._tasks = tuple(tasks)
        self._whole = whole
        self._refuses = refuses
        self.asked: list[Selector] = []

    def all_tasks(self) -> tuple[Task, ...] | None:
        return self._tasks if self._whole else None

    def find(self, selectors: Sequence[Selector]) -> dict[Selector, tuple[Task, ...] | QlikRefused]:
        self.asked += selectors
        return {
            one: QlikRefused("a list is cut", 200)
            if one in self._refuses
            else tuple(task for task in self._tasks if one.matches(task))
            for one in selectors
        }


@pytest.mark.parametrize("selector", SELECTORS, ids=lambda one: f"{one.kind}-{one.name}-{one.value}")
def test_a_selector_means_what_it_means_in_a_request(selector: Selector) -> None:
    tasks = [SALES, STOCK]
    assert SiteTasks(tasks).means(selector) == [task for task in tasks if selector.matches(task)]


def test_a_server_that_lists_its_tasks_whole_is_asked_for_nothing_else() -> None:
    server = Server([SALES, STOCK], whole=True)
    site = read(server, SELECTORS, lambda _: SELECTORS)
    assert (site.count, site.whole, server.asked) == (2, True, [])


def test_where_a_list_may_be_cut_each_selector_is_asked_for() -> None:
    name = Selector(SelectorKind.TASK_NAME, "stock")
    daily = Selector(SelectorKind.TAG, "daily")
    server = Server([SALES, STOCK], whole=False, refuses=[daily])
    site = read(server, [SELECTORS[0], daily], lambda _: [name])
    assert not site.whole
    assert site.means(SELECTORS[0]) == [SALES]
    assert site.means(name) == [STOCK]
    assert site.means(daily) is None


@pytest.mark.parametrize(
    ("wanted", "alike"),
    [
        (Selector(SelectorKind.TAG, "wekly-reports"), "weekly-reports"),
        (Selector(SelectorKind.TAG, "weelky-reports"), "weekly-reports"),
        (Selector(SelectorKind.TAG, "weekly-repo"), None),
        (Selector(SelectorKind.TAG, "finance"), None),
        (Selector(SelectorKind.TASK_NAME, "Stocks"), "STOCK"),
        (Selector(SelectorKind.TASK_NAME, "Sax"), None),
        (Selector(SelectorKind.CUSTOM_PROPERTY, "nightli", "group"), "nightly"),
        (Selector(SelectorKind.CUSTOM_PROPERTY, "nightli", "Region"), None),
    ],
    ids=lambda one: one if isinstance(one, str) else getattr(one, "value", "none"),
)
def test_what_looks_like_a_misspelling_is_found_as_it_is_written(wanted: Selector, alike: str | None) -> None:
    assert SiteTasks([SALES, STOCK]).alike(wanted) == alike
