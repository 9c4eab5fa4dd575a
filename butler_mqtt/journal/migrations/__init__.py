"""Alembic's folder: how a journal of an older format becomes one of today's."""
