"""Rules: which one made a request, filters, counts, open windows, messages that may come again."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Make room for them."""
    op.add_column("requests", sa.Column("rule", sa.Text))
    op.create_index("requests_by_rule", "requests", ["rule", "id"], sqlite_where=sa.text("rule IS NOT NULL"))
    op.create_table(
        "rule_filters",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("filter", sa.Text, nullable=False),
        sa.Column("unwanted_at", sa.Integer),
        sa.Column("gone_at", sa.Integer),
    )
    op.create_table(
        "rule_packets",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("packet_id", sa.Integer, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "rule_windows",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("key", sa.Text),
        sa.Column("settings", sa.Text, nullable=False),
        *(
            sa.Column(name, sa.Integer, nullable=False)
            for name in ("first_at", "last_at", "first_moment", "last_moment", "count")
        ),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("topic", sa.Text),
        sa.Column("properties", sa.Text, nullable=False),
        sa.Column("received_at", sa.Integer, nullable=False),
    )
    op.create_table(
        "rule_counts",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("rule", sa.Text, nullable=False, unique=True),
        *(
            sa.Column(name, sa.Integer, nullable=False)
            for name in ("started", "unmatched", "coalesced", "failed", "error")
        ),
        sa.Column("last_at", sa.Integer),
        sa.Column("matched_at", sa.Integer),
        sa.Column("problem", sa.Text),
    )
