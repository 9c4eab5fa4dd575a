"""The page of the API's description: everything in it, as text, and nothing to load."""

from __future__ import annotations

from html.parser import HTMLParser

from butler_mqtt.http.api import description_page
from tests.unit.http.described import DOCUMENT, bodies, operations


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
    for name in bodies("Start"):
        assert f'id="start-{name}"' in text


def test_what_looks_like_markup_is_shown_as_text() -> None:
    document = {**DOCUMENT, "info": {**DOCUMENT["info"], "description": "<script>alert(1)</script>"}}
    assert "<script>" not in description_page.render(document)
