"""docs/openapi.yaml is true: its routes are those of the app, and what the app answers is what it says."""

from __future__ import annotations

import json
import time
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
import yaml
from azure.storage.blob import ContainerClient
from hypothesis import settings
from jsonschema import Draft202012Validator
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.pytest.lazy import get_all_tests
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.specs.openapi.schemas import OpenApiSchema

from local.host import FunctionsHost
from local.simulator import Fault, Simulator
from tests.functions import functions

ROOT = Path(__file__).resolve().parents[2]
DESCRIPTION: dict[str, Any] = yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text(encoding="utf-8"))
EXAMPLES = 10
OPERATIONS = {
    (method.upper(), path): facts["operationId"]
    for path, operations in DESCRIPTION["paths"].items()
    for method, facts in operations.items()
    if method != "parameters"
}
"""Names of operations by their method and path."""
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]


@pytest.fixture(scope="module")
def schema() -> OpenApiSchema:
    """The description, and what schemathesis makes of it."""
    return schemathesis.openapi.from_dict(DESCRIPTION)


def test_the_description_is_one(schema: OpenApiSchema) -> None:
    """By the rules of OpenAPI 3.1."""
    schema.validate()


def routes_of_the_app() -> dict[tuple[str, str], str]:
    """Method and path of each HTTP function, with its name."""
    found = {}
    for function in functions():
        facts: dict[str, Any] = json.loads(str(function))
        trigger = next(binding for binding in facts["bindings"] if binding["type"].lower().endswith("trigger"))
        for method in trigger.get("methods", []):
            route, optional, _ = f"/{trigger['route']}".partition("?}")
            for path in (f"{route}}}", route.rpartition("/")[0]) if optional else (route,):
                found[method, path] = str(function.get_function_name())
    return found


def test_routes_are_those_of_the_app() -> None:
    """Each method of each path is called after its function; what follows a hyphen tells two paths of one apart."""
    described = {route: operation.partition("-")[0] for route, operation in OPERATIONS.items()}
    assert described == routes_of_the_app()


@pytest.fixture(scope="module")
def url(held_host: FunctionsHost) -> str:
    """Where the app's routes begin."""
    return f"{held_host.url}/api"


@pytest.mark.parametrize("operation", OPERATIONS.values())
def test_answers_are_as_described(schema: OpenApiSchema, url: str, held_host: FunctionsHost, operation: str) -> None:
    """Whatever is asked, by the rules or against them: no 5xx, and status, headers, type and body as described."""

    def check(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(base_url=url, headers=held_host.auth, checks=CHECKS)

    few = settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
    chosen = schema.include(operation_id=operation)
    for result in get_all_tests(schema=chosen, test_func=check, settings=few, given_kwargs={}):
        assert isinstance(result, Ok), result
        _, test = result.ok()
        test()


def validate(name: str, document: object) -> None:
    """Hold a document to one of the description's schemas."""
    validator = Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": DESCRIPTION["components"]})
    assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)] == []


def test_days_are_as_described(host: FunctionsHost, container: ContainerClient, simulator: Simulator) -> None:
    """One that has landed, one without events, one that failed: each by itself, and as a row."""

    def export(day: str) -> dict[str, Any]:
        asked = requests.post(f"{host.url}/api/exports/{day}", headers=host.auth, timeout=30).json()
        validate("QueuedRun", asked)
        document: dict[str, Any] = asked
        while document["status"] in ("queued", "running"):
            time.sleep(0.02)
            document = requests.get(asked["status_url"], headers=host.auth, timeout=30).json()
        validate("Day", document)
        return document

    simulator.forget(date(2025, 11, 5))
    landed, empty = export("2025-11-04"), export("2025-11-05")
    simulator.fail(Fault(status=400, body=b"no such range"))
    failed = export("2025-11-06")
    assert (landed["status"], empty["manifest"]["status"], failed["status"]) == ("complete", "empty", "failed")
    assert landed["manifest"]["files"]
    validate("Manifest", json.loads(container.download_blob("manifests/date=2025-11-04.json").readall()))
    answer = requests.get(f"{host.url}/api/exports?from=2025-11-03&to=2025-11-06", headers=host.auth, timeout=30)
    validate("Coverage", answer.json())
    assert [row["status"] for row in answer.json()["days"]] == ["missing", "complete", "empty", "failed"]
