"""
What can be configured, as frozen values with their defaults.

`config` reads them from a file; nothing else makes them up. Durations are
seconds. Secrets are kept out of `repr`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True, slots=True)
class MqttTls:
    """TLS towards the broker; the files are PEM."""

    enable: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """Section `mqttConfig`."""

    enable: bool = True
    broker_host: str = "localhost"
    broker_port: int = 1883
    protocol_version: str = "5"  #: "5" or "3.1.1"
    transport: str = "tcp"  #: "tcp" or "websockets"
    websocket_path: str = "/mqtt"
    client_id: str = "butler-mqtt"
    session_expiry_seconds: int = 604800
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: MqttTls = MqttTls()
    task_start_topic: str = "qliksense/task/start"
    task_start_reply_topic: str = "qliksense/task/start/reply"
    task_event_topic: str = "qliksense/task/event"
    status_topic: str = "qliksense/butler/status"
    reply_topic_allow: tuple[str, ...] = ("qliksense/#",)
    max_payload_bytes: int = 262144
    receive_maximum: int = 200
    sender_topics: tuple[str, ...] = ()  #: those of `senders`
    rule_filters: tuple[str, ...] = ()  #: those of `rules` that are on

    @property
    def start_topics(self) -> tuple[str, ...]:
        """The topics on which requests arrive, `task_start_topic` first."""
        return (self.task_start_topic, *self.sender_topics)


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how long one read of the QRS is repeated."""

    attempts: int = 5
    max_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class QrsSettings:
    """
    Sections `configQRS` and `cert`.

    With another authentication than certificates the port is a proxy's,
    `virtual_proxy` stands in front of its paths, and there is no client certificate.
    """

    authentication: str = "certificates"  #: "certificates", "jwt" or "header"
    host: str = "localhost"
    port: int = 4242
    server_name: str | None = None
    use_ssl: bool = True
    reject_unauthorized: bool = True
    headers: tuple[tuple[str, str], ...] = field(
        default=(("X-Qlik-User", "UserDirectory=INTERNAL; UserId=sa_repository"),), repr=False
    )
    connect_timeout_seconds: float = 5.0
    read_timeout_seconds: float = 30.0
    retry: Retry = Retry()
    virtual_proxy: str | None = None  #: without slashes at its ends; None is the proxy's default
    jwt_file: Path | None = None
    client_cert: Path | None = None
    client_cert_key: Path | None = None
    client_cert_ca: Path | None = None

    @property
    def through_proxy(self) -> bool:
        """Whether the calls go through a Qlik proxy, which keeps a session."""
        return self.authentication != "certificates"

    @property
    def user_id(self) -> str:
        """The user id of the header `X-Qlik-User`, which sessions show after the directory; else empty."""
        users = (value for name, value in self.headers if name.lower() == "x-qlik-user")
        return next(users, "").rpartition("=")[2].strip()

    @property
    def root(self) -> str:
        """The path of the repository's calls, without a slash at its end."""
        return f"/{self.virtual_proxy}/qrs" if self.virtual_proxy else "/qrs"


@dataclass(frozen=True, slots=True)
class StartTaskFilter:
    """
    Section `startTaskFilter`: which tasks may be started.

    `task_ids` are lower-case GUIDs; `custom_properties` are (name, value).
    Enabled with empty lists, nothing may start.
    """

    enable: bool = False
    task_ids: frozenset[str] = frozenset()
    tags: tuple[str, ...] = ()
    custom_properties: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class StartTask:
    """Section `startTask`: limits and habits of starting."""

    max_tasks_per_request: int = 200
    max_open_requests: int = 100000
    max_concurrent_starts: int = 4
    request_deadline_seconds: float = 3600.0
    max_age_seconds: float | None = None
    if_running: str = "queue"  #: "queue" or "skip"
    max_concurrent_reloads: int | str = 0  #: 0 no limit, a number, or "auto"
    allow_stop: bool = False  #: whether a cancel may stop executions
    script_log_lines: int = 20  #: last lines of the script log published with a failed reload, 0 for none


@dataclass(frozen=True, slots=True)
class JournalSettings:
    """Section `journal`; `url` is an SQLAlchemy URL, already resolved to a file."""

    url: str = "sqlite:///butler-mqtt.sqlite"
    retention_days: float = 30.0


@dataclass(frozen=True, slots=True)
class RestTls:
    """TLS of the REST listener; the files are PEM, `ca` asks for client certificates."""

    enable: bool = False
    cert: Path | None = None
    key: Path | None = None
    ca: Path | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """
    One bearer token: its name for the audit and its SHA-256 in lower-case hex.

    From `expires_at` (aware) on it is refused; None: never.
    """

    name: str
    sha256: str = field(repr=False)
    role: str = "sender"  #: "sender", "reader" or "operator"
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RestSettings:
    """Section `restServerConfig`."""

    enable: bool = False
    server_host: str = "127.0.0.1"
    server_port: int = 8080
    max_body_bytes: int = 262144
    rest_wait_seconds: float = 30.0
    allow_unauthenticated: bool = False
    tls: RestTls = RestTls()
    tokens: tuple[Token, ...] = ()


#: What a sender may do, unless `may` says less.
ACTIONS = ("start", "cancel", "dryRun", "parameters")


@dataclass(frozen=True, slots=True)
class Sender:
    """
    One entry of `senders`: where its requests come from, and what they may do.

    `certificates` are common names of client certificates. `allow_task` is
    enabled where it is there; None allows whatever `startTaskFilter` does.
    """

    name: str
    topic: str | None = None
    tokens: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()
    allow_task: StartTaskFilter | None = None
    requests_per_minute: int | None = None
    may: tuple[str, ...] = ACTIONS  #: of `ACTIONS`
    sees_all: bool = False


@dataclass(frozen=True, slots=True)
class WebPageSettings:
    """Section `webPage`; `origins` are addresses as browsers have them, in lower case."""

    enable: bool = False
    origins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KeyValueStoreSettings:
    """Section `keyValueStore`; `endpoints` is Butler's `restServerEndpointsEnable.keyValueStore`."""

    enable: bool = False
    max_keys_per_namespace: int = 1000
    endpoints: bool = True


@dataclass(frozen=True, slots=True)
class MonitoringSettings:
    """Section `monitoring`."""

    enable: bool = False
    host: str = "127.0.0.1"
    port: int = 9464


#: For which a target hears at most once of a task and kind, by default.
MIN_INTERVAL_SECONDS = 300.0

#: What may be alerted, in the order of docs/alerts.md; the default of a target's `on`.
ALERT_KINDS = (
    "executionFailed",
    "executionAborted",
    "recovered",
    "notStarted",
    "outcomeUnknown",
    "overdue",
    "qrsUnreachable",
    "brokerUnreachable",
    "replyUndeliverable",
    "ruleFailed",
    "certificateExpiring",
    "diskLow",
)


@dataclass(frozen=True, slots=True)
class AlertTarget:
    """
    One of `alerts.targets`: where alerts go, and which.

    `url` is one that Apprise understands, and holds secrets. Without `tags` and
    `custom_properties` (name, value) it hears of all tasks.
    """

    name: str
    url: str = field(repr=False)
    on: tuple[str, ...] = ALERT_KINDS
    tags: tuple[str, ...] = ()
    custom_properties: tuple[tuple[str, str], ...] = ()
    script_log: bool = False
    min_interval_seconds: float = MIN_INTERVAL_SECONDS


@dataclass(frozen=True, slots=True)
class OverdueEntry:
    """One of `alerts.overdue`: by `kind`, the key of a selector, which tasks must succeed how often."""

    kind: str
    value: str
    name: str = ""  #: of the custom property
    every_seconds: float = 86400.0


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """Section `alerts`."""

    enable: bool = False
    targets: tuple[AlertTarget, ...] = ()
    overdue: tuple[OverdueEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class Coalesce:
    """
    Key `coalesce` of a rule: messages that come close together make one request.

    A window ends `quiet_seconds` after its last message and `max_seconds` after
    its first. `key` is an expression; each of its values has a window of its own.
    """

    quiet_seconds: float = 30.0
    max_seconds: float = 300.0
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Webhook:
    """Key `webhook` of a rule; without a `secret` its callers need a token."""

    secret: bytes | None = field(default=None, repr=False)
    signature_header: str = "X-Hub-Signature-256"


@dataclass(frozen=True, slots=True)
class RuleSettings:
    """
    One entry of `rules`.

    `when` and the texts of `start` are as the file has them: a CEL expression,
    and the keys of a request with `${{ }}` in them.
    """

    name: str
    enable: bool = True
    topics: tuple[str, ...] = ()
    webhook: Webhook | None = None
    payload: str = "json"  #: "json", "text" or "none"
    when: str | None = None
    start: Mapping[str, object] = field(default_factory=dict)
    coalesce: Coalesce | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """
    The whole file.

    `ignored` names Butler's sections and keys that mean nothing here, `notifications`
    those of them that call somebody and are on, `older` says what of a file for an
    older Butler was understood, and how.
    """

    log_level: str = "info"
    mqtt: MqttSettings = MqttSettings()
    qrs: QrsSettings = QrsSettings()
    start_task_filter: StartTaskFilter = StartTaskFilter()
    start_task: StartTask = StartTask()
    journal: JournalSettings = JournalSettings()
    rest: RestSettings = RestSettings()
    web_page: WebPageSettings = WebPageSettings()
    key_value_store: KeyValueStoreSettings = KeyValueStoreSettings()
    monitoring: MonitoringSettings = MonitoringSettings()
    senders: tuple[Sender, ...] = ()
    unknown_senders: str = "allow"  #: "allow" or "deny"
    alerts: AlertSettings = AlertSettings()
    rules: tuple[RuleSettings, ...] = ()
    ignored: tuple[str, ...] = ()
    notifications: tuple[str, ...] = ()
    older: tuple[str, ...] = ()
