"""`butler-mqtt token`: making tokens, and showing those of a configuration."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from butler_mqtt.cli.main import app
from butler_mqtt.config import loader

CONFIG = f"""Butler:
  configQRS: {{host: sense.test, useSSL: false}}
  restServerConfig:
    auth:
      tokens:
        - {{name: erp-hook, tokenFile: absent}}
        - {{name: anna, sha256: "{"ab" * 32}", role: operator, expiresAt: 2001-01-31t08:00:00Z}}
  senders: [{{name: erp, tokens: [erp-hook]}}]
"""


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["token", *arguments])


def test_the_lines_for_a_sender_make_a_configuration_that_knows_the_token(tmp_path: Path) -> None:
    shown = call("add", "erp-hook", "--sender", "erp", "--expires-at", "2031-01-31T08:00:00+01:00").stdout
    token = re.search(r"^Token: (\S+)$", shown, re.MULTILINE)
    line = re.search(r"^  - (\{.*\})$", shown, re.MULTILINE)
    own = re.search(r"^    tokens: (\[.*\])$", shown, re.MULTILINE)
    assert token
    assert line
    assert own
    keys = {
        "configQRS": {"host": "sense.test", "useSSL": False},
        "restServerConfig": {"auth": {"tokens": [yaml.safe_load(line[1])]}},
        "senders": [{"name": "erp", "tokens": yaml.safe_load(own[1])}],
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"Butler": keys}))
    loaded = loader.load(tmp_path / "config.yaml", {})
    (known,) = loaded.rest.tokens
    assert known.sha256 == hashlib.sha256(token[1].encode()).hexdigest()
    assert known.expires_at is not None
    assert loaded.senders[0].tokens == ("erp-hook",)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--sender", "erp", "--role", "operator"), "has the role sender, not operator"),
        (("--expires-at", "2031-01-31"), "is no time with an offset"),
        (("--role", "admin"), "admin"),
    ],
)
def test_a_token_that_no_configuration_would_take_is_not_made(
    arguments: tuple[str, ...], complaint: str
) -> None:
    done = call("add", "erp", *arguments)
    assert done.exit_code == 2
    assert complaint in " ".join(done.output.split())
    assert "Token:" not in done.stdout


def test_the_list_shows_whose_each_token_is_and_when_it_ends(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    done = call("list", "-c", str(tmp_path / "config.yaml"), "--json")
    assert json.loads(done.stdout)["tokens"] == [
        {"name": "erp-hook", "role": "sender", "sender": "erp", "expiresAt": None, "expired": False},
        {
            "name": "anna",
            "role": "operator",
            "sender": None,
            "expiresAt": "2001-01-31t08:00:00Z",
            "expired": True,
        },
    ]
    table = call("list", "-c", str(tmp_path / "config.yaml")).stdout
    assert re.search(r"anna +operator +2001-01-31t08:00:00Z, expired", table)
    assert "ab" * 32 not in table


def test_a_list_without_tokens_has_not_failed_and_says_how_to_make_one(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("Butler:\n  configQRS: {host: sense.test, useSSL: false}\n")
    done = call("list", "-c", str(tmp_path / "config.yaml"))
    assert (done.exit_code, done.stderr) == (0, "")
    assert "butler-mqtt token add" in done.stdout
