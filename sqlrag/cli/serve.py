"""`sqlrag serve`: a database for clients of other kinds."""

from __future__ import annotations

import click

from sqlrag.cli.loopback import time_limit_option
from sqlrag.cli.options import database_argument, reranker_option

__all__ = ["serve"]


@click.command()
@database_argument
@click.option("--http", is_flag=True, help="Serve a JSON API, described at /openapi.json.")
@click.option("--quack", is_flag=True, help="Serve a DuckDB database to DuckDB itself (its quack protocol).")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port on 127.0.0.1: 8366 for --http, 9494 for --quack; 0 takes any free one.",
)
@time_limit_option
@reranker_option
@click.option("--json", "as_json", is_flag=True, help="Say where it listens as JSON, for machines.")
def serve(
    *, db: str, http: bool, quack: bool, port: int | None, time_limit: float, reranker: str | None, as_json: bool
) -> None:
    """Serve a database on this machine, to read it.

    It answers on 127.0.0.1 whoever sends the token, which is SQLRAG_TOKEN of the environment or made anew and printed.
    Nothing can be written, and SQL reaches no other file and no network. Needs: pip install "sqlrag[http]", or
    "sqlrag[quack]"
    """
    if http == quack:
        raise click.UsageError("say how: --http or --quack")
    if http:
        from sqlrag.cli.serve_http import serve_http

        serve_http(db, port=port, time_limit=time_limit, reranker=reranker, as_json=as_json)
    else:
        from sqlrag.cli.serve_quack import serve_quack

        serve_quack(db, port=port, time_limit=time_limit, reranker=reranker, as_json=as_json)
