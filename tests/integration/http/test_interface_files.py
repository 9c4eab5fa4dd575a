"""The schemas and the AsyncAPI document over HTTP: references, and hints of a 404, lead to what is served."""

from __future__ import annotations

from urllib.parse import urljoin

import requests
import yaml
from jsonschema import Draft202012Validator

from tests.docs.test_interface import references
from tests.integration.http.rest_listener import door, monitoring_door


def test_every_reference_of_the_served_document_leads_to_a_served_schema() -> None:
    with door() as served:
        place = f"{served.url}/asyncapi.yaml"
        document = yaml.safe_load(requests.get(place, timeout=10).text)
        found = sorted({one for one in references(document) if not one.startswith("#/")})
        schemas = [requests.get(urljoin(place, one), timeout=10) for one in found]
    assert found == [f"schemas/{name}.schema.json" for name in ("event", "reply", "request")]
    for answer in schemas:
        assert answer.headers["Content-Type"] == "application/schema+json"
        Draft202012Validator.check_schema(answer.json())


def test_another_name_is_404_and_says_which_there_are() -> None:
    with door() as served:
        answer = requests.get(f"{served.url}/schemas/config.schema.json", timeout=10)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert answer.json()["details"].endswith("request, reply, event")


def test_a_path_that_is_not_there_names_those_of_its_listener() -> None:
    with door() as rest, monitoring_door() as alone:
        answers = [requests.get(f"{one.url}/nothing", timeout=10).json() for one in (rest, alone)]
    assert [one["details"] for one in answers] == [
        "there is nothing at '/nothing'; /docs lists all paths",
        "there is nothing at '/nothing'; here are /healthz, /readyz, /metrics",
    ]
