"""Up to which delivery the broker is known to have read our acknowledgements; not known of what is there."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make room for it."""
    op.add_column("sessions", sa.Column("read_up_to", sa.Integer))
