"""What a configuration file must not hold, and the problems that an operator reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from butler_mqtt.config import loader
from butler_mqtt.errors import ConfigError
from tests.unit.config.configuration_files import (
    CERTIFICATE,
    HEAD,
    KEY,
    PEM,
    load,
    load_whole,
    problems,
    problems_of_whole,
)

PORT = "a port: a whole number, 1 to 65535"


def test_all_problems_are_reported_at_once_in_the_order_of_lines(tmp_path: Path) -> None:
    text = "mqttConfig:\n  brokerPort: 99999\n  pasword: x\nlogLevel: loud\nmonitoring: {port: abc}"
    assert problems(tmp_path, text) == [
        f"line 4: Butler.mqttConfig.brokerPort: is 99999; allowed: {PORT}",
        "line 5: Butler.mqttConfig.pasword: unknown key; did you mean Butler.mqttConfig.password?",
        "line 6: Butler.logLevel: is 'loud'; allowed: error, warn, info, verbose, debug or silly",
        f"line 7: Butler.monitoring.port: is 'abc' (text); allowed: {PORT}",
    ]


def test_a_number_in_quotes_is_text(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, 'mqttConfig: {brokerPort: "1883"}')
    assert f"is '1883' (text); allowed: {PORT}" in problem


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("mqttConfig", "enable", "yes"),
        ("mqttConfig", "brokerPort", "0"),
        ("mqttConfig", "brokerPort", "true"),
        ("mqttConfig", "brokerPort", "1883.5"),
        ("mqttConfig", "brokerPort", "null"),
        ("mqttConfig", "brokerHost", "mq:1883"),
        ("mqttConfig", "brokerHost", "mqtt://mq"),
        ("mqttConfig", "brokerHost", "''"),
        ("mqttConfig", "brokerHost", "<host>"),
        ("mqttConfig", "clientId", "''"),
        ("mqttConfig", "clientId", "7"),
        ("mqttConfig", "protocolVersion", "3"),
        ("mqttConfig", "sessionExpirySeconds", "0"),
        ("mqttConfig", "receiveMaximum", "65536"),
        ("mqttConfig", "maxPayloadBytes", "-1"),
        ("mqttConfig", "username", "''"),
        ("mqttConfig", "replyTopicAllow", "a/#"),
        ("mqttConfig", "tls", "true"),
        ("configQRS", "authentication", "ntlm"),
        ("configQRS", "connectTimeoutSeconds", "0"),
        ("configQRS", "readTimeoutSeconds", ".inf"),
        ("configQRS", "readTimeoutSeconds", "1e99"),
        ("configQRS", "serverName", "a b"),
        ("startTask", "maxConcurrentReloads", "often"),
        ("startTask", "maxConcurrentReloads", "-1"),
        ("startTask", "maxConcurrentStarts", "0"),
        ("startTask", "ifRunning", "wait"),
        ("startTask", "maxAgeSeconds", "0"),
        ("startTask", "requestDeadlineSeconds", "-5"),
        ("journal", "retentionDays", "0"),
        ("restServerConfig", "serverPort", "70000"),
        ("restServerConfig", "restWaitSeconds", "soon"),
        ("restServerConfig", "auth", "[]"),
    ],
)
def test_a_value_that_does_not_fit_is_told_with_what_is_allowed(
    tmp_path: Path, section: str, key: str, value: str
) -> None:
    host = "host: h, useSSL: false, " if section == "configQRS" else ""
    first = "" if section == "configQRS" else "configQRS: {host: h, useSSL: false}"
    (problem,) = problems_of_whole(tmp_path, f"Butler:\n  {first}\n  {section}: {{{host}{key}: {value}}}")
    assert problem.startswith(f"line 3: Butler.{section}.{key}: is ")
    assert "; allowed: " in problem


@pytest.mark.parametrize(
    "host", ["mq", "mq.test", "10.0.0.1", "::1", "fe80::1%eth0", "müller.test", "my_host"]
)
def test_names_and_addresses_are_hosts(tmp_path: Path, host: str) -> None:
    assert load(tmp_path, f"mqttConfig: {{brokerHost: '{host}'}}").mqtt.broker_host == host


class TestUnknownKeys:
    @pytest.mark.parametrize(
        ("section", "key", "meant"),
        [
            ("mqttConfig", "brokerHots", "Butler.mqttConfig.brokerHost"),
            ("mqttConfig", "BROKERPORT", "Butler.mqttConfig.brokerPort"),
            ("mqttConfig", "port", "Butler.mqttConfig.brokerPort"),
            ("journal", "brokerPort", "Butler.mqttConfig.brokerPort"),
            ("mqttConfig", "subscriptionRotTopic", "Butler.mqttConfig.subscriptionRootTopic"),
            ("startTaskFilter", "tag", "Butler.startTaskFilter.allowTask.tag"),
        ],
    )
    def test_the_nearest_known_key_is_named_with_its_place(
        self, tmp_path: Path, section: str, key: str, meant: str
    ) -> None:
        assert problems(tmp_path, f"{section}: {{{key}: 1}}") == [
            f"line 3: Butler.{section}.{key}: unknown key; did you mean {meant}?"
        ]

    def test_without_a_near_one_the_known_keys_are_listed(self, tmp_path: Path) -> None:
        (problem,) = problems(tmp_path, "journal: {xyzzy: 1}")
        assert problem.endswith("unknown key; known here: retentionDays, url")

    def test_a_section_outside_butler_is_sent_there(self, tmp_path: Path) -> None:
        found = problems_of_whole(tmp_path, HEAD + "mqttConfig: {}\n")
        assert found == ["line 3: mqttConfig: unknown key; did you mean Butler.mqttConfig?"]


class TestMissing:
    def test_the_root_key_is_needed(self, tmp_path: Path) -> None:
        found = problems_of_whole(tmp_path, "{}")
        assert found[0] == "line 1: Butler: is missing; allowed: a section of keys"

    def test_the_qlik_sense_host_is_needed(self, tmp_path: Path) -> None:
        found = problems_of_whole(tmp_path, "Butler:\n  cert: {}\n")
        assert "line 1: Butler.configQRS.host: is missing; allowed: a host name" in "\n".join(found)

    def test_tls_to_qlik_sense_needs_certificate_and_key(self, tmp_path: Path) -> None:
        found = problems_of_whole(tmp_path, "Butler:\n  configQRS: {host: h}\n")
        assert [line.split(": ")[1] for line in found] == [
            "Butler.cert.clientCert",
            "Butler.cert.clientCertKey",
        ]

    def test_a_custom_property_needs_its_value(self, tmp_path: Path) -> None:
        (problem,) = problems(tmp_path, "startTaskFilter: {allowTask: {customProperty: [{name: a}]}}")
        assert "Butler.startTaskFilter.allowTask.customProperty[0].value: is missing" in problem


class TestTopics:
    @pytest.mark.parametrize(
        "key", ["taskStartTopic", "taskStartReplyTopic", "taskEventTopic", "statusTopic"]
    )
    @pytest.mark.parametrize("topic", ["''", "a/+", "a/#", "$SYS/a", '"a\\tb"', "a" * 65536])
    def test_a_topic_that_cannot_be_used_is_a_problem(self, tmp_path: Path, key: str, topic: str) -> None:
        (problem,) = problems(tmp_path, f"mqttConfig: {{{key}: {topic}}}")
        assert problem.startswith(f"line 3: Butler.mqttConfig.{key}: ")

    @pytest.mark.parametrize(
        ("text", "keys"),
        [
            ("taskStartTopic: x, statusTopic: x", ("taskStartTopic", "statusTopic")),
            ("taskStartTopic: qliksense/butler/status", ("taskStartTopic", "statusTopic")),
            ("taskStartReplyTopic: qliksense/task/start", ("taskStartTopic", "taskStartReplyTopic")),
            ("taskEventTopic: qliksense/task", ("taskStartTopic", "taskEventTopic")),
            ("statusTopic: qliksense/task/event/s", ("statusTopic", "taskEventTopic")),
        ],
    )
    def test_topics_that_overlap_are_told_together(
        self, tmp_path: Path, text: str, keys: tuple[str, str]
    ) -> None:
        found = problems(tmp_path, f"mqttConfig: {{{text}}}")
        assert any(all(key in problem for key in keys) and "overlap" in problem for problem in found)

    @pytest.mark.parametrize("allowed", ["''", "a/#/b", "a+", "$SYS/#"])
    def test_a_reply_filter_that_cannot_be_used_is_a_problem(self, tmp_path: Path, allowed: str) -> None:
        (problem,) = problems(tmp_path, f"mqttConfig: {{replyTopicAllow: [a/b, {allowed}]}}")
        assert problem.startswith("line 3: Butler.mqttConfig.replyTopicAllow[1]: ")

    def test_the_reply_topic_of_the_file_needs_no_reply_filter(self, tmp_path: Path) -> None:
        text = "mqttConfig: {taskStartReplyTopic: mine/reply, replyTopicAllow: [theirs/#]}"
        assert load(tmp_path, text).mqtt.task_start_reply_topic == "mine/reply"

    def test_topics_are_not_checked_where_mqtt_is_off(self, tmp_path: Path) -> None:
        assert not load(tmp_path, "mqttConfig: {enable: false, taskStartTopic: ''}").mqtt.enable


class TestCredentials:
    def test_a_password_needs_a_username(self, tmp_path: Path) -> None:
        (problem,) = problems(tmp_path, "mqttConfig: {password: x}")
        assert problem.startswith("line 3: Butler.mqttConfig.password: is set without username")

    def test_password_and_password_file_exclude_each_other(self, tmp_path: Path) -> None:
        (tmp_path / "p").write_text("x")
        text = "mqttConfig:\n  username: u\n  password: x\n  passwordFile: p"
        assert problems(tmp_path, text) == [
            "line 6: Butler.mqttConfig.passwordFile: is set beside password (line 5); keep one of them"
        ]

    @pytest.mark.parametrize(("key", "other"), [("certFile", "keyFile"), ("keyFile", "certFile")])
    def test_certificate_and_key_come_together(self, tmp_path: Path, key: str, other: str) -> None:
        (tmp_path / "x.pem").write_text(PEM)
        (problem,) = problems(tmp_path, f"mqttConfig: {{tls: {{enable: true, {key}: x.pem}}}}")
        assert f"Butler.mqttConfig.tls.{key}: is set without {other}" in problem

    def test_tls_without_a_ca_trusts_the_system(self, tmp_path: Path) -> None:
        assert load(tmp_path, "mqttConfig: {tls: {enable: true}}").mqtt.tls.ca_file is None


class TestHeaders:
    @pytest.mark.parametrize(
        ("headers", "fault"),
        [
            ("", "lacks the header X-Qlik-User"),
            ("{name: X-Qlik-User, value: u}, {name: x-qlik-user, value: v}", "x-qlik-user stands twice"),
            ("{name: X-Qlik-User, value: u}, {name: X-Qlik-Xrfkey, value: v}", "is written by this program"),
            ("{name: x-qlik-user, value: 'UserDirectory:INTERNAL;UserId:me'}", "UserDirectory=…; UserId=…"),
            ("{name: X-Qlik-User, value: 'userdirectory = A; userid : b'}", "UserDirectory=…; UserId=…"),
            ("{name: X-Qlik-User, value: u}, {name: 'a b', value: v}", "the name of an HTTP header"),
            ('{name: X-Qlik-User, value: u}, {name: a, value: "v\\r\\n"}', "printable ASCII"),
        ],
    )
    def test_headers_that_cannot_be_sent_are_problems(self, tmp_path: Path, headers: str, fault: str) -> None:
        text = f"Butler: {{configQRS: {{host: h, useSSL: false, headers: {{static: [{headers}]}}}}}}"
        (problem,) = problems_of_whole(tmp_path, text)
        assert fault in problem


TOKEN = "eyJh.eyJl.c2ln\n"


def through_proxy(keys: str, rest: str = "") -> str:
    """Give a file with `configQRS` of a host and *keys*."""
    return f"Butler:\n  configQRS: {{host: sense.test, {keys}}}\n{rest}"


class TestProxy:
    def test_a_token_needs_no_certificate_and_no_user(self, tmp_path: Path) -> None:
        (tmp_path / "butler.jwt").write_text(TOKEN)
        text = through_proxy(
            "authentication: jwt, virtualProxy: /butler/, jwtFile: butler.jwt",
            "  cert: {clientCert: absent.pem, clientCertKey: absent.pem}\n",
        )
        qrs = load_whole(tmp_path, text).qrs
        assert (qrs.port, qrs.root, qrs.jwt_file) == (443, "/butler/qrs", tmp_path / "butler.jwt")
        assert (qrs.headers, qrs.client_cert, qrs.client_cert_key) == ((), None, None)

    def test_a_port_that_is_written_stays(self, tmp_path: Path) -> None:
        header = "headers: {static: [{name: hdr-usr, value: a}]}"
        qrs = load_whole(tmp_path, through_proxy(f"authentication: header, port: 8443, {header}")).qrs
        assert (qrs.port, qrs.root, qrs.headers) == (8443, "/qrs", (("hdr-usr", "a"),))

    @pytest.mark.parametrize(
        ("keys", "fault"),
        [
            ("authentication: jwt", "jwtFile: is missing, and authentication: jwt needs it"),
            ("authentication: jwt, jwtFile: absent", "absent does not exist"),
            ("authentication: jwt, jwtFile: empty", "empty is empty"),
            ("authentication: jwt, jwtFile: bearer", "bearer holds no token: one word of three parts"),
            ("authentication: jwt, jwtFile: token, virtualProxy: a b", "the prefix of a virtual proxy"),
            ("authentication: header", "lacks the header that the virtual proxy takes the user from"),
            (
                "authentication: header, headers: {static: [{name: X-Qlik-User, value: a}]}",
                "lacks the header that the virtual proxy takes the user from",
            ),
            ("useSSL: false, virtualProxy: butler", "authentication: certificates knows no virtual proxy"),
            ("useSSL: false, jwtFile: token", "is set, and authentication is certificates; write jwt"),
            (
                "authentication: jwt, jwtFile: token, headers: {static: [{name: Authorization, value: a}]}",
                "authorization is written by this program itself",
            ),
            (
                "authentication: header, headers: {static: [{name: u, value: a}, {name: cookie, value: b}]}",
                "cookie is written by this program itself",
            ),
        ],
    )
    def test_what_does_not_fit_the_login_is_a_problem(self, tmp_path: Path, keys: str, fault: str) -> None:
        (tmp_path / "token").write_text(TOKEN)
        (tmp_path / "empty").write_text("\n")
        (tmp_path / "bearer").write_text(f"Bearer {TOKEN}")
        (problem,) = problems_of_whole(tmp_path, through_proxy(keys))
        assert fault in problem
        assert "eyJ" not in problem


class TestFiles:
    def test_a_certificate_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        text = "Butler:\n  configQRS: {host: h}\n  cert: {clientCert: c.pem, clientCertKey: k.pem}\n"
        assert problems_of_whole(tmp_path, text) == [
            f"line 3: Butler.cert.clientCert: file {tmp_path}/c.pem does not exist",
            f"line 3: Butler.cert.clientCertKey: file {tmp_path}/k.pem does not exist",
        ]

    def test_a_loop_of_links_cannot_be_read(self, tmp_path: Path) -> None:
        (tmp_path / "ca.pem").symlink_to("ca.pem")
        (problem,) = problems(tmp_path, "mqttConfig: {tls: {enable: true, caFile: ca.pem}}")
        assert "ca.pem cannot be read: Too many levels of symbolic links" in problem

    @pytest.mark.parametrize(
        ("content", "fault"),
        [
            ("junk", "is not PEM"),
            ("-----BEGIN ENCRYPTED PRIVATE KEY-----\n", "holds an encrypted private key and no certificate"),
            (KEY, "holds a private key and no certificate; are certificate and key swapped?"),
            ("-----BEGIN CERTIFICATE REQUEST-----\n", "holds a certificate request and no certificate"),
        ],
    )
    def test_a_file_that_tls_cannot_use_is_a_problem(self, tmp_path: Path, content: str, fault: str) -> None:
        (tmp_path / "ca.pem").write_text(content)
        (problem,) = problems(tmp_path, "mqttConfig: {tls: {enable: true, caFile: ca.pem}}")
        assert fault in problem

    @pytest.mark.parametrize(
        ("content", "fault"),
        [
            ("junk", "is not PEM"),
            ("-----BEGIN ENCRYPTED PRIVATE KEY-----\n", "is encrypted; write it without a pass phrase"),
            ("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n", "is encrypted"),
            (CERTIFICATE, "holds a certificate and no private key; are certificate and key swapped?"),
        ],
    )
    def test_a_key_that_tls_cannot_use_is_a_problem(self, tmp_path: Path, content: str, fault: str) -> None:
        (tmp_path / "key.pem").write_text(content)
        (tmp_path / "cert.pem").write_text(CERTIFICATE)
        text = "mqttConfig: {tls: {enable: true, certFile: cert.pem, keyFile: key.pem}}"
        (problem,) = problems(tmp_path, text)
        assert "mqttConfig.tls.keyFile" in problem
        assert fault in problem

    def test_a_comment_of_a_certificate_may_hold_any_word(self, tmp_path: Path) -> None:
        (tmp_path / "ca.pem").write_text(f"Subject: CN = ENCRYPTED\nProc-Type: 4,ENCRYPTED\n{CERTIFICATE}")
        assert load(tmp_path, "mqttConfig: {tls: {enable: true, caFile: ca.pem}}").mqtt.tls.enable

    def test_files_of_what_is_off_need_not_exist(self, tmp_path: Path) -> None:
        rest = "restServerConfig: {tls: {enable: true, cert: no, key: no}}"
        text = f"mqttConfig: {{tls: {{caFile: no}}}}\n{rest}\ncert: {{clientCert: no}}"
        assert not load(tmp_path, text).qrs.use_ssl


class TestRest:
    @pytest.mark.parametrize("host", ["0.0.0.0", "10.11.12.13", "::", "butler.test"])  # noqa: S104 - being refused
    def test_listening_for_strangers_needs_a_choice_and_both_lines_are_named(
        self, tmp_path: Path, host: str
    ) -> None:
        text = f"restServerConfig:\n  enable: true\n  serverHost: '{host}'\n  allowUnauthenticated: false"
        (problem,) = problems(tmp_path, text)
        assert problem.startswith("line 5: Butler.restServerConfig.serverHost: ")
        assert "tokenFile: … } ] }` below line 3" in problem
        assert "`allowUnauthenticated: true` in line 6" in problem

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
    def test_listening_on_loopback_needs_no_choice(self, tmp_path: Path, host: str) -> None:
        assert (
            load(tmp_path, f"restServerConfig: {{enable: true, serverHost: '{host}'}}").rest.server_host
            == host
        )

    @pytest.mark.parametrize(
        "choice", ["allowUnauthenticated: true", f"auth: {{tokens: [{{name: a, sha256: {'0' * 64}}}]}}"]
    )
    def test_either_choice_opens_the_listener(self, tmp_path: Path, choice: str) -> None:
        text = f"restServerConfig: {{enable: true, serverHost: 10.0.0.1, {choice}}}"
        assert load(tmp_path, text).rest.enable

    def test_a_listener_that_is_off_needs_no_choice(self, tmp_path: Path) -> None:
        assert not load(tmp_path, "restServerConfig: {enable: false, serverHost: 10.0.0.1}").rest.enable

    def test_tls_needs_certificate_and_key(self, tmp_path: Path) -> None:
        found = problems(tmp_path, "restServerConfig: {enable: true, tls: {enable: true}}")
        assert [problem.split(": ")[1] for problem in found] == [
            "Butler.restServerConfig.tls.cert",
            "Butler.restServerConfig.tls.key",
        ]

    @pytest.mark.parametrize("token", ["{name: a}", f"{{name: a, sha256: {'0' * 64}, tokenFile: t}}"])
    def test_a_token_has_either_hash_or_file(self, tmp_path: Path, token: str) -> None:
        (problem,) = problems(tmp_path, f"restServerConfig: {{auth: {{tokens: [{token}]}}}}")
        assert problem.endswith("tokens[0]: needs one of sha256 and tokenFile")

    def test_two_tokens_of_one_name_are_a_problem(self, tmp_path: Path) -> None:
        token = f"{{name: a, sha256: {'0' * 64}}}"
        (problem,) = problems(tmp_path, f"restServerConfig: {{auth: {{tokens: [{token}, {token}]}}}}")
        assert "tokens[1]: has the name of the token in line 3" in problem

    def test_a_token_of_several_words_is_a_problem(self, tmp_path: Path) -> None:
        (tmp_path / "t").write_text("two words")
        text = "restServerConfig: {enable: true, auth: {tokens: [{name: a, tokenFile: t}]}}"
        (problem,) = problems(tmp_path, text)
        assert problem.endswith(f"tokenFile: file {tmp_path}/t holds more than one word of ASCII")

    def test_rest_and_monitoring_need_ports_of_their_own(self, tmp_path: Path) -> None:
        text = "restServerConfig: {enable: true}\nmonitoring: {enable: true, port: 8080}"
        (problem,) = problems(tmp_path, text)
        assert problem == "line 4: Butler.monitoring.port: 8080 is taken by restServerConfig (line 3)"


class TestTheFileItself:
    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"none\.yaml: 1 problem\n  file: does not exist"):
            loader.load(tmp_path / "none.yaml", {})

    def test_a_directory_is_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="is a directory, not a file"):
            loader.load(tmp_path, {})

    def test_a_device_without_end_is_not_read_to_its_end(self) -> None:
        with pytest.raises(ConfigError, match="is larger than 1048576 bytes"):
            loader.load(Path("/dev/zero"), {})

    @pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "---\n"])
    def test_an_empty_file_is_told_as_such(self, tmp_path: Path, text: str) -> None:
        (problem,) = problems_of_whole(tmp_path, text)
        assert "is empty; everything stands under the key `Butler`" in problem

    @pytest.mark.parametrize(("text", "what"), [("- a", "a list"), ("word", "'word' (text)")])
    def test_something_else_than_sections_is_a_problem(self, tmp_path: Path, text: str, what: str) -> None:
        assert problems_of_whole(tmp_path, text) == [
            f"line 1: file: is {what}; allowed: the section `Butler` and nothing else"
        ]

    def test_bytes_that_are_not_utf8_are_found(self, tmp_path: Path) -> None:
        (problem,) = problems_of_whole(tmp_path, b"a: 1\nb: \xe5\n")
        assert problem == "line 2: file: is not UTF-8: byte 0xe5; save it as UTF-8"
