"""The server itself: the tools over stdio, or over streamable HTTP on this machine.

Anybody's web page can make a browser send requests to 127.0.0.1, under a name of its own (DNS rebinding): so HTTP asks
for a token, and takes no other Host and Origin than this machine's
(https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#security-warning).
"""

from __future__ import annotations

import functools
import hmac
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio
import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import ToolAnnotations
from starlette.responses import PlainTextResponse

import sqlrag
from sqlrag.errors import Error
from sqlrag.mcp.tools import Tools

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from sqlrag.guarded import Guarded

__all__ = ["LOOPBACK", "serve_http", "serve_stdio"]

LOOPBACK = "127.0.0.1"

_PATH = "/mcp"

_INSTRUCTIONS = """\
A collection of texts that can be searched by meaning, and its database. Begin with `search`; `read_chunk` shows what \
stands around a hit; `describe` tells what `sql` can ask. Nothing can be written."""


def make_server(guarded: Guarded, path: str) -> MCPServer[Any]:
    """Return a server with the tools over a database."""
    server: MCPServer[Any] = MCPServer(
        "sqlrag", instructions=_INSTRUCTIONS, version=sqlrag.__version__, log_level="WARNING"
    )
    tools = Tools(guarded, path)
    reads = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
    for tool in (tools.search, tools.read_chunk, tools.sql, tools.describe):
        server.add_tool(_told(tool), annotations=reads)
    return server


def _told(tool: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Return a tool whose errors reach the agent as the one line that they are."""

    @functools.wraps(tool)
    def call(*args: Any, **kwargs: Any) -> dict[str, Any]:
        try:
            return tool(*args, **kwargs)
        except Error as error:
            raise ToolError(" ".join(str(error).split())) from error

    return call


def serve_stdio(guarded: Guarded, path: str) -> None:
    """Answer on stdin and stdout until stdin ends."""
    anyio.run(make_server(guarded, path).run_stdio_async)


def serve_http(guarded: Guarded, path: str, port: int, token: str, ready: Callable[[str], None]) -> None:
    """Answer streamable HTTP on this machine alone, to those who have the token, until it is stopped.

    `port`: 0 takes any free one. `ready` is called with the URL. Raises OSError for a port that is taken.
    """
    with socket.create_server((LOOPBACK, port)) as listener:
        # asyncio sets it on sockets that it makes itself; without it an answer waits 40 ms for an acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        port = listener.getsockname()[1]
        names = [f"{name}:{port}" for name in (LOOPBACK, "localhost")]
        security = TransportSecuritySettings(allowed_hosts=names, allowed_origins=[f"http://{name}" for name in names])
        app = make_server(guarded, path).streamable_http_app(
            streamable_http_path=_PATH, transport_security=security, json_response=True, stateless_http=True
        )
        config = uvicorn.Config(TokenRequired(app, token), log_level="warning", timeout_graceful_shutdown=1)
        ready(f"http://{LOOPBACK}:{port}{_PATH}")
        uvicorn.Server(config).run(sockets=[listener])


class TokenRequired:
    """An ASGI application that answers those alone who send `Authorization: Bearer TOKEN`."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            sent = [value for name, value in scope["headers"] if name == b"authorization"]
            if len(sent) != 1 or not hmac.compare_digest(sent[0], self._expected):
                refusal = PlainTextResponse(
                    "the token is missing or wrong: send the header Authorization: Bearer TOKEN\n",
                    status_code=401,
                    headers={"WWW-Authenticate": "Bearer"},
                )
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)
