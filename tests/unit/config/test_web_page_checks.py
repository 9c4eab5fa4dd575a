"""What the page needs besides its own section is said with the lines where it belongs."""

from __future__ import annotations

from pathlib import Path

import pytest

from butler_mqtt.settings import WebPageSettings
from tests.unit.config.configuration_files import load, problems

OPERATOR = f"{{name: maria, sha256: {'0' * 64}, role: operator}}"


def rest(tokens: str = OPERATOR, **keys: str) -> str:
    lines = "".join(f"  {key}: {value}\n" for key, value in keys.items())
    return f"restServerConfig:\n  enable: true\n{lines}  auth: {{tokens: [{tokens}]}}\n"


def test_on_loopback_a_token_with_a_role_is_enough(tmp_path: Path) -> None:
    assert load(tmp_path, "webPage: {enable: true}\n" + rest()).web_page == WebPageSettings(True)
    assert load(tmp_path, "").web_page == WebPageSettings(False)


def test_without_the_rest_listener_there_is_no_page(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "webPage: {enable: true}\nrestServerConfig:\n  enable: false\n")
    assert "webPage.enable: is true, and the page needs `restServerConfig.enable: true` in line" in problem


@pytest.mark.parametrize("tokens", ["", OPERATOR.replace("operator", "sender")], ids=["none", "a sender's"])
def test_somebody_must_be_able_to_sign_in(tmp_path: Path, tokens: str) -> None:
    (problem,) = problems(tmp_path, "webPage: {enable: true}\n" + rest(tokens))
    assert "nobody could sign in: give a token in line" in problem


def test_beyond_loopback_addresses_and_tls_are_needed(tmp_path: Path) -> None:
    found = problems(tmp_path, "webPage: {enable: true}\n" + rest(serverHost="butler.example.com"))
    assert len(found) == 2
    assert any("webPage.origins: is empty, and restServerConfig.serverHost in line" in one for one in found)
    assert any("needs `restServerConfig.tls.enable: true` below line" in one for one in found)


def test_addresses_are_kept_in_lower_case(tmp_path: Path) -> None:
    page = "webPage: {enable: true, origins: ['HTTPS://Butler.Example.com:8443']}\n"
    assert load(tmp_path, page + rest()).web_page.origins == ("https://butler.example.com:8443",)


@pytest.mark.parametrize("origin", ["http://a.example", "https://a.example/", "a.example", "https://"])
def test_an_address_is_https_and_a_host(tmp_path: Path, origin: str) -> None:
    (problem,) = problems(tmp_path, f"webPage: {{enable: true, origins: ['{origin}']}}\n" + rest())
    assert "without a path" in problem
