"""The end of the process."""

from __future__ import annotations

from butler_mqtt.daemon.ending import Ending
from butler_mqtt.errors import JournalError
from butler_mqtt.exit_codes import ExitCode


def test_the_first_reason_to_end_decides_the_exit_code() -> None:
    ending = Ending()
    ending.end(ExitCode.UNAVAILABLE)
    ending.end(ExitCode.OK)
    ending.fatal(RuntimeError("late"))
    assert ending.stop.is_set()
    assert ending.code is ExitCode.UNAVAILABLE


def test_a_wait_for_a_signal_ends_with_the_process_and_when_it_is_woken() -> None:
    ending = Ending()
    ending.wake()
    assert ending.next_signal(60.0) is None
    ending.end(ExitCode.OK)
    assert ending.next_signal(60.0) is None
    assert ending.next_signal(0.0) is None


def test_the_service_manager_is_told_why_the_journal_ended_it() -> None:
    ending = Ending()
    ending.journal_failed(JournalError("the disk is gone"))
    assert (ending.code, ending.reason) == (ExitCode.JOURNAL, "the disk is gone")
