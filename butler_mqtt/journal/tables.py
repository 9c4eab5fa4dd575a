"""
The tables of the journal.

Times are whole milliseconds since 1970 UTC. Ids are made by the program, so
that rows of one transaction can refer to each other before they are written.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Computed,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)

metadata = MetaData()

#: One row for each session the broker kept for us; redeliveries are recognised within one. The broker is
#: known to have read the PUBACKs of its deliveries up to the row `read_up_to`.
sessions = Table(
    "sessions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("started_at", Integer, nullable=False),
    Column("read_up_to", Integer),
)

#: What a sender asked; `holds_id` is false where a repetition is a real retry. `reply` is for those who
#: wait until it is decided, `final_reply` for those who wait until the executions ended. `tags` is the
#: document's list of tags, for searching; `rule` the rule that made the request of a message. `sender` is
#: what the body says; `identity` is where the request came from, NULL when no senders were configured
#: (`domain.senders`).
requests = Table(
    "requests",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("request_id", Text, nullable=False),
    Column("holds_id", Boolean, nullable=False),
    Column("fingerprint", Text),
    Column("document", Text),
    Column("sender", Text),
    Column("door", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("code", Text),
    Column("received_at", Integer, nullable=False),
    Column("expires_at", Integer),
    Column("decided_at", Integer),
    Column("closed_at", Integer),
    Column("not_found", Text),
    Column("reply", Text),
    Column("final_reply", Text),
    Column("tags", Text, Computed("json_extract(document, '$.tag')", persisted=True)),
    Column("identity", Text),
    Column("rule", Text),
)
# Two that share the requests: an index of all would be one more page to write with each.
Index(
    "requests_one_holder",
    requests.c.request_id,
    unique=True,
    sqlite_where=requests.c.holds_id.is_(True),
)
Index("requests_not_holding", requests.c.request_id, sqlite_where=requests.c.holds_id.is_(False))
Index(
    "requests_expiring",
    requests.c.expires_at,
    sqlite_where=text("expires_at IS NOT NULL AND closed_at IS NULL"),
)
Index("requests_closed", requests.c.closed_at, sqlite_where=requests.c.closed_at.isnot(None))
# All that lists are filtered by, so that a search reads a tenth of the file at most; in two, of which that of
# open requests is short. The time of closing, so that SQLite need not read the row for the condition.
_SEARCHED = ("received_at", "state", "door", "code", "sender", "identity", "closed_at")
Index("requests_open", *(requests.c[name] for name in _SEARCHED), sqlite_where=requests.c.closed_at.is_(None))
Index(
    "requests_search",
    *(requests.c[name] for name in _SEARCHED),
    sqlite_where=requests.c.closed_at.isnot(None),
)
Index("requests_by_tags", requests.c.tags, sqlite_where=requests.c.tags.isnot(None))
Index("requests_by_rule", requests.c.rule, requests.c.id, sqlite_where=requests.c.rule.isnot(None))

#: One stage of a request, numbered from 1. `not_found` is what its selectors did not find when they were
#: resolved last, as in the reply. A request has rows here only if it has stages.
stages = Table(
    "stages",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("request", Integer, ForeignKey("requests.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("name", Text),
    Column("state", Text, nullable=False),
    Column("not_found", Text),
    Column("began_at", Integer),
    Column("ended_at", Integer),
)
Index("stages_by_request", stages.c.request, stages.c.number, unique=True)
Index("stages_open", stages.c.request, sqlite_where=text("state IN ('waiting', 'running')"))

#: One arrival of a request, with its own reply address. `answered_at`: its reply was written into the outbox
#: or returned to the caller; `confirmed_at`: the broker took it.
deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("request", Integer, ForeignKey("requests.id"), nullable=False),
    Column("door", Text, nullable=False),
    Column("principal", Text),
    Column("received_at", Integer, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("topic", Text),
    Column("session", Integer),
    Column("packet_id", Integer),
    Column("digest", LargeBinary),
    Column("reply_topic", Text),
    Column("correlation", LargeBinary),
    Column("wait", Text, nullable=False),
    Column("answered_at", Integer),
    Column("confirmed_at", Integer),
)
Index("deliveries_by_request", deliveries.c.request)
Index(
    "deliveries_waiting_for_the_end",
    deliveries.c.request,
    sqlite_where=text("wait = 'finished' AND answered_at IS NULL"),
)
Index("deliveries_by_session", deliveries.c.session, deliveries.c.id)

#: One task within one request. `kinds` names the selectors that matched it, as `tag:2`;
#: `reason` says what it waits for, `behind` is the execution it waits behind; `running_task` is the task of
#: the execution it was skipped for, where that is another one of its app; `cancelled_by` is the request that
#: took it back or had its execution stopped; `asked_at` is not written any more. `stage` is the number of its
#: stage; when it was skipped there, `skipped_result` is how the execution ended that ran.
starts = Table(
    "starts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("request", Integer, ForeignKey("requests.id"), nullable=False),
    Column("task_id", Text, nullable=False),
    Column("task_name", Text, nullable=False),
    Column("task_type", Integer),
    Column("kinds", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("run", Integer, ForeignKey("runs.id")),
    Column("behind", Text),
    Column("reason", Text),
    Column("asked_at", Integer),
    Column("execution_id", Text),
    Column("adopted", Boolean, nullable=False, default=False),
    Column("code", Text),
    Column("details", Text),
    Column("changed_at", Integer, nullable=False),
    Column("stage", Integer),
    Column("skipped_result", Text),
    Column("running_task", Text),
    Column("cancelled_by", Integer),
)
Index("starts_waiting", starts.c.task_id, starts.c.id, sqlite_where=starts.c.state == "waiting")
Index("starts_by_request", starts.c.request)
# Planned starts are few, and those of open requests. What has to be on disk before a POST is the less.
Index("starts_by_task", starts.c.task_id, starts.c.request, sqlite_where=text("state <> 'planned'"))
Index(
    "starts_ended",
    starts.c.state,
    starts.c.code,
    starts.c.request,
    sqlite_where=text("state NOT IN ('planned', 'waiting', 'running')"),
)
Index("starts_by_run", starts.c.run, sqlite_where=text("state <> 'planned'"))

#: One POST to the server: the intent and what the server showed before it, then the execution it led to.
#: `events` are the events already published, separated by commas; `nothing_at` is the `clock.moment` at
#: which a snapshot first showed nothing of a run in doubt.
runs = Table(
    "runs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("task_id", Text, nullable=False),
    Column("task_type", Integer),
    Column("state", Text, nullable=False),
    Column("intended_at", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("baseline_result", Text),
    Column("baseline_began", Integer),
    Column("server_date", Integer),
    Column("execution_id", Text),
    Column("answered_at", Integer),
    Column("details", Text),
    Column("events", Text),
    Column("result", Text),
    Column("node", Text),
    Column("started_at", Integer),
    Column("stopped_at", Integer),
    Column("duration_ms", Integer),
    Column("message", Text),
    Column("ended_at", Integer),
    Column("nothing_at", Integer),
)
Index("runs_executing", runs.c.id, sqlite_where=runs.c.state == "executing")
Index("runs_by_execution", runs.c.execution_id, sqlite_where=runs.c.execution_id.isnot(None))
Index(
    "runs_one_open_for_a_task",
    runs.c.task_id,
    unique=True,
    sqlite_where=runs.c.state.in_(["intended", "posted"]),
)

#: What is still to be published; a row is deleted when the broker has confirmed it. With `quarantined_at` it
#: is a dead letter, which the broker does not take, or held since a backup was restored.
outbox = Table(
    "outbox",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("request", Integer, ForeignKey("requests.id"), nullable=False),
    Column("delivery", Integer, ForeignKey("deliveries.id")),
    Column("kind", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("correlation", LargeBinary),
    Column("created_at", Integer, nullable=False),
    Column("refusals", Integer, nullable=False, default=0),
    Column("quarantined_at", Integer),
    Column("reason", Text),
)
Index("outbox_by_request", outbox.c.request)
Index("outbox_quarantined", outbox.c.quarantined_at, sqlite_where=outbox.c.quarantined_at.isnot(None))

#: Namespaces of parameters: one without keys still exists, until it is deleted.
parameter_namespaces = Table(
    "parameter_namespaces",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
)

#: Parameters for load scripts to read; from `expires_at` on one counts as deleted.
parameters = Table(
    "parameters",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("namespace", Integer, ForeignKey("parameter_namespaces.id"), nullable=False),
    Column("key", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("expires_at", Integer),
)
Index("parameters_by_key", parameters.c.namespace, parameters.c.key, unique=True)
Index("parameters_expiring", parameters.c.expires_at, sqlite_where=parameters.c.expires_at.isnot(None))

#: Topic filters of rules. The id is the Subscription Identifier, so that it is known to the broker for longer
#: than a process lives, and is not used for another filter. `unwanted_at`: no rule has it any more, and the
#: session has it still; without it any more the row is `gone_at`.
rule_filters = Table(
    "rule_filters",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("filter", Text, nullable=False),
    Column("unwanted_at", Integer),
    Column("gone_at", Integer),
)

#: The last messages that rules judged, with which a redelivery is compared: those of the session with the
#: broker as it is now.
rule_packets = Table(
    "rule_packets",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("packet_id", Integer, nullable=False),
    Column("digest", LargeBinary, nullable=False),
)

#: Messages of one rule and key that are to become one request. `settings` is the rule as it was when the
#: first one came, `payload` to `received_at` are of the last; `first_moment` and `last_moment` are
#: `clock.moment`s, which no clock that is set can shift, beside the times for after a reboot.
rule_windows = Table(
    "rule_windows",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("rule", Text, nullable=False),
    Column("key", Text),
    Column("settings", Text, nullable=False),
    Column("first_at", Integer, nullable=False),
    Column("last_at", Integer, nullable=False),
    Column("first_moment", Integer, nullable=False),
    Column("last_moment", Integer, nullable=False),
    Column("count", Integer, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("topic", Text),
    Column("properties", Text, nullable=False),
    Column("received_at", Integer, nullable=False),
)

#: What became of the messages of each rule, since it was first seen.
rule_counts = Table(
    "rule_counts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("rule", Text, nullable=False, unique=True),
    Column("started", Integer, nullable=False),
    Column("unmatched", Integer, nullable=False),
    Column("coalesced", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("error", Integer, nullable=False),
    Column("last_at", Integer),
    Column("matched_at", Integer),
    Column("problem", Text),
)

#: One process start of the daemon on this journal.
process_starts = Table(
    "lives",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("began_at", Integer, nullable=False),
    Column("version", Text, nullable=False),
)
Index("lives_by_time", process_starts.c.began_at)

#: What happens seldom to a request or a run and would be asked for afterwards: a redelivery, a doubt, what
#: the Qlik server showed about a doubt, the end of a script log. `kind` is one of the words of docs/audit.md.
notes = Table(
    "notes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("request", Integer, ForeignKey("requests.id")),
    Column("run", Integer, ForeignKey("runs.id")),
    Column("noted_at", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("text", Text, nullable=False),
)
Index("notes_by_request", notes.c.request, sqlite_where=notes.c.request.isnot(None))
Index("notes_by_run", notes.c.run, sqlite_where=notes.c.run.isnot(None))

#: Alerts, one row for each target. One with `sent_at` stays until another one about the same may be sent, one
#: with `quarantined_at` was set aside for `reason`. `content` is a `domain.alert.Alert`.
alerts = Table(
    "alerts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("target", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("created_at", Integer, nullable=False),
    Column("due_at", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("reason", Text),
    Column("sent_at", Integer),
    Column("quarantined_at", Integer),
)
Index("alerts_set_aside", alerts.c.quarantined_at, sqlite_where=alerts.c.quarantined_at.isnot(None))

#: What is wrong at present and has been alerted: a task that fails, by its id, a neighbour out of reach.
alert_conditions = Table(
    "alert_conditions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("subject", Text, nullable=False, unique=True),
    Column("since", Integer, nullable=False),
    Column("count", Integer, nullable=False),
)

#: What alerts say of a task, and select it by, as it was read last: executions that go on do not show it.
alert_tasks = Table(
    "alert_tasks",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("task_id", Text, nullable=False, unique=True),
    Column("content", Text, nullable=False),
)

#: Tasks of `alerts.overdue`: since when each has not succeeded, and since when that has been too long.
overdue_tasks = Table(
    "overdue_tasks",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("entry", Text, nullable=False),
    Column("task_id", Text, nullable=False),
    Column("counted_from", Integer, nullable=False),
    Column("overdue_at", Integer),
)
Index("overdue_tasks_by_entry", overdue_tasks.c.entry, overdue_tasks.c.task_id, unique=True)
