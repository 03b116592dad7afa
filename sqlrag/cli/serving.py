"""Time limit, token and address, for the commands that serve a database."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import click

__all__ = ["begin_anew", "port_errors", "ready", "time_limit_option", "token_of"]

Command = TypeVar("Command", bound="Callable[..., Any]")


def time_limit_option(command: Command) -> Command:
    """Add `--time-limit`."""
    return click.option(
        "--time-limit",
        type=click.FloatRange(min=0, min_open=True),
        default=10,
        show_default=True,
        metavar="SECONDS",
        help="Time limit of one question, in seconds.",
    )(command)


def token_of(variable: str, *, what: str = "token", shortest: int = 16, without: str = " '\"") -> str | None:
    """Return the token of an environment variable, None if it is not set. Every user could read an argument.

    The token must be hard to guess, and consist of characters that every client sends unchanged.
    """
    token = os.environ.get(variable)
    if token is not None and (
        len(token) < shortest or not token.isascii() or not token.isprintable() or not set(token).isdisjoint(without)
    ):
        raise click.ClickException(f"{variable} is no {what}: it takes {shortest} letters and digits or more")
    return token


def ready(given: str | None, as_json: bool, what: str = "token") -> tuple[str, Callable[[str], None]]:
    """Return the token, a new one if none is given, and a function that prints the address and a new token."""
    token = secrets.token_urlsafe() if given is None else given

    def say(url: str) -> None:
        shown = {"url": url} if given is not None else {"url": url, what: token}
        lines = (f"{name}: {value}" for name, value in shown.items())
        click.echo(json.dumps(shown) if as_json else "\n".join(lines))
        sys.stdout.flush()

    return token, say


@contextmanager
def port_errors(port: int) -> Iterator[None]:
    """Turn an error of a port into one line."""
    try:
        yield
    except OSError as error:
        raise click.ClickException(f"port {port}: {os.strerror(error.errno or 0)}: take another --port") from error


def begin_anew(arguments: list[str], reranker: str | None, environment: dict[str, str], why: str) -> NoReturn:
    """Replace this process by another server, because a statement runs that cannot be ended otherwise.

    `arguments` are those of `sqlrag serve`. `environment` has the token, so that clients can connect again as before.
    """
    from sqlrag.process.stderr import release

    click.echo(f"Note: the server begins anew: {why}", err=True)
    arguments = [*arguments, *(["--reranker", reranker] if reranker is not None else [])]
    os.environ.update(environment)
    release()
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the address has been printed
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # sockets would be inherited, and keep the port
    os.execv(sys.executable, [sys.executable, "-m", "sqlrag", "serve", *arguments])  # noqa: S606
