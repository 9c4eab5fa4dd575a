"""Whose execution a start was skipped for, where that is another task of the same app."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0004"


def upgrade() -> None:
    """Make room for it."""
    op.add_column("starts", sa.Column("running_task", sa.Text))
