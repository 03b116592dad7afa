"""`sqlrag serve` without a database, `sqlrag status` and `sqlrag stop`: one process that holds the models."""

from __future__ import annotations

import json
import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from sqlrag.cli.options import json_option, print_json

if TYPE_CHECKING:
    from sqlrag.serve.model_server.client import Client

__all__ = ["serve_models", "server_status", "socket_option", "stop"]

socket_option = click.option(
    "--socket", "path", metavar="PATH", help="Path of the socket; by default SQLRAG_SOCKET, or in your runtime folder."
)


def serve_models(path: str | None, idle: float, reranker: str | None, *, background: bool, as_json: bool) -> None:
    """Hold the models until the server is stopped, or start a process that does."""
    from sqlrag.serve.model_server.socket_path import socket_path

    place = socket_path(path)
    if background:
        from sqlrag.serve.model_server.starting import start

        _say({"socket": str(place), "pid": start(place, idle=idle, reranker=reranker)}, as_json)
        return
    import os

    from sqlrag.process.stderr import bound
    from sqlrag.serve.model_server.server import ModelServer

    bound()
    server = ModelServer(place, reranker=reranker, idle=idle)

    def end(number: int, _: object) -> None:
        if server.is_stopping:  # asked for again: what runs is not waited for
            os._exit(128 + number)
        server.stop()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, end)
    server.run(lambda: _say({"socket": str(place), "pid": os.getpid()}, as_json))


@click.command("status")
@socket_option
@json_option
def server_status(path: str | None, as_json: bool) -> None:
    """Show the server that holds the models. The exit status is 1 if none runs."""
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
@socket_option
@json_option
def stop(path: str | None, as_json: bool) -> None:
    """Stop the server that holds the models. It finishes what it does first."""
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
    from sqlrag.serve.model_server.client import Client
    from sqlrag.serve.model_server.socket_path import socket_path

    try:
        return Client(socket_path(path), "sqlrag command")
    except (FileNotFoundError, ConnectionRefusedError):
        return None


def _say(values: dict[str, Any], as_json: bool) -> None:
    lines = "\n".join(f"{name}: {value}" for name, value in values.items())
    click.echo(json.dumps(values) if as_json else lines)
    sys.stdout.flush()
