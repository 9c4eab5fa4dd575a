"""The API's description as one page of HTML: no script, no image, nothing to load from anywhere."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from html import escape
from importlib import resources
from string import Template
from typing import Any

from butler_mqtt.http.api import openapi_completion


def render(document: Mapping[str, Any]) -> str:
    """Return the page for *document*, which `openapi_completion.document` has made."""
    page = Template(resources.files(__package__).joinpath("description_page.html").read_text("utf-8"))
    info = document["info"]
    return page.substitute(
        title=escape(f"{info['title']} {info['version']}"),
        introduction="\n".join(f"<p>{_marked(text)}</p>" for text in info["description"].split("\n\n")),
        operations="\n".join(_operations(document)),
        schemas="\n".join(
            f'<details id="{escape(name)}"><summary>{escape(name)}</summary>{_json(schema)}</details>'
            for name, schema in document["components"]["schemas"].items()
        ),
    )


def _operations(document: Mapping[str, Any]) -> Iterator[str]:
    for tag in document["tags"]:
        yield f"<h2>{escape(tag['name'].capitalize())}</h2><p>{_marked(tag['description'])}.</p>"
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                if tag["name"] in operation["tags"]:
                    yield from _operation(document, path, method.upper(), operation)


def _operation(
    document: Mapping[str, Any], path: str, method: str, operation: Mapping[str, Any]
) -> Iterator[str]:
    identity = escape(operation["operationId"])
    yield (
        f'<details id="{identity}"><summary><span class="method">{method}</span> '
        f"<code>{escape(path)}</code> {escape(operation['summary'])}</summary>"
    )
    if "parameters" in operation:
        yield "<h3>Parameters</h3><table>"
        for reference in operation["parameters"]:
            one = openapi_completion.resolved(document, reference)
            yield (
                f"<tr><td><code>{escape(one['name'])}</code></td><td>{escape(one['in'])}</td>"
                f"<td>{_marked(one.get('description', ''))}</td></tr>"
            )
        yield "</table>"
    if "requestBody" in operation:
        yield "<h3>Bodies</h3>"
        body = openapi_completion.resolved(document, operation["requestBody"])
        for name, example in body["content"]["application/json"]["examples"].items():
            yield f'<details id="{identity}-{escape(name)}"><summary>{escape(example["summary"])}</summary>'
            yield f"{_curl(path, method, example['value'])}</details>"
    yield "<h3>Answers</h3>"
    for status, reference in operation["responses"].items():
        answer = openapi_completion.resolved(document, reference)
        yield f"<details><summary><b>{status}</b> {_marked(answer['description'])}</summary>"
        for content in answer.get("content", {}).values():
            yield from (_json(one["value"]) for one in content.get("examples", {}).values())
            if "example" in content:
                yield _json(content["example"])
        yield "</details>"
    yield "</details>"


def _curl(path: str, method: str, body: object) -> str:
    path = path.replace("{taskId}", "a8b4c123-def4-5678-9abc-def012345678").replace("{namespace}", "sales")
    text = (
        f'curl -X {method} "$BUTLER{path}" \\\n'
        '  -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" \\\n'
        f"  -d {shlex.quote(json.dumps(body, indent=2))}"
    )
    return f"<pre>{escape(text)}</pre>"


def _json(value: object) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"


def _marked(text: str) -> str:
    """Escape a text and set what stands between backticks as code."""
    return "".join(
        f"<code>{escape(part)}</code>" if index % 2 else escape(part)
        for index, part in enumerate(text.split("`"))
    )
