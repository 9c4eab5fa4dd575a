"""The first format: sessions, requests, deliveries, starts, runs, outbox."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "requests",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("holds_id", sa.Boolean, nullable=False),
        sa.Column("fingerprint", sa.Text),
        sa.Column("document", sa.Text),
        sa.Column("sender", sa.Text),
        sa.Column("door", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("code", sa.Text),
        sa.Column("received_at", sa.Integer, nullable=False),
        sa.Column("expires_at", sa.Integer),
        sa.Column("decided_at", sa.Integer),
        sa.Column("closed_at", sa.Integer),
        sa.Column("not_found", sa.Text),
        sa.Column("reply", sa.Text),
        sa.Column("final_reply", sa.Text),
        sa.Column("tags", sa.Text, sa.Computed("json_extract(document, '$.tag')", persisted=True)),
    )
    op.create_index("requests_by_request_id", "requests", ["request_id"])
    op.create_index(
        "requests_expiring",
        "requests",
        ["expires_at"],
        sqlite_where=sa.text("expires_at IS NOT NULL AND closed_at IS NULL"),
    )
    op.create_index(
        "requests_closed", "requests", ["closed_at"], sqlite_where=sa.text("closed_at IS NOT NULL")
    )
    op.create_index("requests_search", "requests", ["received_at", "state", "door", "code", "sender"])
    op.create_index("requests_by_tags", "requests", ["tags"], sqlite_where=sa.text("tags IS NOT NULL"))
    op.create_index(
        "requests_one_holder", "requests", ["request_id"], unique=True, sqlite_where=sa.text("holds_id IS 1")
    )
    op.create_index(
        "requests_open", "requests", ["state", "id"], sqlite_where=sa.text("state IN ('received', 'decided')")
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("task_id", sa.Text, nullable=False),
        sa.Column("task_type", sa.Integer),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("intended_at", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("baseline_result", sa.Text),
        sa.Column("baseline_began", sa.Integer),
        sa.Column("server_date", sa.Integer),
        sa.Column("execution_id", sa.Text),
        sa.Column("answered_at", sa.Integer),
        sa.Column("details", sa.Text),
        sa.Column("events", sa.Text),
        sa.Column("result", sa.Text),
        sa.Column("node", sa.Text),
        sa.Column("started_at", sa.Integer),
        sa.Column("stopped_at", sa.Integer),
        sa.Column("duration_ms", sa.Integer),
        sa.Column("message", sa.Text),
        sa.Column("ended_at", sa.Integer),
    )
    op.create_index(
        "runs_by_execution", "runs", ["execution_id"], sqlite_where=sa.text("execution_id IS NOT NULL")
    )
    op.create_index("runs_by_task", "runs", ["task_id", "id"])
    op.create_index("runs_executing", "runs", ["id"], sqlite_where=sa.text("state = 'executing'"))
    op.create_index(
        "runs_one_open_for_a_task",
        "runs",
        ["task_id"],
        unique=True,
        sqlite_where=sa.text("state IN ('intended', 'posted')"),
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("started_at", sa.Integer, nullable=False),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("request", sa.Integer, sa.ForeignKey("requests.id"), nullable=False),
        sa.Column("door", sa.Text, nullable=False),
        sa.Column("principal", sa.Text),
        sa.Column("received_at", sa.Integer, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("topic", sa.Text),
        sa.Column("session", sa.Integer),
        sa.Column("packet_id", sa.Integer),
        sa.Column("digest", sa.LargeBinary),
        sa.Column("reply_topic", sa.Text),
        sa.Column("correlation", sa.LargeBinary),
        sa.Column("wait", sa.Text, nullable=False),
        sa.Column("answered_at", sa.Integer),
        sa.Column("confirmed_at", sa.Integer),
    )
    op.create_index("deliveries_by_request", "deliveries", ["request"])
    op.create_index("deliveries_by_session", "deliveries", ["session", "id"])
    op.create_index(
        "deliveries_waiting_for_the_end",
        "deliveries",
        ["request"],
        sqlite_where=sa.text("wait = 'finished' AND answered_at IS NULL"),
    )
    op.create_table(
        "starts",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("request", sa.Integer, sa.ForeignKey("requests.id"), nullable=False),
        sa.Column("task_id", sa.Text, nullable=False),
        sa.Column("task_name", sa.Text, nullable=False),
        sa.Column("task_type", sa.Integer),
        sa.Column("kinds", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("run", sa.Integer, sa.ForeignKey("runs.id")),
        sa.Column("behind", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("asked_at", sa.Integer),
        sa.Column("execution_id", sa.Text),
        sa.Column("adopted", sa.Boolean, nullable=False),
        sa.Column("code", sa.Text),
        sa.Column("details", sa.Text),
        sa.Column("changed_at", sa.Integer, nullable=False),
    )
    op.create_index("starts_by_request", "starts", ["request"])
    op.create_index("starts_by_run", "starts", ["run"])
    op.create_index("starts_by_task", "starts", ["task_id", "request"])
    op.create_index(
        "starts_ended",
        "starts",
        ["state", "code", "request"],
        sqlite_where=sa.text("state NOT IN ('planned', 'waiting', 'running')"),
    )
    op.create_index("starts_waiting", "starts", ["task_id", "id"], sqlite_where=sa.text("state = 'waiting'"))
    op.create_table(
        "outbox",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("request", sa.Integer, sa.ForeignKey("requests.id"), nullable=False),
        sa.Column("delivery", sa.Integer, sa.ForeignKey("deliveries.id")),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("correlation", sa.LargeBinary),
        sa.Column("created_at", sa.Integer, nullable=False),
        sa.Column("refusals", sa.Integer, nullable=False),
        sa.Column("quarantined_at", sa.Integer),
        sa.Column("reason", sa.Text),
    )
    op.create_index("outbox_by_request", "outbox", ["request"])
    op.create_index(
        "outbox_quarantined",
        "outbox",
        ["quarantined_at"],
        sqlite_where=sa.text("quarantined_at IS NOT NULL"),
    )


def downgrade() -> None:
    """There is nothing before the first format."""
    raise RuntimeError("the first format has no predecessor")
