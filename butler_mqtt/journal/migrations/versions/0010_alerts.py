"""Alerts: those to be sent, what is wrong, and what tasks they are about."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Make room for them."""
    op.create_table(
        "alerts",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("created_at", sa.Integer, nullable=False),
        sa.Column("due_at", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("sent_at", sa.Integer),
        sa.Column("quarantined_at", sa.Integer),
    )
    op.create_index(
        "alerts_set_aside",
        "alerts",
        ["quarantined_at"],
        sqlite_where=sa.text("quarantined_at IS NOT NULL"),
    )
    op.create_table(
        "alert_conditions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("subject", sa.Text, nullable=False, unique=True),
        sa.Column("since", sa.Integer, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
    )
    op.create_table(
        "alert_tasks",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("task_id", sa.Text, nullable=False, unique=True),
        sa.Column("content", sa.Text, nullable=False),
    )
    op.create_table(
        "overdue_tasks",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("entry", sa.Text, nullable=False),
        sa.Column("task_id", sa.Text, nullable=False),
        sa.Column("counted_from", sa.Integer, nullable=False),
        sa.Column("overdue_at", sa.Integer),
    )
    op.create_index("overdue_tasks_by_entry", "overdue_tasks", ["entry", "task_id"], unique=True)
