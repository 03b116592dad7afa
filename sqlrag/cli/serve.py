"""`sqlrag serve` and `sqlrag mcp`: hold the models for other processes, or serve a database."""

from __future__ import annotations

import signal
from contextlib import closing
from typing import Any

import click
from click.core import ParameterSource

from sqlrag.cli.model_server import serve_models, socket_option
from sqlrag.cli.options import chosen_models, database_argument, existing_database, model_options, reranker_option
from sqlrag.values.arguments import DEFAULT_IDLE_SECONDS

__all__ = ["MCP_TOKEN", "mcp", "serve"]

MCP_TOKEN = "SQLRAG_MCP_TOKEN"  # noqa: S105 - the name of a variable
"""The environment variable of the token of `sqlrag mcp --http`."""

_PORTS = {"http": 8366, "postgres": 5433, "quack": 9494}
"""By default: the second is one more than a PostgreSQL server's, the third quack's own."""

_OF_MODELS = ("path", "idle", "background")
_OF_A_DATABASE = ("port", "time_limit", "certificate", "embedder", "backend")

_time_limit_option = click.option(
    "--time-limit",
    type=click.FloatRange(min=0, min_open=True),
    default=10,
    show_default=True,
    metavar="SECONDS",
    help="How long one question may take.",
)


@click.command(short_help="Hold the models for other processes, or serve a database.")
@click.argument("db", required=False, callback=existing_database)
@click.option("--http", is_flag=True, help="Serve DB as a page for people, and as a JSON API (/openapi.json).")
@click.option("--postgres", is_flag=True, help="Serve DB to clients of PostgreSQL: psql, drivers, BI tools.")
@click.option("--quack", is_flag=True, help="Serve DB to DuckDB, over its quack protocol.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="With DB: port on 127.0.0.1; 8366 for --http, 5433 for --postgres, 9494 for --quack; 0: any free one.",
)
@click.option("--open", "opens", is_flag=True, help="With --http: open the page in a browser.")
@_time_limit_option
@click.option(
    "--certificate",
    type=click.Path(exists=True, dir_okay=False),
    metavar="PEM",
    help="With --postgres: certificate and key in one file. Connections must then use TLS.",
)
@socket_option
@click.option(
    "--idle",
    type=click.FloatRange(min=0, min_open=True),
    default=DEFAULT_IDLE_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="Without DB: end after this many seconds without a client.",
)
@click.option(
    "--background", is_flag=True, help="Without DB: return as soon as the server answers, and leave it running."
)
@reranker_option
@model_options
@click.option("--json", "as_json", is_flag=True, help="Print the address as JSON, for machines.")
def serve(
    *,
    db: str | None,
    http: bool,
    postgres: bool,
    quack: bool,
    port: int | None,
    opens: bool,
    time_limit: float,
    certificate: str | None,
    path: str | None,
    idle: float,
    background: bool,
    reranker: str | None,
    as_json: bool,
) -> None:
    """Hold the models in one process for all your others; or, with DB, serve a database on this machine.

    Without DB: `sqlrag search`, and SQLite shells with the extension of sqlrag, then load no models themselves. Only
    your own processes can connect. It ends with Ctrl-C, with `sqlrag stop`, or when nobody has used it for a while.

    With DB: it listens on 127.0.0.1 and answers clients that send the token (SQLRAG_TOKEN) or, for PostgreSQL, the
    password (SQLRAG_POSTGRES_PASSWORD). It takes them from the environment, or makes and prints new ones. --http has a
    page for people as well, which --open opens. Nothing can be written, and SQL reaches no other file and no network.
    --http needs: pip install "sqlrag[http]". --quack needs: pip install "sqlrag[quack]".
    """
    if [http, postgres, quack].count(True) != (db is not None):
        raise click.UsageError("a database is served in one way: DB with --http, --postgres or --quack")
    _check_given(_OF_A_DATABASE if db is None else _OF_MODELS, "with" if db is None else "without")
    if certificate is not None and not postgres:
        raise click.UsageError("--certificate goes with --postgres")
    if opens and not http:
        raise click.UsageError("--open goes with --http")
    if db is None:
        serve_models(path, idle, reranker, background=background, as_json=as_json)
        return
    from sqlrag.cli import serve_database

    port = _PORTS["http" if http else "postgres" if postgres else "quack"] if port is None else port
    options: dict[str, Any] = {"port": port, "time_limit": time_limit, "as_json": as_json}
    options["models"] = chosen_models(reranker)
    if http:
        serve_database.serve_http(db, opens=opens, **options)
    elif postgres:
        serve_database.serve_postgres(db, certificate=certificate, **options)
    else:
        serve_database.serve_quack(db, **options)


def _check_given(names: tuple[str, ...], word: str) -> None:
    """Raise UsageError if an option was given that belongs to the other use of the command."""
    context = click.get_current_context()
    options = {parameter.name: parameter.opts[0] for parameter in context.command.params}
    for name in names:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{options[name]} goes {word} a database")


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
@_time_limit_option
@reranker_option
@model_options
@click.option("--json", "as_json", is_flag=True, help="Print the address as JSON, for machines.")
def mcp(*, db: str, http: bool, port: int, time_limit: float, reranker: str | None, as_json: bool) -> None:
    """Serve a database to agents (Model Context Protocol).

    The tools are search, read_chunk (the text around a hit), sql and describe. Nothing can be written, and SQL
    reaches no other file and no network. Needs: pip install "sqlrag[mcp]"

    An agent starts it by itself: configure the command `sqlrag mcp /path/to/notes.db`. With --http it listens on
    127.0.0.1 and answers clients that send the token, SQLRAG_MCP_TOKEN or a new one that it prints.
    """
    from sqlrag.cli.serve_database import credential, port_errors
    from sqlrag.errors import MissingDependencyError
    from sqlrag.process.stderr import bound
    from sqlrag.serve.tool_process import ToolProcess

    try:
        from sqlrag.serve.mcp.server import serve_http, serve_stdio
    except ImportError as error:
        raise MissingDependencyError(f'this needs the MCP SDK ({error}): pip install "sqlrag[mcp]"') from error
    bound()
    with closing(ToolProcess(db, models=chosen_models(reranker), seconds=time_limit)) as process:
        if not http:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C does not wake the thread that reads stdin
            serve_stdio(process)
            return
        token, say = credential(MCP_TOKEN, as_json)
        with port_errors(port):
            serve_http(process, port, token, say)
