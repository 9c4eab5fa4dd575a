"""Brings a journal to a newer format with Alembic; loaded only when there is something to do."""

from __future__ import annotations

from importlib.resources import as_file, files

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def upgrade(connection: Connection, target: str) -> None:
    """Run the migrations up to *target* on *connection*, all in one transaction."""
    with as_file(files("butler_mqtt.journal") / "migrations") as folder:
        config = Config()
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
        config.attributes["connection"] = connection
        with connection.begin():
            command.upgrade(config, target)
