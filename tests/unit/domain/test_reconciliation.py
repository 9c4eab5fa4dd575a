"""What became of a POST whose answer leaves it open."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from butler_mqtt.domain.model import Execution, Task, TaskSnapshot
from butler_mqtt.domain.reconciliation import (
    NEVER_RAN,
    SERVER_CLOCK_SLACK,
    Baseline,
    VerdictKind,
    ended_since,
    reason_not_started,
    reconcile,
)

INTENT = datetime(2024, 3, 1, 12, 0, 0, tzinfo=UTC)
TASK = Task("t", "Sales", 0, enabled=True)


def execution(
    name: str,
    seconds: float | None = 1,
    status: int = 2,
    user: str = "LAB\\x",
    *,
    session: bool | None = None,
) -> Execution:
    began = None if seconds is None else INTENT + timedelta(seconds=seconds)
    return Execution(
        name, f"result {name}", began, status, session=status == 2 if session is None else session, user=user
    )


def snapshot(
    *executions: Execution, task: Task | None = TASK, sessions_readable: bool = True
) -> TaskSnapshot:
    return TaskSnapshot(task, executions, sessions_readable)


BEFORE = execution("old", -100, 7)
BASELINE = Baseline("result old", BEFORE.began, INTENT)


def test_an_execution_that_began_after_the_intent_is_adopted() -> None:
    new = execution("new")
    verdict = reconcile(snapshot(new, BEFORE), BASELINE, ())
    assert (verdict.kind, verdict.execution) == (VerdictKind.ADOPT, new)


def test_an_execution_that_has_ended_by_then_is_adopted_too() -> None:
    assert reconcile(snapshot(execution("new", 1, 7), BEFORE), BASELINE, ()).kind is VerdictKind.ADOPT


def test_an_execution_of_another_run_of_ours_is_not_adopted() -> None:
    assert reconcile(snapshot(execution("new", 1, 7)), BASELINE, {"new"}).kind is VerdictKind.NOTHING


def test_the_stored_execution_is_not_adopted() -> None:
    same = replace(BEFORE, began=INTENT + timedelta(seconds=50))
    assert reconcile(snapshot(same), BASELINE, ()).kind is VerdictKind.NOTHING


def test_an_execution_older_than_the_stored_one_is_not_adopted() -> None:
    baseline = Baseline("result old", INTENT + timedelta(seconds=10), None)
    assert reconcile(snapshot(execution("older", 9, 7)), baseline, ()).kind is VerdictKind.NOTHING
    assert reconcile(snapshot(execution("as old", 10, 7)), baseline, ()).kind is VerdictKind.ADOPT


@pytest.mark.parametrize(("seconds", "kind"), [(-2, VerdictKind.ADOPT), (-2.001, VerdictKind.NOTHING)])
def test_the_servers_clock_at_the_intent_counts_less_two_seconds(seconds: float, kind: VerdictKind) -> None:
    baseline = Baseline(None, None, INTENT)
    assert reconcile(snapshot(execution("new", seconds, 7)), baseline, ()).kind is kind
    assert timedelta(seconds=2) == SERVER_CLOCK_SLACK


def test_without_any_time_of_the_server_nothing_is_adopted() -> None:
    assert reconcile(snapshot(execution("new", 1, 7)), Baseline("result old"), ()).kind is VerdictKind.NOTHING
    assert reconcile(snapshot(execution("new", None, 7)), BASELINE, ()).kind is VerdictKind.NOTHING


def test_an_execution_without_an_id_is_not_adopted() -> None:
    new = replace(execution("new", 1, 7), id=None)
    assert reconcile(snapshot(new), BASELINE, ()).kind is VerdictKind.NOTHING


def test_of_several_executions_ours_is_preferred_and_then_the_oldest() -> None:
    newest, ours, older_ours, oldest = (
        execution("newest", 9),
        execution("ours", 8, user="INTERNAL\\sa_repository"),
        execution("older ours", 7, user="internal\\SA_Repository"),
        execution("oldest", 6),
    )
    shown = snapshot(newest, ours, older_ours, oldest)
    assert reconcile(shown, BASELINE, (), "sa_repository").execution == older_ours
    assert reconcile(shown, BASELINE, (), "").execution == oldest
    assert reconcile(shown, BASELINE, (), "nobody").execution == oldest


def test_a_user_whose_name_holds_ours_is_somebody_else() -> None:
    theirs, first = (
        execution("theirs", 9, user="INTERNAL\\sa_scheduler"),
        execution("first", 6, user="LAB\\a"),
    )
    assert reconcile(snapshot(theirs, first), BASELINE, (), "sa").execution == first


def shown_with_task(newest: Execution, *older: Execution) -> TaskSnapshot:
    """Return what a server shows that names the newest result with the task."""
    last = replace(newest, id=None, session=False)
    return snapshot(newest, *older, task=replace(TASK, last=last, last_shown=True))


#: By the user alone: begun for us, and stamped by a node whose clock is behind.
OURS_BY_USER = execution("ours", -30, user="INTERNAL\\sa_repository")


def test_an_execution_of_our_user_is_adopted_before_a_newer_one_of_another() -> None:
    shown = shown_with_task(execution("newest", 9), OURS_BY_USER, BEFORE)
    assert reconcile(shown, BASELINE, (), "sa_repository").execution == OURS_BY_USER


@pytest.mark.parametrize("claimed", [None, "ours"])
def test_with_an_older_reading_our_user_decides_where_stamps_do_not(claimed: str | None) -> None:
    shown = shown_with_task(OURS_BY_USER, BEFORE)
    verdict = reconcile(shown, BASELINE, (), "sa_repository", claimed=claimed, read_before=True)
    assert (verdict.kind, verdict.execution) == (VerdictKind.ADOPT, OURS_BY_USER)


def test_what_another_began_is_not_taken_for_what_the_post_was_answered_with() -> None:
    theirs, answered = execution("theirs", 9), execution("answered", -50, 7)
    verdict = reconcile(snapshot(theirs, answered), BASELINE, {"answered"}, claimed="answered")
    assert (verdict.kind, verdict.execution) == (VerdictKind.RUNS_ALREADY, theirs)


@pytest.mark.parametrize(
    ("seconds", "user", "read_before", "kind"),
    [
        (-30, "LAB\\x", True, VerdictKind.RUNS_ALREADY),
        (-30, "LAB\\x", False, VerdictKind.ADOPT),
        (9, "LAB\\x", True, VerdictKind.ADOPT),
        (-30, "", True, VerdictKind.ADOPT),
    ],
)
def test_with_an_older_reading_an_id_is_anothers_where_user_and_stamps_say_so(
    seconds: float, user: str, read_before: bool, kind: VerdictKind
) -> None:
    answered = execution("answered", seconds, user=user)
    shown = shown_with_task(answered, BEFORE)
    verdict = reconcile(shown, BASELINE, (), "sa_repository", claimed="answered", read_before=read_before)
    assert (verdict.kind, verdict.execution) == (kind, answered)


@pytest.mark.parametrize(
    ("read_before", "kind"), [(True, VerdictKind.RUNS_ALREADY), (False, VerdictKind.ADOPT)]
)
def test_with_an_older_reading_what_another_began_counts_by_its_stamp(
    read_before: bool, kind: VerdictKind
) -> None:
    theirs = execution("theirs", -30)
    shown = shown_with_task(theirs, BEFORE)
    verdict = reconcile(shown, BASELINE, (), "sa_repository", read_before=read_before)
    assert (verdict.kind, verdict.execution) == (kind, theirs)


def test_an_older_execution_of_our_user_that_is_over_counts_by_its_stamp() -> None:
    newest = execution("newest", 9, 7)
    ours = execution("ours from before", -200, 7, user="INTERNAL\\sa_repository")
    shown = shown_with_task(newest, ours, BEFORE)
    assert reconcile(shown, BASELINE, (), "sa_repository").execution == newest


def test_while_the_newest_result_has_no_execution_nothing_is_proved() -> None:
    last = replace(execution("newest", 9, 7), id=None)
    shown = snapshot(BEFORE, task=replace(TASK, last=last, last_shown=True))
    verdict = reconcile(shown, BASELINE, ())
    assert (verdict.kind, verdict.proved) == (VerdictKind.NOTHING, False)


@pytest.mark.parametrize(
    ("task", "kind"),
    [
        (TASK, VerdictKind.RUNS_ALREADY),
        (replace(TASK, enabled=False), VerdictKind.NOTHING),
        (replace(TASK, app_available=False), VerdictKind.NOTHING),
    ],
    ids=["enabled", "disabled", "without an app"],
)
def test_an_active_result_without_a_session_runs_only_where_the_task_can(
    task: Task, kind: VerdictKind
) -> None:
    lost = replace(BEFORE, id=None, status=2, session=False)
    task = replace(task, last=lost, last_shown=True)
    assert reconcile(snapshot(task=task), BASELINE, ()).kind is kind


@pytest.mark.parametrize(
    ("user", "kind"),
    [("INTERNAL\\sa_repository", VerdictKind.UNCLEAR), ("LAB\\x", VerdictKind.RUNS_ALREADY)],
)
def test_where_stamps_leave_it_open_what_runs_may_be_ours_if_our_user_began_it(
    user: str, kind: VerdictKind
) -> None:
    running = replace(OURS_BY_USER, user=user)
    verdict = reconcile(snapshot(running), Baseline(None, None, INTENT), (), "sa_repository")
    assert (verdict.kind, verdict.execution) == (kind, running)


def test_an_execution_from_before_that_still_runs_is_named() -> None:
    running = execution("old", -100)
    verdict = reconcile(snapshot(running), Baseline("result old", running.began, INTENT), ())
    assert (verdict.kind, verdict.execution) == (VerdictKind.RUNS_ALREADY, running)


def test_a_task_the_server_does_not_know_any_more_is_named() -> None:
    assert reconcile(snapshot(execution("new"), task=None), BASELINE, ()).kind is VerdictKind.NO_TASK


def test_nothing_new_and_nothing_running_is_nothing() -> None:
    assert reconcile(snapshot(BEFORE), BASELINE, ()).kind is VerdictKind.NOTHING
    assert reconcile(snapshot(), BASELINE, ()).kind is VerdictKind.NOTHING


@pytest.mark.parametrize(
    ("task", "code"),
    [
        (replace(TASK, enabled=False), "task_disabled"),
        (replace(TASK, app_available=False), "app_missing"),
        (replace(TASK, enabled=False, app_available=False), "task_disabled"),
        (replace(TASK, enabled=None), "not_started"),
        (replace(TASK, app_available=True), "not_started"),
        (None, "not_started"),
    ],
)
def test_only_a_reason_the_server_shows_is_named(task: Task | None, code: str) -> None:
    assert reason_not_started(snapshot(task=task))[0] == code


ENDED = replace(BEFORE, stopped=INTENT - timedelta(seconds=50))


@pytest.mark.parametrize(
    ("last", "before", "ended"),
    [
        (ENDED, ENDED, False),
        (ENDED, replace(ENDED, status=2), True),
        (execution("new", 1, 7), ENDED, True),
        (replace(ENDED, stopped=INTENT - timedelta(seconds=2)), ENDED, True),
        (replace(ENDED, stopped=INTENT - timedelta(seconds=2.001)), ENDED, False),
        (ENDED, None, True),
    ],
    ids=["long over", "ran before", "another since", "ended about then", "ended before", "id alone known"],
)
def test_what_kept_a_start_from_beginning_may_have_ended_since(
    last: Execution, before: Execution | None, ended: bool
) -> None:
    task = replace(TASK, last=replace(last, id=None), last_shown=True)
    assert ended_since(snapshot(last, task=task), BASELINE, before) is ended


EXECUTIONS = st.lists(
    st.builds(
        execution,
        st.sampled_from(["a", "b", "c", "d"]),
        st.one_of(st.none(), st.floats(-200, 200)),
        st.sampled_from([2, 3, 7, 8]),
        st.sampled_from(["LAB\\x", "INTERNAL\\us"]),
    ),
    unique_by=lambda one: one.id,
    max_size=4,
)


@given(
    executions=EXECUTIONS,
    known=st.sets(st.sampled_from(["a", "b", "c"])),
    baseline=st.builds(
        Baseline,
        st.sampled_from([None, "result a"]),
        st.one_of(st.none(), st.floats(-200, 0).map(lambda s: INTENT + timedelta(seconds=s))),
        st.sampled_from([None, INTENT]),
    ),
)
def test_what_is_adopted_is_never_an_execution_from_before(
    executions: list[Execution], known: set[str], baseline: Baseline
) -> None:
    verdict = reconcile(snapshot(*executions), baseline, known, "us")
    if verdict.kind is VerdictKind.ADOPT:
        adopted = verdict.execution
        assert adopted is not None
        assert adopted.began is not None
        assert adopted.id not in known
        assert adopted.result_id != baseline.result_id
        assert baseline.began is None or adopted.began >= baseline.began
        assert baseline.server_date is None or adopted.began >= baseline.server_date - timedelta(seconds=2)
        assert baseline.began or baseline.server_date
    elif verdict.kind is VerdictKind.NOTHING:
        assert not any(one.session for one in executions)


RESULT = Execution(None, "result a", None, 7)


@pytest.mark.parametrize(
    ("result_id", "task", "another"),
    [
        ("result a", Task("t", "T", last=RESULT, last_shown=True), False),
        ("result b", Task("t", "T", last=RESULT, last_shown=True), True),
        (NEVER_RAN, Task("t", "T", last=RESULT, last_shown=True), True),
        (NEVER_RAN, Task("t", "T", last_shown=True), False),
        ("result a", Task("t", "T"), False),
        (None, Task("t", "T", last=RESULT, last_shown=True), False),
    ],
    ids=["the same", "another", "the first", "none yet", "none is shown", "none was shown"],
)
def test_a_later_reading_shows_whether_another_execution_began(
    result_id: str | None, task: Task, another: bool
) -> None:
    assert Baseline(result_id).is_before(task) is another
