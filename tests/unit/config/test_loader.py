"""The settings that a configuration file gives."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from butler_mqtt.settings import Settings, Token
from tests.unit.config.configuration_files import HEAD, PEM, load, load_whole, problems, problems_of_whole

GUID = "7552D9FC-D1BB-4975-9A38-18357DE531EA"


def test_what_is_left_out_keeps_its_default(tmp_path: Path) -> None:
    loaded = load(tmp_path, "")
    defaults = Settings()
    assert loaded.mqtt == defaults.mqtt
    assert loaded.start_task == defaults.start_task
    assert loaded.rest == defaults.rest
    assert loaded.monitoring == defaults.monitoring
    assert loaded.start_task_filter == defaults.start_task_filter


def test_an_empty_section_keeps_its_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, "mqttConfig:\njournal:\n").mqtt == Settings().mqtt


@pytest.mark.parametrize(
    ("written", "version"), [("5", "5"), ('"5"', "5"), ("3.1.1", "3.1.1"), ("'3.1.1'", "3.1.1")]
)
def test_the_protocol_version_may_be_a_number_or_text(tmp_path: Path, written: str, version: str) -> None:
    assert load(tmp_path, f"mqttConfig: {{protocolVersion: {written}}}").mqtt.protocol_version == version


@pytest.mark.parametrize(
    ("written", "level"),
    [("info", "info"), ("verbose", "debug"), ("silly", "debug"), ("' WARN '", "warn"), ("Error", "error")],
)
def test_butlers_log_levels_are_understood(tmp_path: Path, written: str, level: str) -> None:
    assert load(tmp_path, f"logLevel: {written}").log_level == level


def test_durations_are_floats_whatever_is_written(tmp_path: Path) -> None:
    start_task = load(tmp_path, "startTask: {requestDeadlineSeconds: 60, maxAgeSeconds: 5}").start_task
    assert [type(start_task.request_deadline_seconds), type(start_task.max_age_seconds)] == [float, float]


@pytest.mark.parametrize(("written", "limit"), [("auto", "auto"), ("7", 7), ("0", 0)])
def test_concurrent_reloads_are_a_number_or_auto(tmp_path: Path, written: str, limit: int | str) -> None:
    assert (
        load(tmp_path, f"startTask: {{maxConcurrentReloads: {written}}}").start_task.max_concurrent_reloads
        == limit
    )


def test_the_filter_holds_lower_case_ids_tags_and_pairs(tmp_path: Path) -> None:
    allow = f"{{taskId: [{GUID}], tag: [yes, 12:30], customProperty: [{{name: group, value: a}}]}}"
    found = load(tmp_path, f"startTaskFilter: {{enable: true, allowTask: {allow}}}").start_task_filter
    assert found.task_ids == {GUID.lower()}
    assert found.tags == ("yes", "12:30")
    assert found.custom_properties == (("group", "a"),)


def test_an_empty_reply_topic_list_stays_empty(tmp_path: Path) -> None:
    assert load(tmp_path, "mqttConfig: {replyTopicAllow: []}").mqtt.reply_topic_allow == ()


def test_static_headers_replace_the_default(tmp_path: Path) -> None:
    header = "{name: x-qlik-user, value: UserDirectory=A; UserId=b}"
    text = f"Butler: {{configQRS: {{host: h, useSSL: false, headers: {{static: [{header}]}}}}}}"
    assert load_whole(tmp_path, text).qrs.headers == (("x-qlik-user", "UserDirectory=A; UserId=b"),)


def test_relative_paths_start_from_the_folder_of_the_file(tmp_path: Path) -> None:
    for name in ("c.pem", "k.pem", "ca.pem"):
        (tmp_path / name).write_text(PEM)
    cert = f"{{clientCert: c.pem, clientCertKey: {tmp_path}/k.pem, clientCertCA: ca.pem}}"
    qrs = load_whole(tmp_path, f"Butler: {{configQRS: {{host: h}}, cert: {cert}}}").qrs
    wanted = [tmp_path / "c.pem", tmp_path / "k.pem", tmp_path / "ca.pem"]
    assert [qrs.client_cert, qrs.client_cert_key, qrs.client_cert_ca] == wanted


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    assert load_whole(tmp_path, b"\xef\xbb\xbf" + HEAD.encode()).qrs.host == "sense.test"


class TestEnvironment:
    def test_a_variable_fills_its_place_inside_text(self, tmp_path: Path) -> None:
        mqtt = load(tmp_path, "mqttConfig: {brokerHost: 'mq.${SITE}.test'}", {"SITE": "oslo"}).mqtt
        assert mqtt.broker_host == "mq.oslo.test"

    def test_text_of_a_variable_becomes_the_number_or_boolean_that_is_wanted(self, tmp_path: Path) -> None:
        text = "mqttConfig: {brokerPort: '${PORT}', enable: '${ON}'}\njournal: {retentionDays: '${DAYS}'}"
        loaded = load(tmp_path, text, {"PORT": "8883", "ON": "False", "DAYS": "1.5"})
        assert (loaded.mqtt.broker_port, loaded.mqtt.enable, loaded.journal.retention_days) == (
            8883,
            False,
            1.5,
        )

    def test_text_of_a_variable_stays_text_where_text_is_wanted(self, tmp_path: Path) -> None:
        mqtt = load(
            tmp_path, "mqttConfig: {username: '${U}', password: '${P}'}", {"U": "1", "P": "true"}
        ).mqtt
        assert (mqtt.username, mqtt.password) == ("1", "true")

    def test_an_empty_variable_is_null_where_null_is_allowed(self, tmp_path: Path) -> None:
        assert load(tmp_path, "mqttConfig: {username: '${U}'}", {"U": ""}).mqtt.username is None

    @pytest.mark.parametrize("environ", [{}, {"HOST": ""}])
    def test_the_text_behind_a_dash_stands_in_for_an_absent_or_empty_variable(
        self, tmp_path: Path, environ: dict[str, str]
    ) -> None:
        assert load(tmp_path, "mqttConfig: {brokerHost: '${HOST:-mq}'}", environ).mqtt.broker_host == "mq"

    def test_a_variables_own_dollars_are_not_read_again(self, tmp_path: Path) -> None:
        mqtt = load(tmp_path, "mqttConfig: {username: u, password: '${P}'}", {"P": "a${B}$${"}).mqtt
        assert mqtt.password == "a${B}$${"

    def test_a_doubled_dollar_before_a_brace_is_a_plain_one(self, tmp_path: Path) -> None:
        assert (
            load(tmp_path, "mqttConfig: {username: u, password: 'a$${B}$$c$'}").mqtt.password == "a${B}$$c$"
        )

    def test_an_unset_variable_is_a_problem_of_its_line(self, tmp_path: Path) -> None:
        assert problems(tmp_path, "mqttConfig:\n  brokerPort: ${PORT}") == [
            "line 4: Butler.mqttConfig.brokerPort: the environment variable PORT is not set"
        ]

    def test_a_broken_reference_is_a_problem(self, tmp_path: Path) -> None:
        (problem,) = problems(tmp_path, "mqttConfig: {username: 'a${b'}")
        assert "`$${` is a plain `${`" in problem

    def test_a_variable_that_does_not_fit_is_shown_by_its_name_only(self, tmp_path: Path) -> None:
        (problem,) = problems(tmp_path, "mqttConfig: {brokerPort: '${PORT}'}", {"PORT": "hunter2"})
        assert "'${PORT}'" in problem
        assert "hunter2" not in problem

    def test_nothing_is_filled_in_where_butlers_keys_are_ignored(self, tmp_path: Path) -> None:
        assert load(tmp_path, "slackNotification: {text: '${UNSET}'}").ignored == ("slackNotification",)


class TestSecrets:
    @pytest.mark.parametrize("end", ["", "\n", "\r\n"])
    def test_a_password_file_loses_one_newline(self, tmp_path: Path, end: str) -> None:
        (tmp_path / "p").write_bytes(b" hunter2 " + end.encode())
        assert load(tmp_path, "mqttConfig: {username: u, passwordFile: p}").mqtt.password == " hunter2 "

    @pytest.mark.parametrize("spelling", ["$CREDENTIALS_DIRECTORY/p", "${CREDENTIALS_DIRECTORY}/p"])
    def test_a_credential_of_systemd_is_found(self, tmp_path: Path, spelling: str) -> None:
        folder = tmp_path / "credentials"
        folder.mkdir()
        (folder / "p").write_text("hunter2\n")
        text = f"mqttConfig: {{username: u, passwordFile: '{spelling}'}}"
        assert load(tmp_path, text, {"CREDENTIALS_DIRECTORY": str(folder)}).mqtt.password == "hunter2"

    def test_credentials_without_systemd_are_a_problem(self, tmp_path: Path) -> None:
        (problem,) = problems(tmp_path, "mqttConfig: {username: u, passwordFile: $CREDENTIALS_DIRECTORY/p}")
        assert "the environment variable CREDENTIALS_DIRECTORY is not set; " in problem
        assert "export CREDENTIALS_DIRECTORY=" in problem

    def test_a_service_without_loadcredential_is_told_the_cause_and_the_way_out_once(
        self, tmp_path: Path
    ) -> None:
        text = "mqttConfig:\n  username: u\n  passwordFile: $CREDENTIALS_DIRECTORY/p\n"
        text += "cert: {clientCert: $CREDENTIALS_DIRECTORY/client.pem}"
        first, second = problems(tmp_path, text, {"INVOCATION_ID": "0123"})
        assert "systemd has not loaded the LoadCredential= files: it is older than 247, or in a cont" in first
        assert "docs/install.md#without-loadcredential" in first
        assert second.endswith("the environment variable CREDENTIALS_DIRECTORY is not set")

    @pytest.mark.parametrize(
        ("content", "fault"), [(b"", "is empty"), (b"\xff", "is not UTF-8"), (b"x" * 70000, "is larger than")]
    )
    def test_a_file_without_a_usable_secret_is_a_problem(
        self, tmp_path: Path, content: bytes, fault: str
    ) -> None:
        (tmp_path / "p").write_bytes(content)
        (problem,) = problems(tmp_path, "mqttConfig: {username: u, passwordFile: p}")
        assert f"file {tmp_path}/p {fault}" in problem

    def test_the_password_file_of_a_door_that_is_off_is_not_read(self, tmp_path: Path) -> None:
        text = "mqttConfig: {enable: false, username: u, passwordFile: absent}"
        assert load(tmp_path, text).mqtt.password is None

    def test_only_the_sha256_of_a_token_is_kept(self, tmp_path: Path) -> None:
        (tmp_path / "t").write_text("hunter2\n")
        listed = f"[{{name: a, tokenFile: t}}, {{name: b, sha256: {'AB' * 32}}}]"
        text = f"restServerConfig: {{enable: true, auth: {{tokens: {listed}}}}}"
        tokens = load(tmp_path, text).rest.tokens
        assert tokens == (Token("a", hashlib.sha256(b"hunter2").hexdigest()), Token("b", "ab" * 32))
        assert "hunter2" not in repr(tokens)

    def test_a_token_has_a_role_and_may_end(self, tmp_path: Path) -> None:
        entry = f"name: a, sha256: {'ab' * 32}, role: operator, expiresAt: 2031-01-31t08:00:00+01:00"
        (token,) = load(tmp_path, f"restServerConfig: {{auth: {{tokens: [{{{entry}}}]}}}}").rest.tokens
        assert token.role == "operator"
        assert token.expires_at == datetime(2031, 1, 31, 7, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("key", "value", "fault"),
        [
            ("role", "admin", "'admin'; allowed: sender, reader or operator"),
            ("expiresAt", "2031-01-31", "'2031-01-31'; allowed: a time with its offset"),
            ("expiresAt", "2031-02-30T08:00:00Z", "which the calendar or the clock does not have"),
        ],
    )
    def test_a_token_of_an_unknown_role_or_time_is_a_problem(
        self, tmp_path: Path, key: str, value: str, fault: str
    ) -> None:
        tokens = f"[{{name: a, sha256: {'ab' * 32}, {key}: '{value}'}}]"
        (problem,) = problems(tmp_path, f"restServerConfig: {{auth: {{tokens: {tokens}}}}}")
        assert problem.startswith(f"line 3: Butler.restServerConfig.auth.tokens[0].{key}: is ")
        assert fault in problem

    def test_no_problem_shows_a_secret(self, tmp_path: Path) -> None:
        text = """
        mqttConfig:
          brokerHost: me:hunter2@mq
          password: [hunter2]
          pasword: hunter2
          username: u
        configQRS: {headers: {static: [{name: X-Qlik-User, value: "hunter2\\n"}, hunter2]}}
        restServerConfig:
          auth: {tokens: [hunter2, {name: a, sha256: hunter2}]}
        journal: {url: "postgresql://me:hunter2@db/x?password=hunter2"}
        """
        found = problems_of_whole(tmp_path, "Butler:" + text)
        assert len(found) > 7
        assert "hunter2" not in "\n".join(found)

    @pytest.mark.parametrize(
        "text", ["a: *hunter2", "a: !hunter2 x", "a: !hunter2!x y", "a: 'x\n  hunter2", "- hunter2: ["]
    )
    def test_no_syntax_problem_shows_a_secret(self, tmp_path: Path, text: str) -> None:
        assert "hunter2" not in "\n".join(problems_of_whole(tmp_path, text))


class TestJournal:
    def test_the_journal_lies_beside_the_file(self, tmp_path: Path) -> None:
        assert load(tmp_path, "").journal.url == f"sqlite:///{tmp_path}/butler-mqtt.sqlite"

    def test_the_journal_lies_in_the_first_state_directory(self, tmp_path: Path) -> None:
        url = load(tmp_path, "", {"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}).journal.url
        assert url == "sqlite:////var/lib/a/butler-mqtt.sqlite"

    @pytest.mark.parametrize("scheme", ["sqlite", "sqlite+pysqlite"])
    def test_a_relative_journal_lies_beside_the_file_whatever_the_state_directory(
        self, tmp_path: Path, scheme: str
    ) -> None:
        url = load(tmp_path, f"journal: {{url: '{scheme}:///a/j.db'}}", {"STATE_DIRECTORY": "/s"}).journal.url
        assert url == f"sqlite:///{tmp_path}/a/j.db"

    def test_an_absolute_journal_stays_where_it_is(self, tmp_path: Path) -> None:
        assert load(tmp_path, "journal: {url: 'sqlite:////j.db'}").journal.url == "sqlite:////j.db"

    @pytest.mark.parametrize(
        "url",
        ["postgresql://db/x", "mysql://db", "sqlite://", "sqlite:///", "sqlite:///:memory:", "j.db", "/j.db"],
    )
    def test_a_journal_that_is_no_sqlite_file_is_a_problem(self, tmp_path: Path, url: str) -> None:
        (problem,) = problems(tmp_path, f"journal: {{url: '{url}'}}")
        assert problem.startswith("line 3: Butler.journal.url: ")
        assert problem.endswith("; allowed: null, or sqlite:///<file>")
