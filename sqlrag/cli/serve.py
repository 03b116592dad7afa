"""`sqlrag serve`, `sqlrag status` and `sqlrag stop`: one process that holds the models."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from sqlrag.arguments import DEFAULT_IDLE_SECONDS
from sqlrag.cli.options import json_option, print_json, reranker_option

if TYPE_CHECKING:
    from sqlrag.serve.client import Client

__all__ = ["Way", "serve", "server_status", "stop"]

_socket_option = click.option(
    "--socket", "path", metavar="PATH", help="Its socket; by default SQLRAG_SOCKET, or in your runtime folder."
)


@dataclass(frozen=True)
class Way:
    """A way to offer a database to clients: the flag of `sqlrag serve DB` that asks for it, and its options.

    `run` is called with the database, `reranker`, `as_json` and the values of its options; it returns at its end.
    """

    flag: str
    help: str
    run: Callable[..., None]
    options: Sequence[Callable[[Any], Any]] = ()


WAYS: tuple[Way, ...] = ()
"""Those that there are, in the order of the help."""


def _with_ways(command: Callable[..., None]) -> Callable[..., None]:
    """Add the flags and the options of WAYS, and the argument DB where there is one."""
    for way in reversed(WAYS):
        for option in reversed(way.options):
            command = option(command)
        command = click.option(f"--{way.flag}", f"way_{way.flag}", is_flag=True, help=way.help)(command)
    return click.argument("db", required=False)(command) if WAYS else command


@click.command()
@_with_ways
@_socket_option
@click.option(
    "--idle",
    type=click.FloatRange(min=0, min_open=True),
    default=DEFAULT_IDLE_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="It ends when no client has said anything for so long.",
)
@reranker_option
@click.option("--background", is_flag=True, help="Return as soon as it answers, and leave it running.")
@json_option
def serve(*, path: str | None, idle: float, reranker: str | None, background: bool, as_json: bool, **more: Any) -> None:
    """Hold the models in one process, for all your other ones.

    SQLite shells with sqlrag's extension and `sqlrag search` then load no model of their own. Only processes
    of yours can connect. Ends with Ctrl-C, `sqlrag stop`, or when it has not been used for a while.
    """
    db = more.pop("db", None)
    chosen = [way for way in WAYS if more.pop(f"way_{way.flag}")]
    if db is None and not chosen:
        _serve_models(path, idle, reranker, background=background, as_json=as_json)
    elif db is not None and len(chosen) == 1:
        chosen[0].run(db, reranker=reranker, as_json=as_json, **more)
    else:
        flags = ", ".join(f"--{way.flag}" for way in WAYS)
        raise click.UsageError(f"a database is served in one way: DB with one of {flags}")


def _serve_models(path: str | None, idle: float, reranker: str | None, *, background: bool, as_json: bool) -> None:
    from sqlrag.serve.places import socket_path

    place = socket_path(path)
    if background:
        from sqlrag.serve.starting import start

        _say({"socket": str(place), "pid": start(place, idle=idle, reranker=reranker)}, as_json)
        return
    import os

    from sqlrag.serve.server import Server

    server = Server(place, reranker=reranker, idle=idle)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: server.stop())
    server.run(lambda: _say({"socket": str(place), "pid": os.getpid()}, as_json))


@click.command("status")
@_socket_option
@json_option
def server_status(path: str | None, as_json: bool) -> None:
    """Show the server that holds the models. The exit status is 1 where none runs."""
    client = _connected(path)
    if client is None:
        if as_json:
            print_json({"running": False})
        else:
            click.echo("no server runs: sqlrag serve")
        click.get_current_context().exit(1)
    found = client.status()
    client.close()
    if as_json:
        print_json({"running": True, **found})
    else:
        click.echo("\n".join(f"{name}: {value}" for name, value in found.items() if value is not None))


@click.command()
@_socket_option
@json_option
def stop(path: str | None, as_json: bool) -> None:
    """Have the server finish what it does, and end."""
    client = _connected(path)
    if client is not None:
        client.stop()
        client.close()
    stopped = client is not None
    if as_json:
        print_json({"stopped": stopped})
    else:
        click.echo("stopped" if stopped else "no server runs")


def _connected(path: str | None) -> Client | None:
    from sqlrag.serve.client import Client
    from sqlrag.serve.places import socket_path

    try:
        return Client(socket_path(path), "sqlrag command")
    except (FileNotFoundError, ConnectionRefusedError):
        return None


def _say(values: dict[str, Any], as_json: bool) -> None:
    lines = "\n".join(f"{name}: {value}" for name, value in values.items())
    click.echo(json.dumps(values) if as_json else lines)
    sys.stdout.flush()
