"""
Which tasks a request starts, by what the server answered: pure.

The one gate (the allow-list) is here, applied to resolved tasks, the same for
every door.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from butler_mqtt.domain.model import Match, OnFailure, Request, Selector, SelectorKind, Task
from butler_mqtt.errors import RequestError
from butler_mqtt.settings import StartTaskFilter


@dataclass(frozen=True, slots=True)
class Decision:
    """
    Which tasks of a request shall be started, which may not, which selectors mean none.

    `matched_by` has by task id the selectors that matched it: their kind and
    position in the request, as `tag:2`. `stages` has the number of the stage of
    each task by its id, `missing` by the number of a stage what its selectors did
    not find; both are empty for a request without stages.
    """

    tasks: tuple[Task, ...]
    denied: tuple[Task, ...]
    not_found: tuple[Selector, ...]
    matched_by: Mapping[str, tuple[str, ...]]
    stages: Mapping[str, int] = field(default_factory=dict)
    missing: Mapping[int, tuple[Selector, ...]] = field(default_factory=dict)


class SenderGate(NamedTuple):
    """The second gate: what the sender of a request may start; `sender` names it for people."""

    sender: str
    allow: StartTaskFilter


class RefusedDecision(RequestError):
    """A refusal that names what was not found or not allowed."""

    def __init__(
        self,
        code: str,
        error: str,
        details: str,
        *,
        decision: Decision,
    ) -> None:
        self.decision = decision
        super().__init__(code, error, details)


def allowed(task: Task, allow: StartTaskFilter) -> bool:
    """Return whether *task* may be started; enabled with empty lists, nothing may be."""
    if not allow.enable or task.id in allow.task_ids:
        return True
    selectors = [Selector(SelectorKind.TAG, tag) for tag in allow.tags]
    selectors += [
        Selector(SelectorKind.CUSTOM_PROPERTY, value, name) for name, value in allow.custom_properties
    ]
    return any(selector.matches(task) for selector in selectors)


def passes(task: Task, allow: StartTaskFilter, own: SenderGate | None) -> bool:
    """Return whether both gates let *task* through: the allow-list, and that of the sender."""
    return allowed(task, allow) and (own is None or allowed(task, own.allow))


def decide(
    request: Request,
    answers: Mapping[Selector, tuple[Task, ...]],
    *,
    allow: StartTaskFilter,
    max_tasks: int,
    own: SenderGate | None = None,
) -> Decision:
    """
    Join the answers as the request says, and let the gates judge every task.

    Args:
        request: A validated request with at least one selector.
        answers: The tasks of each of its selectors.
        allow: The allow-list.
        max_tasks: Largest number of different tasks one request may mean.
        own: The gate of its sender; None: that lets everything through.

    Raises:
        RequestError: `ambiguous_task_name`, `too_many_tasks`.
        RefusedDecision: `all_must_exist`, `all_denied`.
    """
    if request.stages:
        return _judge(request, _stages_joined(request, answers), allow, max_tasks, own)
    _refuse_ambiguous_names(request, answers)
    matched, not_found = _join(request, answers)
    found = Decision(tuple(matched), (), not_found, _matched_by(matched, request, answers))
    return _judge(request, found, allow, max_tasks, own)


def decide_stage(
    request: Request,
    number: int,
    answers: Mapping[Selector, tuple[Task, ...]],
    *,
    taken: Collection[str],
    others: Collection[str],
    allow: StartTaskFilter,
    max_tasks: int,
    own: SenderGate | None = None,
) -> Decision:
    """
    Decide what a stage starts whose turn has come, by what its selectors mean now.

    Args:
        request: With stages.
        number: That of the stage, from 1.
        answers: The tasks of each selector of the stage, read after its turn had come.
        taken: Ids of the tasks that other stages have run, or refused.
        others: Ids of the tasks of all other stages, for the limit.
        allow: The allow-list.
        max_tasks: Largest number of tasks of all stages together.
        own: The gate of the sender.

    Raises:
        RequestError, RefusedDecision: As `decide`.
    """
    stage = request.of_stage(request.stages[number - 1])
    _refuse_ambiguous_names(stage, answers)
    joined, not_found = _join(stage, answers)
    matched = [task for task in joined if task.id not in taken]
    found = Decision(
        tuple(matched),
        (),
        not_found,
        _matched_by(matched, request, answers),
        {task.id: number for task in matched},
        {number: not_found},
    )
    elsewhere = set(others).difference(task.id for task in matched)
    return _judge(request, found, allow, max_tasks, own, elsewhere=len(elsewhere))


def may_begin(request: Request, decision: Decision) -> bool:
    """Return whether *request* can start something by its *decision*, now or when a stage has its turn."""
    if not request.stages:
        return bool(decision.tasks)
    # The selectors of a stage are resolved again when its turn comes, those of the first after notBefore too.
    goes_on = len(request.stages) > 1 and request.stages[0].on_failure is OnFailure.CONTINUE
    later = goes_on or request.not_before is not None
    return later or any(decision.stages[task.id] == 1 for task in decision.tasks)


def _stages_joined(request: Request, answers: Mapping[Selector, tuple[Task, ...]]) -> Decision:
    """Return the tasks of all stages, each in the first that names it, none judged yet."""
    matched: dict[str, Task] = {}
    stages: dict[str, int] = {}
    missing: dict[int, tuple[Selector, ...]] = {}
    for number, plan in enumerate(request.stages, 1):
        stage = request.of_stage(plan)
        _refuse_ambiguous_names(stage, answers)
        joined, missing[number] = _join(stage, answers)
        for task in joined:
            matched.setdefault(task.id, task)
            stages.setdefault(task.id, number)
    not_found = tuple(dict.fromkeys(selector for those in missing.values() for selector in those))
    found = tuple(matched.values())
    return Decision(found, (), not_found, _matched_by(found, request, answers), stages, missing)


def _judge(
    request: Request,
    found: Decision,
    allow: StartTaskFilter,
    max_tasks: int,
    own: SenderGate | None,
    *,
    elsewhere: int = 0,
) -> Decision:
    """Apply the limit (with tasks *elsewhere*), both gates and `allMustExist` to all that was *found*."""
    matched, not_found = found.tasks, found.not_found
    if len(matched) + elsewhere > max_tasks:
        raise RequestError(
            "too_many_tasks",
            "Too many tasks",
            f"the request means {len(matched) + elsewhere} tasks; startTask.maxTasksPerRequest allows "
            f"{max_tasks}",
        )
    judged = [(task, passes(task, allow, own)) for task in matched]
    tasks = tuple([task for task, may in judged if may])
    denied = tuple([task for task, may in judged if not may])
    decision = Decision(tasks, denied, not_found, found.matched_by, found.stages, found.missing)
    if request.all_must_exist == "taskId":
        decision = _hold_back_ids(decision)
        tasks, denied = decision.tasks, decision.denied
    elif request.all_must_exist and (not_found or denied):
        raise RefusedDecision(
            "all_must_exist",
            "Not all tasks can be started",
            f"allMustExist is set: {len(not_found)} of the selectors match no task, "
            f"{len(denied)} of the matched tasks may not be started",
            decision=decision,
        )
    if denied and not tasks:
        raise RefusedDecision(
            "all_denied",
            "No matching task may be started",
            f"{gates_named(allow, own)} allows none of the matching tasks: "
            + ", ".join(f"{task.name} ({task.id})" for task in denied[:5]),
            decision=decision,
        )
    return decision


def gates_named(allow: StartTaskFilter, own: SenderGate | None) -> str:
    """Name the gates that a task has to pass, for people; one that is off is none."""
    if own is None:
        return "startTaskFilter.allowTask"
    of_sender = f"allowTask of the sender {own.sender}"
    return f"startTaskFilter.allowTask with {of_sender}" if allow.enable else of_sender


def shut_gate(task: Task, allow: StartTaskFilter, own: SenderGate | None) -> str | None:
    """Name the gate that does not let *task* through, for people; None when both do."""
    if not allowed(task, allow):
        return gates_named(allow, None)
    return None if own is None or allowed(task, own.allow) else f"allowTask of the sender {own.sender}"


def _hold_back_ids(decision: Decision) -> Decision:
    """Where an id does not exist, start none of those that were asked for by id only (Butler's REST flag)."""
    if all(selector.kind is not SelectorKind.TASK_ID for selector in decision.not_found):
        return decision
    held = tuple(
        task
        for task in decision.tasks
        if all(place.startswith(f"{SelectorKind.TASK_ID}:") for place in decision.matched_by[task.id])
    )
    tasks = tuple(task for task in decision.tasks if task not in held)
    kept = replace(decision, tasks=tasks, denied=decision.denied + held)
    if not tasks:
        raise RefusedDecision(
            "all_must_exist",
            "Not all tasks can be started",
            "allMustExist is taskId, and a task id does not exist",
            decision=kept,
        )
    return kept


def _refuse_ambiguous_names(request: Request, answers: Mapping[Selector, tuple[Task, ...]]) -> None:
    for selector in request.selectors:
        if selector.kind is SelectorKind.TASK_NAME and len(answers[selector]) > 1:
            ids = ", ".join(sorted(task.id for task in answers[selector]))
            raise RequestError(
                "ambiguous_task_name",
                "Ambiguous task name",
                f"{len(answers[selector])} tasks are named '{selector.value}': {ids}; use taskId or a tag",
            )


def _matched_by(
    matched: Iterable[Task], request: Request, answers: Mapping[Selector, tuple[Task, ...]]
) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {task.id: [] for task in matched}
    for position, selector in enumerate(request.selectors):
        for task in answers.get(selector, ()):
            if task.id in found:
                found[task.id].append(f"{selector.kind}:{position}")
    return {task_id: tuple(places) for task_id, places in found.items()}


def _join(
    request: Request, answers: Mapping[Selector, tuple[Task, ...]]
) -> tuple[list[Task], tuple[Selector, ...]]:
    """Return the different tasks in the order asked, and the selectors that mean none."""
    if len(request.selectors) == 1:  # as most requests have; there is nothing to join
        matched = _union([answers[request.selectors[0]]])
        return matched, () if matched else request.selectors
    groups: list[list[Task]] = []
    not_found: list[Selector] = []
    how = {SelectorKind.TAG: request.match_tag, SelectorKind.CUSTOM_PROPERTY: request.match_custom_property}
    # They stand kind by kind.
    for kind, those in groupby(request.selectors, itemgetter(0)):
        selectors = list(those)
        if how.get(kind) is Match.ALL:
            group = _intersection([answers[selector] for selector in selectors])
            # No single one of them is at fault when each matches, but no task has all.
            not_found += [] if group else selectors
        else:
            group = _union(answers[selector] for selector in selectors)
            not_found += [selector for selector in selectors if not answers[selector]]
        groups.append(group)
    if request.match_criteria is Match.ALL:
        matched = _intersection(groups)
        if not matched:
            not_found = list(request.selectors)
    else:
        matched = _union(groups)
    return matched, tuple(not_found)


def _union(groups: Iterable[Iterable[Task]]) -> list[Task]:
    return list({task.id: task for group in groups for task in group}.values())


def _intersection(groups: Iterable[Iterable[Task]]) -> list[Task]:
    first, *others = [list(group) for group in groups]
    ids = [{task.id for task in other} for other in others]
    return [task for task in _union([first]) if all(task.id in known for known in ids)]
