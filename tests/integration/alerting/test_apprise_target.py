"""Sending to a real web server and a real mail server through Apprise."""

from __future__ import annotations

import socket
import threading

import pytest

from butler_mqtt.alerting.alert_sender import AlertSender, OutgoingAlert, TargetRefused
from butler_mqtt.alerting.apprise_target import AppriseTarget, fault, secrets
from butler_mqtt.domain.completions import AlertSent
from butler_mqtt.settings import AlertTarget
from tests.brokers import free_port, until
from tests.integration.alerting.targets import mailbox, webhook


def test_a_webhook_gets_title_text_and_whether_it_is_good_or_bad() -> None:
    with webhook() as hook:
        target = AppriseTarget(hook.url)
        target.send("task Sales failed", "Reason: none", good=False)
        target.send("task Sales recovered", "Reason: none", good=True)
    assert [(one["title"], one["message"], one["type"]) for one in hook.came] == [
        ("task Sales failed", "Reason: none", "failure"),
        ("task Sales recovered", "Reason: none", "success"),
    ]


def test_a_mail_has_the_title_as_its_subject_and_every_line_of_the_text() -> None:
    with mailbox() as box:
        AppriseTarget(box.url).send("task Sales failed", "Task: <Sales>\nReason: ü & more", good=False)
    (mail,) = box.came
    assert mail["Subject"] == "task Sales failed"
    assert mail["To"] == "bi@example.com"
    text = mail.as_string()
    assert "Sales" in text
    assert "more" in text


@pytest.mark.parametrize("status", [404, 500])
def test_a_target_that_refuses_is_one_call_and_a_reason(status: int) -> None:
    with webhook(status) as hook:
        with pytest.raises(TargetRefused, match=f"error={status}"):
            AppriseTarget(hook.url).send("title", "body", good=False)
        assert hook.calls == 1


def test_a_target_that_is_not_there_is_a_reason_without_its_secrets() -> None:
    url = f"json://user:s3cret-word@127.0.0.1:{free_port()}/s3cret-path?cto=1"
    with pytest.raises(TargetRefused, match=r"127\.0\.0\.1") as caught:
        AppriseTarget(url).send("title", "body", good=False)
    assert "s3cret" not in str(caught.value)


def test_a_slow_target_is_given_up_after_its_own_time() -> None:
    with webhook() as hook:
        hook.gate.clear()
        with pytest.raises(TargetRefused):
            AppriseTarget(f"{hook.url}?rto=0.2").send("title", "body", good=False)


def test_an_answer_that_cannot_be_parsed_puts_no_url_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nno header\r\nContent-Length: 0\r\n\r\n")
                # Closed with something unread, the system would reset the connection under the answer.
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass

        threading.Thread(target=answer, daemon=True).start()
        told: list[object] = []
        sender = AlertSender(told.append)
        target = AlertTarget("bi", f"json://127.0.0.1:{listener.getsockname()[1]}/s3cret-path")
        sender.send(target, OutgoingAlert(1, "title", "body", good=False))
        assert until(lambda: told) == [AlertSent("bi", 1)]
    assert "s3cret" not in caplog.text


def test_what_apprise_does_not_understand_is_told_without_the_url() -> None:
    assert fault("json://localhost/") is None
    assert "s3cret" not in str(fault("slak://s3cret"))
    assert "no scheme" in str(fault("s3cret-word"))


@pytest.mark.parametrize(
    ("url", "hidden"),
    [
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ", ["T1JJ3T3L2", "TIiajkdnlazkcOXrIdevi7FQ"]),
        ("tgram://123456789:abcdefg_hijklmnop/12315544", ["123456789:abcdefg_hijklmnop", "12315544"]),
        ("mailto://bi:p%40ss@mail.example.com?smtp=mail.example.com", ["p%40ss", "p@ss", "bi"]),
        ("json://10.0.0.1:8080/deep/s3cret-path?+X-Key=s3cret-key", ["s3cret-path", "s3cret-key"]),
    ],
)
def test_whatever_may_be_secret_in_a_url_is_hidden(url: str, hidden: list[str]) -> None:
    found = secrets(url)
    assert set(hidden) <= set(found)
    assert not {"mail.example.com", "10.0.0.1", "10.0.0.1:8080"} & set(found)
