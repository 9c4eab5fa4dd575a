"""Decides requests whose tasks are known: what starts, what is denied, or why all of it is refused."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from butler_mqtt.domain import decisions
from butler_mqtt.domain.completions import Answers
from butler_mqtt.domain.decisions import Decision
from butler_mqtt.domain.model import Selector, Task
from butler_mqtt.domain.open_work import OpenRequest, OpenStart
from butler_mqtt.errors import QlikRefused, RequestError
from butler_mqtt.journal.sqlite_errors import is_of_the_journal
from butler_mqtt.ledger.ledger import Ledger
from butler_mqtt.resolving.gates import Gates

_log = logging.getLogger("butler_mqtt.resolver")


class RequestDecisions:
    """
    Makes decisions, and has them recorded.

    Args:
        ledger: Where they are recorded.
        gates: What may be started.
        max_tasks: Tasks that one request may match.
    """

    def __init__(self, ledger: Ledger, gates: Gates, max_tasks: int) -> None:
        self._ledger = ledger
        self._gates = gates
        self._max_tasks = max_tasks
        #: Requests, by row, whose decision a fault of ours kept from being recorded.
        self._unrecordable: set[int] = set()

    def record(self, opened: OpenRequest, answers: Answers) -> list[OpenStart]:
        """
        Decide a request by what the server answered to its selectors, or refuse it.

        Returns:
            The starts that are to be carried out now.

        Raises:
            Exception: The decision cannot be recorded: the turn has to fail, and the next one refuses the
                request unless it is the journal's fault.
        """
        decision = self._decide(opened, answers)
        if isinstance(decision, RequestError):
            self._ledger.requests.refused(opened, decision)
            return []
        try:
            if decisions.may_begin(opened.request, decision):
                self._ledger.parameters.store(opened.request)
            starts = self._ledger.requests.decided(opened, decision)
            self._gates.let_through(starts)
            return starts
        except RequestError as error:
            self._ledger.requests.refused(opened, error)
            return []
        except Exception as error:
            # Half of it is in the unit of work, so the turn has to fail; repeated, it refuses this one.
            if not is_of_the_journal(error):
                _log_fault(opened)
                self._unrecordable.add(opened.id)
            raise

    def _decide(self, opened: OpenRequest, answers: Answers) -> Decision | RequestError:
        if opened.id in self._unrecordable:
            self._unrecordable.discard(opened.id)
            return _internal_error()
        try:
            return decisions.decide(
                opened.request,
                without_refusals({selector: answers[selector] for selector in opened.request.selectors}),
                allow=self._gates.allow,
                max_tasks=self._max_tasks,
                own=self._gates.own(opened.identity, dry_run=opened.request.dry_run),
            )
        except RequestError as error:
            return error
        except Exception:  # noqa: BLE001 -- else it comes again with every turn, and no other request is decided
            _log_fault(opened)
            return _internal_error()


def without_refusals(answers: Answers) -> Mapping[Selector, tuple[Task, ...]]:
    """Return the tasks of each selector; raises RequestError where the server refused a question."""
    tasks: dict[Selector, tuple[Task, ...]] = {}
    for selector, answer in answers.items():
        if isinstance(answer, QlikRefused):
            raise refused_by_qlik(answer)
        tasks[selector] = answer
    return tasks


def refused_by_qlik(error: QlikRefused) -> RequestError:
    """Return the error, with one of the reply codes, for what the server refused."""
    if error.status in {401, 403}:
        return RequestError("qrs_forbidden", "Qlik Sense refused access", str(error))
    return RequestError("qrs_rejected", "Qlik Sense rejected the request", str(error))


def _log_fault(opened: OpenRequest) -> None:
    _log.exception(
        "request %s cannot be decided and is refused",
        opened.request_id,
        extra={"action": "bug", "request_id": opened.request_id},
    )


def _internal_error() -> RequestError:
    return RequestError(
        "internal_error", "Internal error", "the request could not be processed; see the daemon's log"
    )
