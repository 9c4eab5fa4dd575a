"""Parameters for load scripts, by namespace and key."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make room for them."""
    op.create_table(
        "parameter_namespaces",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
    )
    op.create_table(
        "parameters",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("namespace", sa.Integer, sa.ForeignKey("parameter_namespaces.id"), nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("expires_at", sa.Integer),
    )
    op.create_index("parameters_by_key", "parameters", ["namespace", "key"], unique=True)
    op.create_index(
        "parameters_expiring",
        "parameters",
        ["expires_at"],
        sqlite_where=sa.text("expires_at IS NOT NULL"),
    )
