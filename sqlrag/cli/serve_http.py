"""`sqlrag serve DB --http`: serve a database as a JSON API."""

from __future__ import annotations

from contextlib import closing

from sqlrag.cli.serving import port_errors, ready, token_of

__all__ = ["PORT", "TOKEN", "serve_http"]

PORT = 8366

TOKEN = "SQLRAG_TOKEN"  # noqa: S105 - the name of a variable
"""The environment variable of the token."""


def serve_http(db: str, *, port: int | None, time_limit: float, reranker: str | None, as_json: bool) -> None:
    """Print the address, and serve a database over HTTP until the program is stopped."""
    from sqlrag.errors import MissingDependencyError
    from sqlrag.process.stderr import bound
    from sqlrag.serve.tool_process import ToolProcess

    try:
        from sqlrag.serve.http.app import serve_http as serve
    except ImportError as error:
        raise MissingDependencyError(f'this needs a web server ({error}): pip install "sqlrag[http]"') from error
    port = PORT if port is None else port
    token, say = ready(token_of(TOKEN), as_json)
    bound()
    with closing(ToolProcess(db, reranker=reranker, seconds=time_limit)) as process, port_errors(port):
        serve(process, port, token, say)
