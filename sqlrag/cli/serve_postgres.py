"""`sqlrag serve DB --postgres`: a database for clients of PostgreSQL."""

from __future__ import annotations

import json
import os
import secrets
import ssl
import sys
from contextlib import suppress
from urllib.parse import quote

import click

__all__ = ["PASSWORD", "serve_postgres"]

PASSWORD = "SQLRAG_POSTGRES_PASSWORD"  # noqa: S105 - the name of a variable
"""The environment variable of the password: an argument could be read by every user of the machine."""

PORT = 5433
"""One more than a PostgreSQL server's."""

_SHORTEST = 12


def serve_postgres(
    db: str, *, port: int | None, time_limit: float, reranker: str | None, certificate: str | None, as_json: bool
) -> None:
    """Answer clients of PostgreSQL until Ctrl-C, and print where: the URL, and the password if it was made anew.

    Raises click.ClickException for a port, a password or a certificate that cannot be used.
    """
    from sqlrag.postgres.server import LOOPBACK, Server

    port = PORT if port is None else port
    given = os.environ.get(PASSWORD)
    password = _checked(given) if given is not None else secrets.token_urlsafe()
    try:
        server = Server(db, password, seconds=time_limit, reranker=reranker, certificate=certificate)
    except ssl.SSLError as error:
        raise click.ClickException(f"{certificate} is no certificate with its key, in PEM: {error.reason}") from error

    def ready(port: int) -> None:
        url = f"postgresql://sqlrag@{LOOPBACK}:{port}/{quote(server.name, safe='')}"
        shown = {"url": url} if given is not None else {"url": url, "password": password}
        lines = (f"{name}: {value}" for name, value in shown.items())
        click.echo(json.dumps(shown) if as_json else "\n".join(lines))
        sys.stdout.flush()

    try:
        with suppress(KeyboardInterrupt):
            server.serve(port, ready)
    except OSError as error:
        raise click.ClickException(f"port {port}: {os.strerror(error.errno or 0)}: take another --port") from error


def _checked(password: str) -> str:
    """Return a password that nobody guesses, and that every client sends as it is."""
    if len(password) < _SHORTEST or not password.isascii() or not password.isprintable() or " " in password:
        raise click.ClickException(f"{PASSWORD} is no password: it takes {_SHORTEST} letters and digits or more")
    return password
