"""Which request took a start back, and which other task of its app a start was skipped for."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make room for it."""
    op.add_column("starts", sa.Column("running_task", sa.Text))
    op.add_column("starts", sa.Column("cancelled_by", sa.Integer))
