"""The endpoints, their description as openapi.json, and the status of each error.

`GET` takes its arguments from the query string, `POST` from a JSON body; both are those of `sqlrag.serve.tools`.
"""

from __future__ import annotations

import functools
import inspect
import logging
import typing
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any

import anyio
from fastapi import Body, FastAPI, Path, Query, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.routing import Match

import sqlrag
from sqlrag.errors import DatabaseError, Error, InputError, ReadOnlyError, RerankLimitError, SQLError, TimeLimitError
from sqlrag.serve.http import responses
from sqlrag.serve.http.evaluation import EvaluationProcess
from sqlrag.serve.http.page import add_page
from sqlrag.serve.http.requests import CheckedRoute, arguments_of
from sqlrag.serve.http.responses import Answer
from sqlrag.serve.loopback import LOOPBACK, Problem, listening, serve
from sqlrag.serve.sessions import Sessions

if TYPE_CHECKING:
    import pydantic
    from starlette.types import ASGIApp, Receive, Scope, Send

    from sqlrag.serve.page_tools import PageTools
    from sqlrag.serve.tool_process import ToolProcess

__all__ = ["make_app", "serve_http"]

_WAITING = 32
"""Questions that wait for the database; of ten seconds each at worst."""

# The first one that an error is an instance of. Other errors are the server's fault: 500.
_STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (ReadOnlyError, 403),
    (LookupError, 404),
    (TimeLimitError, 408),
    (InputError, 422),
    (SQLError, 422),
    (RerankLimitError, 422),
    (DatabaseError, 503),
)

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
_ASKED = (400, 404, 408, 422, 503)
_POSTED = (*_ASKED, 413, 415)

Tool = Callable[..., dict[str, Any]]

_NO_TELEMETRY = {"tracing": False, "metrics": False, "logs": False, "operation_spans": False, "auto_configure": False}
"""Otherwise the environment could make FastAPI send data about requests to OpenTelemetry."""


def serve_http(
    process: ToolProcess, port: int, token: str, ready: Callable[[str, str], None], first: str = "/"
) -> None:
    """Answer clients on this machine that have the token, and browsers, until the server is stopped.

    `port`: 0 takes any free one. `ready` is called with the URL, and with a link to the page that works once; `first`:
    the path that it leads to. Raises OSError for a port that is taken.
    """
    with listening(port) as listener:
        port = listener.getsockname()[1]
        url = f"http://{LOOPBACK}:{port}"
        sessions = Sessions(token, port)
        evaluation = EvaluationProcess(process.path, process.models)

        def end() -> None:
            evaluation.cancel()
            process.close()

        app = make_app(process.tools, url, evaluation)
        serve(app, listener, token, ready=lambda: ready(url, sessions.link(url, first)), end=end, sessions=sessions)


def make_app(tools: PageTools, url: str, evaluation: EvaluationProcess) -> ASGIApp:
    """Return the application over a database's tools; `url`: where it listens."""
    app = FastAPI(
        title="sqlrag",
        version=sqlrag.__version__,
        description="Passages by meaning, and SQL, of one database that is only read.",
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        servers=[{"url": url}],
        openapi_url=None,  # an endpoint like the others, below
        redirect_slashes=False,
        default_response_class=Answer,
        dependencies=[Security(HTTPBearer(scheme_name="token", auto_error=False))],  # `serve` checks it before
        exception_handlers={
            HTTPException: _refused,
            RequestValidationError: _invalid,
            Error: _failed,
            Exception: _broken,
        },
        telemetry=_NO_TELEMETRY,
    )
    app.router.route_class = CheckedRoute
    queue = _Queue()
    found = responses.Found
    _add(app, queue, "GET", "/search", tools.search, "search", found, _ASKED)
    _add(app, queue, "POST", "/search", tools.search, "searchByPost", found, _POSTED)
    _add(app, queue, "GET", "/context", tools.context, "context", responses.Context, _ASKED)
    _add(app, queue, "POST", "/context", tools.context, "contextByPost", responses.Context, _POSTED)
    _add(app, queue, "GET", "/chunks/{id}", tools.read_chunk, "readChunk", responses.Passage, _ASKED)
    _add(app, queue, "POST", "/sql", tools.sql, "sql", responses.Rows, _POSTED)
    _add(app, queue, "GET", "/describe", tools.describe, "describe", responses.Described, (400, 408, 422, 503))
    _add_description(app)
    add_page(app, tools, url, queue.ask, evaluation)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        # HEAD is GET; uvicorn leaves the body out.
        is_head = scope["type"] == "http" and scope["method"] == "HEAD"
        await app({**scope, "method": "GET"} if is_head else scope, receive, send)

    return answer


class _Queue:
    """The questions that wait for the database, each in a thread; it answers one after the other."""

    def __init__(self) -> None:
        self._waiting = 0

    async def ask(self, tool: Tool, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return what a tool answers. Raises HTTPException(503) if too many wait."""
        if self._waiting >= _WAITING:
            raise HTTPException(503, f"{_WAITING} questions wait: ask again later")
        self._waiting += 1
        try:
            answer: dict[str, Any] = await anyio.to_thread.run_sync(functools.partial(tool, **arguments))
            return answer
        finally:
            self._waiting -= 1


def _add(  # noqa: PLR0917 - a row of a table
    app: FastAPI,
    queue: _Queue,
    method: str,
    path: str,
    tool: Tool,
    operation_id: str,
    answer: type[pydantic.BaseModel],
    problems: tuple[int, ...],
) -> None:
    """Add an endpoint: a tool with its arguments from the path, and from the query string or a JSON body."""
    is_post = method == "POST"
    hints = typing.get_type_hints(tool, include_extras=True)
    in_path = [argument for argument in hints if f"{{{argument}}}" in path]
    model = arguments_of(tool, strict=is_post, leave_out=in_path)

    async def endpoint(arguments: pydantic.BaseModel, **from_path: Any) -> Response:
        given = {name: getattr(arguments, name) for name in model.model_fields}
        return Answer(await queue.ask(tool, {**from_path, **given}))

    kinds = {"arguments": Annotated[model, Body() if is_post else Query()]}
    kinds |= {argument: Annotated[hints[argument], Path()] for argument in in_path}
    keyword = inspect.Parameter.KEYWORD_ONLY
    signature = inspect.Signature([inspect.Parameter(name, keyword, annotation=kind) for name, kind in kinds.items()])
    endpoint.__signature__ = signature  # type: ignore[attr-defined]  # which FastAPI reads
    summary, _, more = (inspect.getdoc(tool) or "").partition("\n\n")
    app.add_api_route(
        path,
        endpoint,
        methods=[method],
        operation_id=operation_id,
        summary=" ".join(summary.split()),
        description=more,
        response_model=answer,
        response_description="The answer.",
        responses=_problems(problems),
    )


def _problems(statuses: tuple[int, ...]) -> dict[int | str, dict[str, Any]]:
    content = {Problem.media_type: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _PROBLEMS[status], "content": content} for status in sorted({*statuses, *_ALWAYS})}


def _add_description(app: FastAPI) -> None:
    """Add /openapi.json, which describes all endpoints, itself too."""
    description: dict[str, Any] = {}

    async def openapi() -> Response:
        return Answer(description)

    app.add_api_route(
        "/openapi.json",
        openapi,
        operation_id="openapi",
        summary="This description.",
        response_model=dict[str, Any],
        response_description="OpenAPI 3.1.",
        responses=_problems(()),
    )
    description |= app.openapi()
    description["components"]["schemas"]["Problem"] = responses.Problem.model_json_schema()


async def _refused(request: Request, error: Exception) -> Response:
    """Answer OPTIONS, and requests that have no endpoint or were refused before the tool was called."""
    assert isinstance(error, HTTPException)
    detail, headers = error.detail, error.headers
    if error.status_code == HTTPStatus.NOT_FOUND:
        detail = "there is no such path: /openapi.json tells those that there are"
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"{request.method} is not for this path: see the header Allow"
        there = [route for route in request.app.routes if route.matches(request.scope)[0] != Match.NONE]
        allowed = [method for route in there for method in route.methods]
        headers = {"Allow": ", ".join([*allowed, *(["HEAD"] if "GET" in allowed else []), "OPTIONS"])}
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=headers)
    return Problem(error.status_code, detail, headers)


async def _invalid(_: Request, error: Exception) -> Response:
    """Answer a request whose arguments do not fit the tool."""
    assert isinstance(error, RequestValidationError)
    wrong = (f"{'.'.join(map(str, one['loc'][1:])) or 'the body'}: {one['msg']}" for one in error.errors()[:5])
    return Problem(422, "; ".join(wrong))


async def _failed(_: Request, error: Exception) -> Response:
    """Answer a question for which the tool raised an error of sqlrag's."""
    return Problem(next((status for kind, status in _STATUSES if isinstance(error, kind)), 500), str(error))


async def _broken(_: Request, error: Exception) -> Response:
    """Answer an unexpected error. It is written to the log, and is not in the answer."""
    logging.getLogger(__name__).error("a request failed", exc_info=error)
    return Problem(500, "the server failed at this request: its log says why")
