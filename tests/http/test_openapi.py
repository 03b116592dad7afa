"""The API's own description: valid, and true of what is answered."""

from __future__ import annotations

import jsonschema
import pytest


@pytest.fixture
def told(client):
    """The description that the server gives."""
    return client.get("/openapi.json").json()


def test_it_is_valid(told):
    """A validator of OpenAPI 3.1 finds nothing."""
    validator = pytest.importorskip("openapi_spec_validator", reason="pip install openapi-spec-validator")
    validator.validate(told)


def test_everything_is_described(told):
    """Each operation has a summary and the statuses that it may have, each argument says what it takes."""
    operations = [operation for path in told["paths"].values() for operation in path.values()]
    assert len(operations) == 8
    for operation in operations:
        assert operation["summary"].endswith(".")
        assert {"200", "401", "403", "421", "500"} <= operation["responses"].keys()
        assert all(parameter["description"] for parameter in operation.get("parameters", []))
    for name in ("SearchArguments", "SqlArguments"):
        schema = told["components"]["schemas"][name]
        assert schema["additionalProperties"] is False
        assert all(argument["description"] for argument in schema["properties"].values())


def test_answers_are_as_described(client, told):
    """Each answer and each problem keeps to its schema."""
    asked = [
        ("get", "/search", {"params": {"question": "bees"}}),
        ("post", "/search", {"json": {"question": "bees"}}),
        ("get", "/context", {"params": {"question": "bees", "max_tokens": 300, "order": "document"}}),
        ("post", "/context", {"json": {"question": "bees"}}),
        ("get", "/chunks/{id}", {}),
        ("post", "/sql", {"json": {"statement": "SELECT * FROM documents"}}),
        ("get", "/describe", {}),
        ("get", "/openapi.json", {}),
        ("post", "/sql", {"json": {"statement": "DROP TABLE documents"}}),
        ("get", "/search", {"params": {"question": "bees", "index": "nope"}}),
    ]
    for method, path, given in asked:
        response = client.request(method, path.format(id=1), **given)
        described = told["paths"][path][method]["responses"][str(response.status_code)]["content"]
        schema = described[response.headers["content-type"]]["schema"]
        jsonschema.Draft202012Validator({**schema, "components": told["components"]}).validate(response.json())
