"""The description of the API (OpenAPI 3.1), made of the tools' signatures and the models of their answers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import sqlrag
from sqlrag.serve.http import responses as answers
from sqlrag.serve.http.request_arguments import model_of

if TYPE_CHECKING:
    import pydantic

    from sqlrag.serve.tools import Tools

__all__ = ["description"]

_REF = "#/components/schemas/{model}"

_PROBLEMS = {
    400: "No JSON, or an argument twice.",
    401: "No token, or a wrong one.",
    403: "A statement that does not only read; or a page of another site.",
    404: "No such index or chunk.",
    408: "The question took too long, or its body did.",
    413: "The body is too long.",
    415: "The body is not declared as JSON.",
    421: "The header Host names another machine.",
    422: "An argument or a statement that is wrong.",
    431: "Too many headers.",
    500: "The server failed.",
    503: "Too many questions wait, or the database cannot be read now.",
}

_ALWAYS = (401, 403, 421, 431, 500)


def description(tools: Tools, url: str) -> dict[str, Any]:
    """Return openapi.json for a server at `url`."""
    schemas: dict[str, Any] = {}
    found, asked = answers.Found, (400, 404, 408, 422, 503)
    post_only = (413, 415)
    paths = {
        "/search": {
            "get": _operation(schemas, tools.search, "search", found, asked),
            "post": _operation(schemas, tools.search, "searchByPost", found, (*asked, *post_only), body=True),
        },
        "/chunks/{id}": {"get": _operation(schemas, tools.read_chunk, "readChunk", answers.Passage, asked)},
        "/sql": {"post": _operation(schemas, tools.sql, "sql", answers.Rows, (*asked, *post_only), body=True)},
        "/describe": {"get": _operation(schemas, tools.describe, "describe", answers.Described, (400, 408, 422, 503))},
        "/openapi.json": {"get": _own()},
    }
    _schema(schemas, answers.Problem)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "sqlrag",
            "version": sqlrag.__version__,
            "description": "Passages by meaning, and SQL, of one database that is only read.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": url}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(
    schemas: dict[str, Any],
    tool: Callable[..., Any],
    name: str,
    answer: type[pydantic.BaseModel],
    problems: tuple[int, ...],
    *,
    body: bool = False,
) -> dict[str, Any]:
    summary, _, more = (inspect.getdoc(tool) or "").partition("\n\n")
    model = model_of(tool)
    told: dict[str, Any] = {"operationId": name, "summary": " ".join(summary.split())}
    if more:
        told["description"] = more
    if body:
        content = {"application/json": {"schema": _schema(schemas, model)}}
        told["requestBody"] = {"required": True, "content": content}
    else:
        told["parameters"] = _parameters(model)
    told["responses"] = {"200": _content("The answer.", "application/json", _schema(schemas, answer))}
    told["responses"] |= _problems(problems)
    return told


def _own() -> dict[str, Any]:
    content = _content("OpenAPI 3.1.", "application/json", {"type": "object"})
    return {"operationId": "openapi", "summary": "This description.", "responses": {"200": content} | _problems(())}


def _problems(statuses: tuple[int, ...]) -> dict[str, Any]:
    reference = {"$ref": _REF.format(model="Problem")}
    kind = "application/problem+json"
    return {str(status): _content(_PROBLEMS[status], kind, reference) for status in sorted({*statuses, *_ALWAYS})}


def _content(description: str, kind: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {kind: {"schema": schema}}}


def _schema(schemas: dict[str, Any], model: type[pydantic.BaseModel]) -> dict[str, Any]:
    """Add a model and those in it to the components, and return a reference to it."""
    made = model.model_json_schema(ref_template=_REF)
    schemas |= made.pop("$defs", {})
    schemas[model.__name__] = made
    return {"$ref": _REF.format(model=model.__name__)}


def _parameters(model: type[pydantic.BaseModel]) -> list[dict[str, Any]]:
    made = model.model_json_schema(ref_template=_REF)
    required = made.get("required", [])
    parameters = []
    for name, schema in made["properties"].items():
        # What can be left out cannot be null in a query string.
        kinds = [kind for kind in schema.get("anyOf", []) if kind != {"type": "null"}]
        plain = kinds[0] if kinds else {key: value for key, value in schema.items() if key not in _ELSEWHERE}
        in_path = name == "id"
        parameter = {"name": name, "in": "path" if in_path else "query", "required": in_path or name in required}
        parameters.append(parameter | {"description": schema["description"], "schema": plain})
    return parameters


_ELSEWHERE = ("title", "description")
