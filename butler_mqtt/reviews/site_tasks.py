"""The tasks of the Qlik server, looked up by what selects them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from butler_mqtt.domain.model import Selector, SelectorKind, Task
from butler_mqtt.errors import QlikRefused

#: Characters in one place by which a misspelling differs, and those that have to be the same.
MISSPELT = 2
SAME = 4


class Repository(Protocol):
    """Of `qrs.repository.RepositoryConnection` what a review asks."""

    def all_tasks(self) -> tuple[Task, ...] | None:
        """Read all tasks; None where one list cannot be known to hold them."""
        ...

    def find(self, selectors: Sequence[Selector]) -> dict[Selector, tuple[Task, ...] | QlikRefused]:
        """Resolve each selector."""
        ...


class SiteTasks:
    """
    What selectors mean, by the rules of `Selector.matches`, each found without going through all tasks.

    Args:
        tasks: Of the server; all of them, or those that `refused` and all other selectors asked for mean.
        refused: Selectors that the server would not resolve.
        whole: Whether these are all tasks that the user sees.
    """

    def __init__(
        self,
        tasks: Iterable[Task],
        refused: Mapping[Selector, QlikRefused] | None = None,
        *,
        whole: bool = False,
    ) -> None:
        self.refused = refused or {}
        self.whole = whole
        self.count = 0
        self._by_key: dict[tuple[str, str, str], list[Task]] = defaultdict(list)
        for task in tasks:
            self.count += 1
            for key in {
                (SelectorKind.TASK_ID, "", task.id),
                (SelectorKind.TASK_NAME, "", task.name.casefold()),
                *((SelectorKind.TAG, "", tag.casefold()) for tag in task.tags),
                *(
                    (SelectorKind.CUSTOM_PROPERTY, name.casefold(), value.casefold())
                    for name, value in task.custom_properties
                ),
            }:
                self._by_key[key].append(task)

    def means(self, selector: Selector) -> list[Task] | None:
        """Return the tasks of *selector*; None when the server would not say."""
        if selector in self.refused:
            return None
        return self._by_key.get((selector.kind, selector.name.casefold(), selector.value.casefold()), [])

    def alike(self, selector: Selector) -> str | None:
        """Return the value of that kind of which that of *selector* may be a misspelling, None for none."""
        wanted = selector.value.casefold()
        found = min(
            (
                (wrong, value)
                for kind, name, value in self._by_key
                if kind == selector.kind
                and name == selector.name.casefold()
                and (wrong := _misspelt(wanted, value)) is not None
            ),
            default=None,
        )
        return self._as_written(selector, found[1]) if found is not None else None

    def _as_written(self, selector: Selector, value: str) -> str:
        task = self._by_key[selector.kind, selector.name.casefold(), value][0]
        written = {
            SelectorKind.TAG: task.tags,
            SelectorKind.TASK_NAME: (task.name,),
            SelectorKind.CUSTOM_PROPERTY: tuple(one for _, one in task.custom_properties),
        }.get(selector.kind, ())
        return next((one for one in written if one.casefold() == value), value)


def _misspelt(one: str, other: str) -> int | None:
    """Return by how many characters two texts differ in one place; None where they differ by more."""
    longest = max(len(one), len(other))
    if longest - min(len(one), len(other)) > MISSPELT:
        return None
    begin = _same(one, other)
    end = _same(one[begin:][::-1], other[begin:][::-1])
    wrong = longest - begin - end
    return wrong if wrong <= MISSPELT and begin + end >= SAME else None


def _same(one: str, other: str) -> int:
    """Return with how many equal characters two texts begin."""
    unlike = (number for number, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1])
    return next(unlike, min(len(one), len(other)))


def read(
    repository: Repository,
    selectors: Sequence[Selector],
    names: Callable[[SiteTasks], Sequence[Selector]],
) -> SiteTasks:
    """
    Read all tasks at once; where the server does not give them so, those that *selectors* mean.

    Args:
        repository: The connection.
        selectors: What will be looked up.
        names: Further selectors that will be, once it is known what the first ones mean.

    Raises:
        QlikError: The server could not be asked, or refuses.
    """
    tasks = repository.all_tasks()
    if tasks is not None:
        return SiteTasks(tasks, whole=True)
    first = _found(repository, selectors)
    more = _found(repository, names(SiteTasks(first[0].values(), first[1])))
    return SiteTasks({**first[0], **more[0]}.values(), {**first[1], **more[1]})


def _found(
    repository: Repository, selectors: Sequence[Selector]
) -> tuple[dict[str, Task], dict[Selector, QlikRefused]]:
    answers = repository.find(selectors) if selectors else {}
    refused = {one: answer for one, answer in answers.items() if isinstance(answer, QlikRefused)}
    tasks = {
        task.id: task for answer in answers.values() if not isinstance(answer, QlikRefused) for task in answer
    }
    return tasks, refused
