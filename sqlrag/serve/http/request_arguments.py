"""The arguments of a request: from its JSON body or its query string, checked against the tool's own signature."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pydantic

from sqlrag.serve.loopback import Problem

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["Refused", "from_body", "from_query", "model_of"]

_JSON = "application/json"


class Refused(Exception):  # noqa: N818 - it is an answer
    """A request that is answered without asking the database."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.answer = Problem(status, detail)


def model_of(tool: Callable[..., Any]) -> type[pydantic.BaseModel]:
    """Return the arguments of a tool as a model: names, types, defaults and descriptions are the signature's."""
    hints = typing.get_type_hints(tool, include_extras=True)
    fields: dict[str, Any] = {
        name: (hints[name], ... if parameter.default is parameter.empty else parameter.default)
        for name, parameter in inspect.signature(tool).parameters.items()
    }
    name = "".join(part.title() for part in tool.__name__.split("_")) + "Arguments"
    # Unknown names are refused, as a misspelt one would be left out in silence; numbers are no texts and texts no
    # numbers in JSON.
    config = pydantic.ConfigDict(extra="forbid", strict=True)
    model: type[pydantic.BaseModel] = pydantic.create_model(name, __config__=config, **fields)
    return model


async def from_body(request: Request, model: type[pydantic.BaseModel]) -> dict[str, Any]:
    """Return the arguments of a POST. Raises Refused: 400, 415, 422."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _JSON:
        raise Refused(415, f"Content-Type is {kind or 'missing'}: send JSON, with the header Content-Type: {_JSON}")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Refused(415, "Content-Encoding: send the body as it is")
    body = await request.body()
    return _checked(lambda: model.model_validate_json(body))


def from_query(request: Request, model: type[pydantic.BaseModel]) -> dict[str, Any]:
    """Return the arguments of a GET, its path's among them. Raises Refused: 400, 422."""
    sent = request.query_params.multi_items()
    values: dict[str, Any] = dict(sent)
    twice = {name for name, _ in sent if sum(name == other for other, _ in sent) > 1} | (
        values.keys() & request.path_params.keys()
    )
    if twice:
        raise Refused(400, f"{', '.join(sorted(twice))}: given twice")
    return _checked(lambda: model.model_validate_strings({**values, **request.path_params}))


def _checked(validate: Callable[[], pydantic.BaseModel]) -> dict[str, Any]:
    try:
        model = validate()
    except pydantic.ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        if found[0]["type"] == "json_invalid":
            raise Refused(400, f"the body is no JSON: {found[0]['msg']}") from error
        wrong = (f"{'.'.join(map(str, one['loc'])) or 'the body'}: {one['msg']}" for one in found[:5])
        raise Refused(422, "; ".join(wrong)) from error
    return {name: getattr(model, name) for name in type(model).model_fields}
