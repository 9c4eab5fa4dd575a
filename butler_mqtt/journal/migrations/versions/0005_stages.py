"""Stages: requests of earlier formats have none."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the table, and columns for the stage of a start and for what it was skipped for."""
    op.create_table(
        "stages",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("request", sa.Integer, sa.ForeignKey("requests.id"), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("not_found", sa.Text),
        sa.Column("began_at", sa.Integer),
        sa.Column("ended_at", sa.Integer),
    )
    op.create_index("stages_by_request", "stages", ["request", "number"], unique=True)
    op.create_index(
        "stages_open", "stages", ["request"], sqlite_where=sa.text("state IN ('waiting', 'running')")
    )
    op.add_column("starts", sa.Column("stage", sa.Integer))
    op.add_column("starts", sa.Column("skipped_result", sa.Text))
