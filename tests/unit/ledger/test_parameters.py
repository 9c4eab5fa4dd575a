"""Parameters are stored whole or not at all, within their limits."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from butler_mqtt.clock import now_ms
from butler_mqtt.domain.completions import ParameterChange, ParameterOutcome
from butler_mqtt.domain.model import Parameter, Request
from butler_mqtt.errors import RequestError
from butler_mqtt.journal import parameter_rows
from butler_mqtt.journal.sqlite import Journal
from butler_mqtt.ledger.parameters import MAX_NAMESPACES, Parameters
from butler_mqtt.ledger.unit_of_work import UnitOfWork

MAX_KEYS = 3


class Store:
    """Parameters on a real journal, a transaction for each call."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._turn = UnitOfWork()
        self._parameters = Parameters(self._turn, MAX_KEYS)

    def store(self, *given: tuple[str, str], ttl_ms: int = 0, dry_run: bool = False) -> None:
        parameters = tuple(Parameter(namespace, key, "value") for namespace, key in given)
        request = Request("{}", "f", parameters=parameters, parameters_ttl_ms=ttl_ms, dry_run=dry_run)
        self._do(lambda: self._parameters.store(request))

    def change(self, namespace: str, key: str | None = None, value: str | None = None, ttl: int = 0) -> str:
        outcomes: list[str] = []
        change = ParameterChange(namespace, key, value, ttl, outcomes.append, lambda: False)
        self._do(lambda: self._parameters.apply(change))
        for effect in self._turn.effects:
            effect()
        return outcomes[0]

    def give_up(self, namespace: str, key: str, value: str) -> None:
        """Ask for a change, and wait for it no longer."""
        change = ParameterChange(namespace, key, value, 0, lambda _outcome: None, lambda: True)
        self._do(lambda: self._parameters.apply(change))

    def fill(self, count: int) -> None:
        """Make so many namespaces that have a key."""
        with self._journal.transaction() as transaction:
            for number in range(count):
                parameter_rows.store(transaction, f"n{number}", "k", "v", expires_at=None, now=now_ms())

    @property
    def namespaces(self) -> int:
        with self._journal.transaction() as transaction:
            return parameter_rows.count_namespaces(transaction)

    def _do(self, call: Callable[[], None]) -> None:
        self._turn.begin()
        with self._journal.transaction() as transaction:
            self._turn.transaction = transaction
            call()


@pytest.fixture
def store(journal: Journal) -> Store:
    return Store(journal)


def test_a_namespace_takes_as_many_keys_as_allowed_and_those_that_are_there_again(store: Store) -> None:
    store.store(("a", "1"), ("a", "2"), ("a", "3"))
    store.store(("a", "3"), ("a", "1"))
    with pytest.raises(RequestError, match=r"maxKeysPerNamespace allows \(3\)"):
        store.store(("a", "3"), ("a", "4"))


def test_of_a_request_without_room_for_all_nothing_is_stored(store: Store) -> None:
    with pytest.raises(RequestError):
        store.store(("b", "1"), ("a", "1"), ("a", "2"), ("a", "3"), ("a", "4"))
    assert store.namespaces == 0


def test_the_same_key_twice_in_one_request_counts_once(store: Store) -> None:
    store.store(("a", "1"), ("a", "1"), ("a", "2"), ("a", "3"))
    assert store.namespaces == 1


def test_a_key_that_has_expired_makes_room(store: Store) -> None:
    store.store(("a", "1"), ("a", "2"), ("a", "3"), ttl_ms=-1)
    store.store(("a", "4"), ("a", "5"), ("a", "6"))


def test_a_dry_run_stores_nothing(store: Store) -> None:
    store.store(("a", "1"), dry_run=True)
    assert store.namespaces == 0


def test_a_namespace_without_keys_makes_room_for_another_one(store: Store) -> None:
    store.fill(MAX_NAMESPACES - 1)
    store.store(("idle", "1"), ttl_ms=-1)
    store.store(("new", "1"))
    assert store.namespaces == MAX_NAMESPACES
    with pytest.raises(RequestError, match="no more are allowed"):
        store.store(("one more", "1"))


@pytest.mark.parametrize("order", [("idle", "new"), ("new", "idle")], ids="-".join)
def test_a_namespace_that_made_room_counts_as_new_in_the_same_request(
    store: Store, order: tuple[str, str]
) -> None:
    store.fill(MAX_NAMESPACES - 1)
    store.store(("idle", "1"), ttl_ms=-1)
    with pytest.raises(RequestError, match="no more are allowed"):
        store.store(*((one, "2") for one in order))
    assert store.namespaces <= MAX_NAMESPACES


def test_a_change_has_its_outcome(store: Store) -> None:
    assert store.change("a", "1", "v") == ParameterOutcome.DONE
    assert store.change("a", "2") == ParameterOutcome.NO_KEY
    assert store.change("b", "1") == ParameterOutcome.NO_NAMESPACE
    assert store.change("a", "1") == ParameterOutcome.DONE
    assert store.change("a", "1") == ParameterOutcome.NO_KEY
    assert store.change("a") == ParameterOutcome.DONE
    assert store.change("a") == ParameterOutcome.NO_NAMESPACE


def test_an_empty_value_is_a_value(store: Store) -> None:
    assert store.change("a", "1", "") == ParameterOutcome.DONE
    assert store.change("a", "1") == ParameterOutcome.DONE


def test_a_change_that_its_caller_gave_up_is_not_made(store: Store) -> None:
    store.give_up("a", "1", "v")
    assert store.namespaces == 0
