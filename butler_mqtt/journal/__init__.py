"""The durable record: the only home of SQLAlchemy and Alembic."""

from butler_mqtt.journal.store import Journal

__all__ = ["Journal"]
