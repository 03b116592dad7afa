"""The endpoints, and which status an error is.

`GET` takes its arguments from the query string, `POST` from a JSON body; both are those of `sqlrag.serve.tools`.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from sqlrag.errors import DatabaseError, Error, InputError, ReadOnlyError, RerankLimitError, SQLError, TimeLimitError
from sqlrag.serve.http.openapi import description
from sqlrag.serve.http.request_arguments import Refused, from_body, from_query, model_of
from sqlrag.serve.loopback import LOOPBACK, Problem, listening, serve

if TYPE_CHECKING:
    from starlette.requests import Request

    from sqlrag.serve.tool_process import ToolProcess
    from sqlrag.serve.tools import Tools

__all__ = ["make_app", "serve_http"]

_WAITING = 32
"""Questions that wait for their turn; of ten seconds each at worst."""

# The first that an error is. What no question should meet is 500.
_STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (ReadOnlyError, 403),
    (LookupError, 404),
    (TimeLimitError, 408),
    (InputError, 422),
    (SQLError, 422),
    (RerankLimitError, 422),
    (DatabaseError, 503),
)

Tool = Callable[..., dict[str, Any]]
Endpoint = Callable[["Request"], Awaitable[Response]]


class Answer(Response):  # type: ignore[misc]  # checked without the extra, too
    """An answer as JSON. Half of a surrogate pair, which a text of a database can hold, is sent as `?`."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return json.dumps(content, ensure_ascii=False, allow_nan=False, default=str).encode(errors="replace")


def serve_http(process: ToolProcess, port: int, token: str, ready: Callable[[str], None]) -> None:
    """Answer on this machine alone, those who have the token, until it is stopped.

    `port`: 0 takes any free one. `ready` is called with the URL. Raises OSError for a port that is taken.
    """
    with listening(port) as listener:
        url = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
        app = make_app(process.tools, url)
        ready(url)
        serve(app, listener, token, process.close)


def make_app(tools: Tools, url: str) -> Starlette:
    """Return the application over a database's tools; `url`: where it listens."""
    told = description(tools, url)
    turns = _Turns()

    async def openapi(_: Request) -> Response:
        return Answer(told)

    routes = [
        _route("/search", turns, get=tools.search, post=tools.search),
        _route("/chunks/{id}", turns, get=tools.read_chunk),
        _route("/sql", turns, post=tools.sql),
        _route("/describe", turns, get=tools.describe),
        Route("/openapi.json", _options({"GET": openapi}), methods=["GET", "OPTIONS"]),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _http_error, Exception: _failure})
    app.router.redirect_slashes = False
    return app


class _Turns:
    """How many questions are there, in threads that the database lets in one after the other."""

    def __init__(self) -> None:
        self._there = 0

    async def ask(self, tool: Tool, arguments: dict[str, Any]) -> dict[str, Any]:
        if self._there >= _WAITING:
            raise Refused(503, f"{_WAITING} questions wait: ask again later")
        self._there += 1
        try:
            answer: dict[str, Any] = await anyio.to_thread.run_sync(functools.partial(tool, **arguments))
            return answer
        finally:
            self._there -= 1


def _route(path: str, turns: _Turns, *, get: Tool | None = None, post: Tool | None = None) -> Route:
    methods: dict[str, Endpoint] = {}
    if get:
        methods["GET"] = _endpoint(get, turns, body=False)
    if post:
        methods["POST"] = _endpoint(post, turns, body=True)
    return Route(path, _options(methods), methods=[*methods, "OPTIONS"])


def _options(methods: dict[str, Endpoint]) -> Endpoint:
    allowed = [*methods, *(["HEAD"] if "GET" in methods else []), "OPTIONS"]

    async def endpoint(request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": ", ".join(allowed)})
        return await methods["GET" if request.method == "HEAD" else request.method](request)

    return endpoint


def _endpoint(tool: Tool, turns: _Turns, *, body: bool) -> Endpoint:
    model = model_of(tool)

    async def endpoint(request: Request) -> Response:
        try:
            arguments = await from_body(request, model) if body else from_query(request, model)
            return Answer(await turns.ask(tool, arguments))
        except Refused as refused:
            return refused.answer
        except Error as error:
            status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
            return Problem(status, str(error))

    return endpoint


async def _http_error(request: Request, error: Exception) -> Response:
    """Answer what the router refuses: a path or a method that there is not."""
    assert isinstance(error, HTTPException)
    said = {
        404: "there is no such path: /openapi.json tells those that there are",
        405: f"{request.method} is not for this path: see the header Allow",
    }
    return Problem(error.status_code, said.get(error.status_code, error.detail), error.headers)


async def _failure(_: Request, error: Exception) -> Response:
    """Answer what nobody foresaw; what it was stands on stderr, not in the answer."""
    logging.getLogger(__name__).error("a request failed", exc_info=error)
    return Problem(500, "the server failed at this request: its log says why")
