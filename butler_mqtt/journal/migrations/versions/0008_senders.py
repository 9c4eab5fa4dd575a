"""Where a request came from, beside what its body says of its sender."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Make room for it, and in the indexes of what lists are filtered by."""
    op.add_column("requests", sa.Column("identity", sa.Text))
    searched = ["received_at", "state", "door", "code", "sender", "identity", "closed_at"]
    for name, where in (("open", "closed_at IS NULL"), ("search", "closed_at IS NOT NULL")):
        op.drop_index(f"requests_{name}", "requests")
        op.create_index(f"requests_{name}", "requests", searched, sqlite_where=sa.text(where))
