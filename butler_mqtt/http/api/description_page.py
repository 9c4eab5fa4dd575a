"""The API's description as one page of HTML: no script, no image, nothing to load from anywhere."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1c2430 }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { margin-bottom: 0 } h2 { margin-top: 2.5rem; border-bottom: 1px solid #cfd6df }
details { border: 1px solid #cfd6df; border-radius: 6px; margin: .6rem 0; padding: .4rem .8rem }
details details { background: #f7f9fb } summary { cursor: pointer }
pre { background: #eef2f6; padding: .7rem; border-radius: 6px; overflow-x: auto; font-size: 13px }
code { font-size: 14px } .method { display: inline-block; width: 4rem; font-weight: 700; color: #0b6b3a }
table { border-collapse: collapse }
td { padding: .2rem 1rem .2rem 0; vertical-align: top }
@media (prefers-color-scheme: dark) {
  body { background: #12171d; color: #dfe6ee } pre, details details { background: #1c242d }
  details, h2 { border-color: #35414e } .method { color: #5fd39a }
}
"""


def render(document: Mapping[str, Any]) -> str:
    """Write the page for an OpenAPI *document* made by `openapi.document`."""
    info = document["info"]
    title = f"{info['title']} {info['version']}"
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        *(f"<p>{_marked(text)}</p>" for text in info["description"].split("\n\n")),
        '<p>For programs: <a href="openapi.json">openapi.json</a>.</p>',
    ]
    for tag in document["tags"]:
        parts.append(f"<h2>{escape(tag['name'].capitalize())}</h2><p>{_marked(tag['description'])}.</p>")
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                if tag["name"] in operation["tags"]:
                    parts += _operation(path, method.upper(), operation)
    parts.append("<h2>Schemas</h2>")
    for name, schema in document["components"]["schemas"].items():
        parts.append(
            f'<details id="{escape(name)}"><summary>{escape(name)}</summary>{_json(schema)}</details>'
        )
    parts.append("</body></html>")
    return "\n".join(parts)


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f'<details id="{escape(operation["operationId"])}"><summary><span class="method">{method}</span> '
        f"<code>{escape(path)}</code> {escape(operation['summary'])}</summary>"
    )
    if operation.get("parameters"):
        yield "<h3>Parameters</h3><table>"
        for one in operation["parameters"]:
            yield (
                f"<tr><td><code>{escape(one['name'])}</code></td><td>{escape(one['in'])}</td>"
                f"<td>{_marked(one.get('description', ''))}</td></tr>"
            )
        yield "</table>"
    if "requestBody" in operation:
        yield "<h3>Bodies</h3>"
        for name, example in operation["requestBody"]["content"]["application/json"]["examples"].items():
            yield f'<details id="{escape(operation["operationId"])}-{escape(name)}">'
            yield f"<summary>{escape(example['summary'])}</summary>"
            yield f"{_curl(path, method, example['value'])}</details>"
    yield "<h3>Answers</h3>"
    for status, answer in operation["responses"].items():
        yield f"<details><summary><b>{status}</b> {_marked(answer['description'])}</summary>"
        for content in answer["content"].values():
            yield from (_json(one["value"]) for one in content.get("examples", {}).values())
            if "example" in content:
                yield _json(content["example"])
        yield "</details>"
    yield "</details>"


def _curl(path: str, method: str, body: object) -> str:
    path = path.replace("{taskId}", "a8b4c123-def4-5678-9abc-def012345678")
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
