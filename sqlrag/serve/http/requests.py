"""The arguments of a request: models of the tools' signatures, and checks that FastAPI does not make."""

from __future__ import annotations

import inspect
import typing
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import pydantic
from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json

__all__ = ["CheckedRoute", "arguments_of"]

_JSON = "application/json"


def arguments_of(
    tool: Callable[..., Any], *, strict: bool, leave_out: Collection[str] = ()
) -> type[pydantic.BaseModel]:
    """Return the arguments of a tool as a model: names, types, defaults and descriptions are the signature's.

    Unknown names are refused: otherwise a misspelt one would be ignored. `strict`: as in JSON, where a number is not a
    text; a query string has nothing but texts. `leave_out`: the arguments that stand in the path.
    """
    hints = typing.get_type_hints(tool, include_extras=True)
    fields: dict[str, Any] = {
        name: (hints[name], ... if parameter.default is parameter.empty else parameter.default)
        for name, parameter in inspect.signature(tool).parameters.items()
        if name not in leave_out
    }
    name = "".join(part.title() for part in tool.__name__.split("_")) + "Arguments"
    config = pydantic.ConfigDict(extra="forbid", strict=strict)
    model: type[pydantic.BaseModel] = pydantic.create_model(name, __config__=config, **fields)
    return model


class _JSONRequest(Request):  # type: ignore[misc]  # checked without the extra, too
    """A request whose body is read as JSON by pydantic, which refuses half of a surrogate pair."""

    async def json(self) -> Any:
        """Return the body. Raises HTTPException(400)."""
        try:
            return from_json(await self.body())
        except ValueError as error:
            raise HTTPException(400, f"the body is no JSON: Invalid JSON: {error}") from error


class CheckedRoute(APIRoute):  # type: ignore[misc]  # checked without the extra, too
    """A route that refuses a body that is not declared as JSON, and an argument that is given twice."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:
        """Return the function that answers a request."""
        handle = super().get_route_handler()

        async def checked(request: Request) -> Response:
            if self.body_field is not None:
                _check_content(request)
                request = _JSONRequest(request.scope, request.receive)
                if not await request.body():
                    await request.json()
            else:
                _check_names(request)
            response: Response = await handle(request)
            return response

        return checked


def _check_content(request: Request) -> None:
    """Raise HTTPException(415) unless the body is declared as plain JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _JSON:
        raise HTTPException(
            415, f"Content-Type is {kind or 'missing'}: send JSON, with the header Content-Type: {_JSON}"
        )
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise HTTPException(415, "Content-Encoding: send the body as it is")


def _check_names(request: Request) -> None:
    """Raise HTTPException(400) for an argument that is in the query string twice, or there and in the path."""
    counts = Counter([name for name, _ in request.query_params.multi_items()] + list(request.path_params))
    if twice := sorted(name for name, count in counts.items() if count > 1):
        raise HTTPException(400, f"{', '.join(twice)}: given twice")
