"""The page at `/`, for people, and what only it asks.

The page is one file that loads nothing: its Content-Security-Policy allows its own style and script, by their hashes,
and requests to this server. Texts reach it as JSON and become text nodes; with Trusted Types the browser refuses any
code that would read a string as HTML.
"""

from __future__ import annotations

import base64
import hashlib
import inspect
import json
import re
import shlex
from collections.abc import Awaitable, Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pydantic
from fastapi import Body, FastAPI, Response
from starlette.exceptions import HTTPException

from sqlrag.serve.http.evaluation import MOST_QUERIES
from sqlrag.serve.http.requests import arguments_of
from sqlrag.serve.http.responses import Answer

if TYPE_CHECKING:
    from sqlrag.serve.http.evaluation import EvaluationProcess
    from sqlrag.serve.page_tools import PageTools

__all__ = ["add_page", "curl"]

_FILE = Path(__file__).with_name("page.html")

Ask = Callable[[Callable[..., dict[str, Any]], dict[str, Any]], Awaitable[dict[str, Any]]]


class _Evaluation(pydantic.BaseModel):  # type: ignore[misc]  # checked without the extra, too
    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    index: str
    queries: int = pydantic.Field(ge=1, le=MOST_QUERIES)


def add_page(app: FastAPI, tools: PageTools, url: str, ask: Ask, evaluation: EvaluationProcess) -> None:
    """Add the page and its endpoints, which openapi.json leaves out. `ask` calls a tool when its turn has come."""
    content, headers = _page()

    async def page() -> Response:
        return Response(content, headers=headers, media_type="text/html")

    app.add_api_route("/", page, methods=["GET"], include_in_schema=False)

    async def about() -> Response:
        return Answer(await ask(tools.about, {}))

    app.add_api_route("/page/about", about, methods=["GET"], include_in_schema=False)

    async def two_stages(arguments: dict[str, Any]) -> dict[str, Any]:
        answer = await ask(tools.two_stages, arguments)
        answer["code"]["curl"] = curl(url, arguments, answer["code"]["sql"])
        return answer

    async def marks(arguments: dict[str, Any]) -> dict[str, Any]:
        return await ask(tools.marks, arguments)

    _add(app, "/page/ask", tools.two_stages, two_stages)
    _add(app, "/page/marks", tools.marks, marks)

    async def status() -> Response:
        return Answer(evaluation.status())

    async def start(given: Annotated[_Evaluation, Body()]) -> Response:
        if not evaluation.start(given.index, given.queries):
            raise HTTPException(409, "an evaluation runs already: cancel it first")
        return Answer(evaluation.status())

    async def cancel() -> Response:
        evaluation.cancel()
        return Answer(evaluation.status())

    for method, endpoint in (("GET", status), ("POST", start), ("DELETE", cancel)):
        app.add_api_route("/page/evaluation", endpoint, methods=[method], include_in_schema=False)


def _add(
    app: FastAPI,
    path: str,
    tool: Callable[..., dict[str, Any]],
    answer: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]],
) -> None:
    """Add an endpoint that takes the arguments of a tool as JSON."""
    model = arguments_of(tool, strict=True)

    async def endpoint(arguments: pydantic.BaseModel) -> Response:
        return Answer(await answer({name: getattr(arguments, name) for name in model.model_fields}))

    keyword = inspect.Parameter.KEYWORD_ONLY
    parameter = inspect.Parameter("arguments", keyword, annotation=Annotated[model, Body()])
    endpoint.__signature__ = inspect.Signature([parameter])  # type: ignore[attr-defined]  # which FastAPI reads
    app.add_api_route(path, endpoint, methods=["POST"], include_in_schema=False)


@lru_cache(maxsize=1)
def _page() -> tuple[bytes, dict[str, str]]:
    """Return the page and its headers."""
    content = _FILE.read_bytes()
    policy = {
        "default-src": "'none'",
        "script-src": _hashes(content, b"script"),
        "style-src": _hashes(content, b"style"),
        "img-src": "data:",
        "connect-src": "'self'",
        "form-action": "'none'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    return content, {
        "Cache-Control": "no-cache",
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "Cross-Origin-Opener-Policy": "same-origin",
    }


def _hashes(content: bytes, tag: bytes) -> str:
    found = re.findall(b"<%b>(.*?)</%b>" % (tag, tag), content, re.DOTALL)
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(one).digest()).decode()}'" for one in found)


def curl(url: str, arguments: dict[str, Any], sql: str) -> str:
    """Return the command that asks the JSON API the same: /search where it can, otherwise /sql."""
    if arguments["first_stage"] == "hybrid" and arguments["reranker"] is None and arguments["budget_ms"] is None:
        path = "/search"
        names = ("question", "index", "top_k", "top_n", "filter")
        body: dict[str, Any] = {name: arguments[name] for name in names if arguments[name] is not None}
    else:
        path, body = "/sql", {"statement": sql}
    data = shlex.quote(json.dumps(body, ensure_ascii=False))
    return (
        f"curl {url}{path} \\\n"
        '    -H "Authorization: Bearer $SQLRAG_TOKEN" \\\n'
        "    -H 'Content-Type: application/json' \\\n"
        f"    -d {data}"
    )
