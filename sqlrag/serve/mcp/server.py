"""The MCP server: the tools over stdio, or over streamable HTTP on this machine."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import ToolAnnotations

import sqlrag
from sqlrag.errors import Error
from sqlrag.serve.loopback import LOOPBACK, listening, serve

if TYPE_CHECKING:
    from sqlrag.serve.tool_process import ToolProcess
    from sqlrag.serve.tools import Tools

__all__ = ["serve_http", "serve_stdio"]

_PATH = "/mcp"

_INSTRUCTIONS = """\
A collection of texts that can be searched by meaning, and its database. Begin with `search`; `read_chunk` shows what \
stands around a hit; `describe` tells what `sql` can ask. Nothing can be written."""


def make_server(tools: Tools) -> MCPServer[Any]:
    """Return a server with the tools over a database."""
    server: MCPServer[Any] = MCPServer(
        "sqlrag", instructions=_INSTRUCTIONS, version=sqlrag.__version__, log_level="WARNING"
    )
    reads = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
    # An agent's search is `context`: passages that it can cite, in as many tokens as it wants to spend.
    for name, tool in (
        ("search", tools.context),
        ("read_chunk", tools.read_chunk),
        ("sql", tools.sql),
        ("describe", tools.describe),
    ):
        server.add_tool(_with_one_line_errors(tool), name=name, annotations=reads)
    return server


def _with_one_line_errors(tool: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Return a tool whose errors reach the agent as one line."""

    @functools.wraps(tool)
    def call(*args: Any, **kwargs: Any) -> dict[str, Any]:
        try:
            return tool(*args, **kwargs)
        except Error as error:
            raise ToolError(" ".join(str(error).split())) from error

    return call


def serve_stdio(process: ToolProcess) -> None:
    """Answer on stdin and stdout until stdin ends."""
    anyio.run(make_server(process.tools).run_stdio_async)


def serve_http(process: ToolProcess, port: int, token: str, ready: Callable[[str], None]) -> None:
    """Answer streamable HTTP on this machine, for clients with the token, until the server is stopped.

    `port`: 0 takes any free one. `ready` is called with the URL. Raises OSError for a port that is taken.
    """
    with listening(port) as listener:
        checked = TransportSecuritySettings(enable_dns_rebinding_protection=False)  # sqlrag.serve.loopback does that
        app = make_server(process.tools).streamable_http_app(
            streamable_http_path=_PATH, transport_security=checked, json_response=True, stateless_http=True
        )
        url = f"http://{LOOPBACK}:{listener.getsockname()[1]}{_PATH}"
        serve(app, listener, token, ready=lambda: ready(url), end=process.close)
