"""What was found out about a request after a kill, each with its time: notes, and when the daemon began."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the tables, and a column for when a snapshot first showed nothing."""
    op.add_column("runs", sa.Column("nothing_at", sa.Integer))
    op.create_table(
        "lives",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("began_at", sa.Integer, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
    )
    op.create_index("lives_by_time", "lives", ["began_at"])
    op.create_table(
        "notes",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("request", sa.Integer, sa.ForeignKey("requests.id")),
        sa.Column("run", sa.Integer, sa.ForeignKey("runs.id")),
        sa.Column("noted_at", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
    )
    op.create_index("notes_by_request", "notes", ["request"], sqlite_where=sa.text("request IS NOT NULL"))
    op.create_index("notes_by_run", "notes", ["run"], sqlite_where=sa.text("run IS NOT NULL"))
