"""Alembic's entry: runs the migrations on the connection that the journal passes."""

from alembic import context

from butler_mqtt.journal.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
