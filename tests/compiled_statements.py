"""
Statements of the journal, compiled once for all journals of a process that runs tests.

SQLAlchemy compiles a statement once for each engine, and each life of a daemon in
tests/pipeline has one: that took half of the processor time of a test. Dialects
of one kind that say they are equal have their engines share what is compiled.
"""

from __future__ import annotations

from sqlalchemy import Engine
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine.interfaces import CompiledCacheType

_compiled: CompiledCacheType = {}


class SharingDialect(SQLiteDialect_pysqlite):
    """The one of SQLite, with one cache for all engines."""

    supports_statement_cache = True

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __hash__(self) -> int:
        return hash(type(self))

    @classmethod
    def engine_created(cls, engine: Engine) -> None:
        """Give an engine its cache; SQLAlchemy calls it for each."""
        engine.update_execution_options(compiled_cache=_compiled)


def share() -> None:
    """Have every engine of this process use it that is made from now on."""
    registry.register("sqlite", __name__, SharingDialect.__name__)
