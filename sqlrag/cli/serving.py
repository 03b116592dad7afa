"""What the commands share that serve a database on this machine: time limit, token, and where it listens."""

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
    """Return the token of an environment variable, None where it is not set: an argument could be read by every user.

    It must be one that nobody guesses and every client sends as it is.
    """
    token = os.environ.get(variable)
    if token is not None and (
        len(token) < shortest or not token.isascii() or not token.isprintable() or not set(token).isdisjoint(without)
    ):
        raise click.ClickException(f"{variable} is no {what}: it takes {shortest} letters and digits or more")
    return token


def ready(given: str | None, as_json: bool, what: str = "token") -> tuple[str, Callable[[str], None]]:
    """Return the token, made anew where none is given, and what says where the server listens and the new token."""
    token = secrets.token_urlsafe() if given is None else given

    def say(url: str) -> None:
        shown = {"url": url} if given is not None else {"url": url, what: token}
        lines = (f"{name}: {value}" for name, value in shown.items())
        click.echo(json.dumps(shown) if as_json else "\n".join(lines))
        sys.stdout.flush()

    return token, say


@contextmanager
def port_errors(port: int) -> Iterator[None]:
    """Say in one line what is wrong with a port."""
    try:
        yield
    except OSError as error:
        raise click.ClickException(f"port {port}: {os.strerror(error.errno or 0)}: take another --port") from error


def begin_anew(arguments: list[str], reranker: str | None, environment: dict[str, str], why: str) -> NoReturn:
    """Have another server take this process's place, where a statement runs that nothing else ends.

    `arguments`: of `sqlrag serve`. `environment`: the token, so that clients connect again as before.
    """
    from sqlrag.process.stderr import release

    click.echo(f"Note: the server begins anew: {why}", err=True)
    arguments = [*arguments, *(["--reranker", reranker] if reranker is not None else [])]
    os.environ.update(environment)
    release()
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # it has said where it listens
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # sockets would be inherited, and keep the port
    os.execv(sys.executable, [sys.executable, "-m", "sqlrag", "serve", *arguments])  # noqa: S606
