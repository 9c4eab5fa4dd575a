"""Lines about selectors: those that found nothing, task ids that are gone, tags and values in use. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from butler_mqtt.domain.decisions import allowed
from butler_mqtt.domain.model import Selector, SelectorKind, Task
from butler_mqtt.journal.usage import SelectorUse, Usage
from butler_mqtt.printable import counted
from butler_mqtt.reviews.remark import Remark, Topic
from butler_mqtt.reviews.site_tasks import SiteTasks
from butler_mqtt.settings import Settings

#: Selectors for which one that looks like them is searched; each search reads all tags or names.
MOST_ALIKE = 50
_NOT_ASKED = "what it means now could not be asked"
_NOTHING = "nothing to do"


def written(selector: Selector) -> str:
    """Write a selector for people, as `tag daily-reports` or `taskGroup=nightly`."""
    if selector.kind is SelectorKind.CUSTOM_PROPERTY:
        return f"{selector.name}={selector.value}"
    return f"{'task' if selector.kind is SelectorKind.TASK_NAME else selector.kind} {selector.value}"


def not_found(usage: Usage, site: SiteTasks | None, names: Mapping[str, str]) -> Iterator[Remark]:
    """
    Give a line for each selector that found nothing, and was none of a task that is gone.

    Args:
        usage: Of the journal.
        site: The tasks of the server, None when it could not be asked.
        names: Names of the tasks that the journal knows, by their ids.
    """
    searched = 0
    for use in usage.not_found:
        selector = use.selector
        if selector.kind is SelectorKind.TASK_ID and selector.value in names and not _tasks(site, selector):
            continue  # a line of `gone`
        tasks = _tasks(site, selector)
        alike = None
        if site is not None and not tasks and searched < MOST_ALIKE:
            searched += 1
            alike = site.alike(selector)
        yield Remark(
            Topic.NOT_FOUND,
            f"{written(selector)} found nothing in {counted(use.requests, 'request')}",
            _where_nothing_was_found(selector, tasks, alike),
            {
                "selector": selector.as_json(),
                "requests": use.requests,
                "tasksNow": None if tasks is None else len(tasks),
                **({"alike": alike} if alike is not None else {}),
            },
            use.last,
        )


def _where_nothing_was_found(selector: Selector, tasks: list[Task] | None, alike: str | None) -> str:
    if tasks is None:
        return f"{_NOT_ASKED}; where it is still nothing, correct it at the sender"
    if tasks:
        return f"it means {counted(len(tasks), 'task')} now: {_NOTHING}"
    if alike is not None:
        return f"correct it at the sender; {alike} is there: a misspelling of it?"
    if selector.kind is SelectorKind.TASK_ID:
        return "correct it at the sender: as far back as the journal goes no task had this id"
    if selector.kind is SelectorKind.TASK_NAME:
        return "correct it at the sender, or name a task so; the user may also lack the right to read it"
    return "correct it at the sender, or set it at the tasks it should start, in the QMC"


def gone(usage: Usage, site: SiteTasks | None, names: Mapping[str, str]) -> Iterator[Remark]:
    """Give a line for each task that requests name by its id and that is no longer there; as `not_found`."""
    missing = {
        use.selector.value: use for use in usage.not_found if use.selector.kind is SelectorKind.TASK_ID
    }
    by_id = {task: use.by_id for task, use in usage.tasks.items() if use.by_id}
    for task in dict.fromkeys([*(one for one in missing if one in names), *by_id]):
        tasks = _tasks(site, Selector(SelectorKind.TASK_ID, task))
        # Without an answer of the server, what requests did not find says it.
        if tasks or (tasks is None and task not in missing):
            continue
        name = names.get(task) or usage.tasks[task].name
        failed = missing[task].requests if task in missing else 0
        same = _tasks(site, Selector(SelectorKind.TASK_NAME, name))
        yield Remark(
            Topic.GONE,
            f"the server shows no task {task} ({name}) any more"
            + (f"; {counted(failed, 'request')} for it found nothing" if failed else ""),
            _instead(name, same),
            {
                "taskId": task,
                "taskName": name,
                "requests": failed,
                "sameName": None if same is None else [one.id for one in same],
            },
            max(missing[task].last if task in missing else 0, by_id.get(task, 0)),
        )


def _instead(name: str, same: list[Task] | None) -> str:
    if same is None:
        return "whether a task has this name now could not be asked; correct the sender"
    if not same:
        return f"no task is called {name} now: take it out of what the sender asks for"
    if len(same) > 1:
        return f"{len(same)} tasks are called {name} now: let the sender ask for one of them by its id"
    return f"a task called {name} is there now: let the sender ask for {same[0].id}, or by taskName"


def asked(usage: Usage, site: SiteTasks | None, settings: Settings) -> Iterator[Remark]:
    """Give a line for each tag and value of a custom property that requests use, those that fail first."""
    judged: dict[str, bool] = {}
    lines = [_asked(use, _tasks(site, use.selector), settings, judged) for use in usage.asked]
    yield from (line for line, fault in lines if fault)
    yield from (line for line, fault in lines if not fault)


def _asked(
    use: SelectorUse, tasks: list[Task] | None, settings: Settings, judged: dict[str, bool]
) -> tuple[Remark, bool]:
    """Return the line, and whether it says that something is wrong; *judged*: tasks by their ids, kept."""
    for task in tasks or ():
        if task.id not in judged:
            judged[task.id] = allowed(task, settings.start_task_filter)
    denied = sum(not judged[task.id] for task in tasks or ())
    count = "" if tasks is None else f"{counted(len(tasks), 'task')}, "
    fault, advice = _advice(tasks, denied, settings.start_task.max_tasks_per_request)
    line = Remark(
        Topic.ASKED,
        f"{written(use.selector)}: {count}{counted(use.requests, 'request')}",
        advice,
        {
            "selector": use.selector.as_json(),
            "requests": use.requests,
            "tasksNow": None if tasks is None else len(tasks),
            "tasksDenied": None if tasks is None else denied,
        },
        use.last,
    )
    return line, fault


def _advice(tasks: list[Task] | None, denied: int, most: int) -> tuple[bool, str]:
    """Return whether something is wrong, and what to do."""
    if tasks is None:
        return False, _NOT_ASKED
    if not tasks:
        return True, "no task has it now: set it at the tasks it should start, or correct the sender"
    if len(tasks) > most:
        return True, (
            f"more than startTask.maxTasksPerRequest ({most}), so that it is refused: raise that, "
            "or set it at fewer tasks"
        )
    if denied:
        return True, f"startTaskFilter denies {denied} of them: allow them there, or take it off those tasks"
    disabled = sum(one.enabled is False for one in tasks)
    if disabled:
        return (
            True,
            f"{disabled} of them cannot start, disabled in the QMC: enable them, or take it off",
        )
    return False, f"{_NOTHING} if that is as many as its senders mean"


def _tasks(site: SiteTasks | None, selector: Selector) -> list[Task] | None:
    return site.means(selector) if site is not None else None
