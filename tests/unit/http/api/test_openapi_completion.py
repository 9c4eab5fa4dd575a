"""The API's description: valid, and true of the code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from butler_mqtt.contract import validation
from butler_mqtt.http.api import openapi_completion
from butler_mqtt.http.error_responses import STATUS
from tests.unit.http.described import DOCUMENT, bodies, operations


def contents() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every place that has a schema and examples, with its name."""
    for path, method, operation in operations():
        body = openapi_completion.resolved(DOCUMENT, operation.get("requestBody", {}))
        for media_type, content in body.get("content", {}).items():
            yield f"{method} {path} {media_type}", content
        for status, reference in operation["responses"].items():
            answer = openapi_completion.resolved(DOCUMENT, reference)
            for media_type, content in answer.get("content", {}).items():  # 204 has none
                yield f"{method} {path} {status} {media_type}", content


def values(content: Mapping[str, Any]) -> list[Any]:
    return [one["value"] for one in content.get("examples", {}).values()] + (
        [content["example"]] if "example" in content else []
    )


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": DOCUMENT["components"]})


@pytest.mark.parametrize(
    ("place", "content"), list(contents()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_example_fits_its_schema_and_every_json_body_has_one(
    place: str, content: Mapping[str, Any]
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
    for body in bodies("Start").values():
        if isinstance(body, dict):
            validation.parse(json.dumps(body).encode(), max_bytes=10_000)


def test_every_refusal_stands_under_its_status() -> None:
    refusals = [
        (int(status), value)
        for _, _, operation in operations()
        for status, reference in operation["responses"].items()
        for content in openapi_completion.resolved(DOCUMENT, reference).get("content", {}).values()
        for value in values(content)
        if "error" in value
    ]
    # Butler's key-value store names the status itself, and no code.
    coded = [(status, value["code"]) for status, value in refusals if "statusCode" not in value]
    assert {code for _, code in coded} >= {"unauthorized", "forbidden", "qrs_unavailable"}
    assert [one for one in coded if STATUS[one[1]] != one[0]] == []
    assert all(value.get("statusCode", status) == status for status, value in refusals)


def test_an_example_of_a_refusal_is_named_by_its_code() -> None:
    for response in DOCUMENT["components"]["responses"].values():
        for content in response["content"].values():
            for name, example in content.get("examples", {}).items():
                assert example["value"].get("code", name) == name


def test_operation_ids_are_unique() -> None:
    found = [operation["operationId"] for _, _, operation in operations()]
    assert len(found) == len(set(found))


def test_a_start_is_described_for_put_as_for_post() -> None:
    starts = [methods for path, methods in DOCUMENT["paths"].items() if path.endswith("/start")]
    assert len(starts) == 3
    for methods in starts:
        assert {**methods["put"], "operationId": None} == {**methods["post"], "operationId": None}


def test_every_component_is_referred_to() -> None:
    text = json.dumps(DOCUMENT)
    for kind in ("parameters", "requestBodies", "responses", "schemas"):
        for name in DOCUMENT["components"][kind]:
            assert f'"#/components/{kind}/{name}' in text, name
