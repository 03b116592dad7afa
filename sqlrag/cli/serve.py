"""`sqlrag serve`: a database for programs that speak another protocol."""

from __future__ import annotations

import click

from sqlrag.cli.options import database_argument, reranker_option

__all__ = ["serve"]


@click.command()
@database_argument
@click.option("--postgres", is_flag=True, required=True, help="Speak PostgreSQL's wire protocol.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=5433,
    show_default=True,
    help="Port on 127.0.0.1; 0 takes any free one.",
)
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0, min_open=True),
    default=10,
    show_default=True,
    metavar="SECONDS",
    help="How long one statement may take.",
)
@click.option(
    "--certificate",
    type=click.Path(exists=True, dir_okay=False),
    metavar="PEM",
    help="Certificate and key in one file: TLS, and nothing else.",
)
@reranker_option
@click.option("--json", "as_json", is_flag=True, help="Say where it listens as JSON, for machines.")
def serve(
    *,
    db: str,
    postgres: bool,
    port: int,
    time_limit: float,
    certificate: str | None,
    reranker: str | None,
    as_json: bool,
) -> None:
    """Serve a database to clients of PostgreSQL, for reading.

    psql, psycopg, SQLAlchemy, pandas and BI tools connect to it on 127.0.0.1 with the password, which is
    SQLRAG_POSTGRES_PASSWORD of the environment or made anew and printed. SQL is the engine's own.
    """
    del postgres  # the only protocol yet
    from sqlrag.cli.serve_postgres import serve_postgres

    serve_postgres(db, port, time_limit=time_limit, reranker=reranker, certificate=certificate, as_json=as_json)
