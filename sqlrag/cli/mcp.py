"""`sqlrag mcp`: serve a database to agents."""

from __future__ import annotations

import signal
from contextlib import closing

import click

from sqlrag.cli.options import database_argument, reranker_option
from sqlrag.cli.serving import port_errors, ready, time_limit_option, token_of

__all__ = ["mcp"]

TOKEN = "SQLRAG_MCP_TOKEN"  # noqa: S105 - the name of a variable
"""The environment variable that holds the token."""


@click.command()
@database_argument
@click.option("--http", is_flag=True, help="Serve streamable HTTP on this machine instead of stdin and stdout.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8365,
    show_default=True,
    help="With --http: port on 127.0.0.1; 0: any free one.",
)
@time_limit_option
@reranker_option
@click.option("--json", "as_json", is_flag=True, help="Print the address as JSON, for machines.")
def mcp(*, db: str, http: bool, port: int, time_limit: float, reranker: str | None, as_json: bool) -> None:
    """Serve a database to agents (Model Context Protocol).

    The tools are search, read_chunk (the text around a hit), sql and describe. Nothing can be written, and SQL
    reaches no other file and no network. Needs: pip install "sqlrag[mcp]"

    An agent starts it by itself: configure the command `sqlrag mcp /path/to/notes.db`. With --http it listens on
    127.0.0.1 and answers clients that send the token, SQLRAG_MCP_TOKEN or a new one that it prints.
    """
    from sqlrag.errors import MissingDependencyError
    from sqlrag.process.stderr import bound
    from sqlrag.serve.tool_process import ToolProcess

    try:
        from sqlrag.serve.mcp.server import serve_http, serve_stdio
    except ImportError as error:
        raise MissingDependencyError(f'this needs the MCP SDK ({error}): pip install "sqlrag[mcp]"') from error
    bound()
    with closing(ToolProcess(db, reranker=reranker, seconds=time_limit)) as process:
        if not http:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C does not wake the thread that reads stdin
            serve_stdio(process)
            return
        token, say = ready(token_of(TOKEN), as_json)
        with port_errors(port):
            serve_http(process, port, token, say)
