"""The API's description: right in itself, true of the answers, and a page that loads nothing."""

from __future__ import annotations

import http.server
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import requests
from jsonschema import Draft202012Validator

from butler_mqtt.contract import validation
from butler_mqtt.http.api import description_page, examples, openapi
from butler_mqtt.http.responses import STATUS
from tests.integration.http.rest_listener import door

DOCUMENT = openapi.document()
CHROMIUM = "/usr/bin/chromium"


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def contents() -> Iterator[tuple[str, dict[str, Any]]]:
    """Give every place that has a schema and examples, with its name."""
    for path, method, operation in operations():
        for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
            yield f"{method} {path} {media_type}", content
        for status, answer in operation["responses"].items():
            for media_type, content in answer["content"].items():
                yield f"{method} {path} {status} {media_type}", content


def values(content: dict[str, Any]) -> list[Any]:
    return [one["value"] for one in content.get("examples", {}).values()] + (
        [content["example"]] if "example" in content else []
    )


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": DOCUMENT["components"]})


@pytest.mark.parametrize(
    ("place", "content"), list(contents()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_example_fits_its_schema_and_every_json_body_has_one(
    place: str, content: dict[str, Any]
) -> None:
    if "application/json" in place and "openapi.json 200" not in place:
        assert values(content), "no example"
    for value in values(content):
        validator(content["schema"]).validate(value)


def test_every_schema_is_a_schema() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_every_reference_leads_somewhere() -> None:
    text = json.dumps(DOCUMENT)
    for reference in set(re.findall(r'"\$ref": "#/([^"]+)"', text)):
        found: Any = DOCUMENT
        for part in reference.split("/"):
            found = found[part]


def test_every_example_of_a_request_of_ours_is_one() -> None:
    for _summary, body in examples.BODIES.values():
        if isinstance(body, dict):
            validation.parse(json.dumps(body).encode(), max_bytes=10_000)


def test_every_refusal_stands_under_its_status() -> None:
    for status, (_meaning, by_code) in examples.REFUSALS.items():
        for code, example in by_code.items():
            assert example["code"] == code
            assert STATUS.get(code, 400) == status


def test_operation_ids_are_unique() -> None:
    found = [operation["operationId"] for _, _, operation in operations()]
    assert len(found) == len(set(found))


def test_the_description_is_served_as_it_is() -> None:
    with door() as one:
        assert requests.get(one.url + "/openapi.json", timeout=10).json() == DOCUMENT
        answer = requests.get(one.url + "/docs", timeout=10)
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


class Links(HTMLParser):
    """Everything that a browser would load or lead to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.found += [
            value or "" for name, value in attrs if name in {"src", "href", "action", "data", "srcset"}
        ]


def test_the_page_refers_to_nothing_but_the_description() -> None:
    links = Links()
    links.feed(description_page.render(DOCUMENT))
    assert links.found == ["openapi.json"]
    assert not links.tags & {"script", "link", "img", "iframe", "object", "embed", "base"}


def test_the_page_shows_every_operation_and_every_example() -> None:
    text = description_page.render(DOCUMENT)
    for path, method, operation in operations():
        assert f'id="{operation["operationId"]}"' in text
        assert f'<span class="method">{method.upper()}</span> <code>{path}</code>' in text
    for name in examples.BODIES:
        assert f'id="start-{name}"' in text


def test_what_looks_like_markup_is_shown_as_text() -> None:
    document = {**DOCUMENT, "info": {**DOCUMENT["info"], "description": "<script>alert(1)</script>"}}
    assert "<script>" not in description_page.render(document)


class Recorder(http.server.BaseHTTPRequestHandler):
    """A proxy that takes down what it is asked for and gives nothing."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_error(502)

    def do_CONNECT(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        """Be silent."""


def test_a_browser_shows_the_page_and_asks_nobody_else(tmp_path: Path) -> None:
    asked: list[str] = []
    recorder = type("Bound", (Recorder,), {"asked": asked})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), recorder) as proxy, door() as one:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        done = subprocess.run(
            [
                CHROMIUM,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--no-first-run",
                f"--user-data-dir={tmp_path}",
                f"--proxy-server=127.0.0.1:{proxy.server_port}",
                f"--proxy-bypass-list=127.0.0.1:{one.port}",
                "--virtual-time-budget=3000",
                "--dump-dom",
                f"{one.url}/docs",
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        proxy.shutdown()
    assert "/v4/reloadtask/{taskId}/start" in done.stdout
    # The browser's own housekeeping is not the page's.
    assert [url for url in asked if "google" not in url and "gvt1" not in url] == []
