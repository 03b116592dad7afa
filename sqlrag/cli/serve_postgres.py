"""`sqlrag serve DB --postgres`: serve a database to clients of PostgreSQL."""

from __future__ import annotations

import os
import ssl
import threading
import time
from contextlib import suppress
from urllib.parse import quote

import click

from sqlrag.cli.serving import begin_anew, port_errors, ready, token_of

__all__ = ["PASSWORD", "serve_postgres"]

PASSWORD = "SQLRAG_POSTGRES_PASSWORD"  # noqa: S105 - the name of a variable
"""The environment variable of the password: an argument could be read by every user of the machine."""

PORT = 5433
"""One more than a PostgreSQL server's."""

_SHORTEST = 12

_LAST_SECONDS = 5.0
"""For a statement that is to be stopped to end, before the server begins anew."""

_LOOK = 0.5


def serve_postgres(
    db: str, *, port: int | None, time_limit: float, reranker: str | None, certificate: str | None, as_json: bool
) -> None:
    """Print the URL, and the password if it is new, and answer clients of PostgreSQL until Ctrl-C.

    Raises click.ClickException for a port, a password or a certificate that cannot be used.
    """
    from sqlrag.process.call_lock import longest_call
    from sqlrag.process.stderr import bound, release
    from sqlrag.serve.memory import limit_memory
    from sqlrag.serve.postgres.server import LOOPBACK, Server

    bound()
    port = PORT if port is None else port
    given = token_of(PASSWORD, what="password", shortest=_SHORTEST, without=" ")
    password, say = ready(given, as_json, "password")
    limit_memory(reranker)
    try:
        server = Server(db, password, seconds=time_limit, reranker=reranker, certificate=certificate)
    except ssl.SSLError as error:
        raise click.ClickException(f"{certificate} is no certificate with its key, in PEM") from error

    def listening(port: int) -> None:
        arguments = [db, "--postgres", "--port", str(port), "--time-limit", str(time_limit)]
        arguments += ["--certificate", certificate] if certificate is not None else []
        watching = (arguments, reranker, {PASSWORD: password}, time_limit)
        threading.Thread(target=_watch, args=watching, name="sqlrag-watch", daemon=True).start()
        say(f"postgresql://sqlrag@{LOOPBACK}:{port}/{quote(server.name, safe='')}")

    with port_errors(port), suppress(KeyboardInterrupt):
        server.serve(port, listening, lambda said: click.echo(f"Note: {said}", err=True))
    if longest_call():  # an orderly end would wait for a function that cannot be stopped, or crash
        release()
        os._exit(0)


def _watch(arguments: list[str], reranker: str | None, environment: dict[str, str], time_limit: float) -> None:
    """Restart the server if a call of the engine does not stop: SQLite and DuckDB cannot end a function."""
    from sqlrag.process.call_lock import longest_call

    while longest_call() < time_limit + _LAST_SECONDS:
        time.sleep(_LOOK)
    begin_anew(arguments, reranker, environment, f"a statement could not be stopped after {time_limit:g} s")
