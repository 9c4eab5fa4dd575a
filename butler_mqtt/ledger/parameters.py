"""Parameters for load scripts: what requests and callers store and delete, within the turn's transaction."""

from __future__ import annotations

from collections.abc import Iterable

from butler_mqtt.clock import now_ms
from butler_mqtt.domain.completions import ParameterChange, ParameterOutcome
from butler_mqtt.domain.model import Parameter, Request
from butler_mqtt.errors import RequestError
from butler_mqtt.journal import parameter_rows
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.ledger.unit_of_work import UnitOfWork

#: Namespaces that exist at one time.
MAX_NAMESPACES = 1000

_TOO_MANY = {
    ParameterOutcome.TOO_MANY_KEYS: "the namespace {!r} would have more keys than "
    "keyValueStore.maxKeysPerNamespace allows ({}); delete keys, or give them a time to live",
    ParameterOutcome.TOO_MANY_NAMESPACES: "there is no room for the namespace {!r}: "
    f"{MAX_NAMESPACES} namespaces exist, no more are allowed",
}


class Parameters:
    """
    Stores and deletes.

    Args:
        turn: Knows the transaction.
        max_keys: `keyValueStore.maxKeysPerNamespace`.
    """

    def __init__(self, turn: UnitOfWork, max_keys: int) -> None:
        self._turn = turn
        self._max_keys = max_keys

    def store(self, request: Request) -> None:
        """
        Store what *request* carries; nothing for a dry run.

        Raises:
            RequestError: `invalid_request`: there is no room for all of it. Nothing was stored.
        """
        if not request.parameters or request.dry_run:
            return
        now = now_ms()
        transaction = self._turn.transaction
        self._refuse_overflow(transaction, request.parameters, now)
        for one in request.parameters:
            parameter_rows.store(
                transaction,
                one.namespace,
                one.key,
                one.value,
                expires_at=now + request.parameters_ttl_ms if request.parameters_ttl_ms else None,
                now=now,
            )

    def apply(self, change: ParameterChange) -> None:
        """Carry out what a caller of the REST API asks for, and answer once it is on disk."""
        if not change.given_up():
            self._turn.after(change.on_stored, self._applied(change).value)

    def _applied(self, change: ParameterChange) -> ParameterOutcome:
        now = now_ms()
        transaction = self._turn.transaction
        if change.key is not None and change.value is not None:
            found = self._room(transaction, change.namespace, {change.key}, 0, now)
            if found is ParameterOutcome.DONE:
                expires_at = now + change.ttl_ms if change.ttl_ms else None
                parameter_rows.store(
                    transaction,
                    change.namespace,
                    change.key,
                    change.value,
                    expires_at=expires_at,
                    now=now,
                )
            return found
        row = parameter_rows.namespace_id(transaction, change.namespace)
        if row is None:
            return ParameterOutcome.NO_NAMESPACE
        if change.key is None:
            parameter_rows.delete_namespace(transaction, row)
        elif not parameter_rows.delete_key(transaction, row, change.key, now):
            return ParameterOutcome.NO_KEY
        return ParameterOutcome.DONE

    def _refuse_overflow(self, transaction: Transaction, asked: Iterable[Parameter], now: int) -> None:
        keys: dict[str, set[str]] = {}
        for one in asked:
            keys.setdefault(one.namespace, set()).add(one.key)
        fresh = 0
        # New ones first: room for them may come from namespaces without keys, and these are new then.
        ordered = sorted(keys, key=lambda one: parameter_rows.namespace_id(transaction, one) is not None)
        for namespace in ordered:
            names = keys[namespace]
            found = self._room(transaction, namespace, names, fresh, now)
            if found is not ParameterOutcome.DONE:
                details = "parameters: " + _TOO_MANY[found].format(namespace[:80], self._max_keys)
                raise RequestError("invalid_request", "Invalid request", details)
            fresh += parameter_rows.namespace_id(transaction, namespace) is None

    def _room(
        self, transaction: Transaction, namespace: str, keys: set[str], fresh: int, now: int
    ) -> ParameterOutcome:
        """Return whether *keys* have room, beside *fresh* namespaces that are still to be made."""
        row = parameter_rows.namespace_id(transaction, namespace)
        if row is None:
            if parameter_rows.count_namespaces(transaction) + fresh >= MAX_NAMESPACES:
                # A namespace stays without keys, until there is no room for another.
                parameter_rows.remove_idle_namespaces(transaction, now)
            if parameter_rows.count_namespaces(transaction) + fresh >= MAX_NAMESPACES:
                return ParameterOutcome.TOO_MANY_NAMESPACES
            count = len(keys)
        else:
            # Usually there is room without asking which of them are there already, or have expired.
            count = parameter_rows.count_keys(transaction, row) + len(keys)
            if count > self._max_keys:
                parameter_rows.remove_expired_of(transaction, row, now)
                known = sum(parameter_rows.has_key(transaction, row, key, now) for key in keys)
                count = parameter_rows.count_keys(transaction, row) + len(keys) - known
        return ParameterOutcome.DONE if count <= self._max_keys else ParameterOutcome.TOO_MANY_KEYS
