"""The servers of a database on this machine: `sqlrag serve DB --http`, `--postgres` and `--quack`."""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from typing import Any, NoReturn
from urllib.parse import quote, urlencode

import click

__all__ = [
    "PASSWORD",
    "TOKEN",
    "check_http",
    "credential",
    "port_errors",
    "serve_http",
    "serve_postgres",
    "serve_quack",
]

TOKEN = "SQLRAG_TOKEN"  # noqa: S105 - the name of a variable
PASSWORD = "SQLRAG_POSTGRES_PASSWORD"  # noqa: S105 - the name of a variable
"""Environment variables of the token and the password: an argument could be read by every user of the machine."""

_HOST = "127.0.0.1"

_SHORTEST_PASSWORD = 12

_LAST_SECONDS = 5.0
"""What a statement that was stopped has to end, before the server starts again without it."""

_LOOK_SECONDS = 0.5
"""How often the statements that run are looked at."""


def check_http() -> None:
    """Raise MissingDependencyError if the extra for HTTP is not installed."""
    from sqlrag.errors import MissingDependencyError

    try:
        import sqlrag.serve.http.app  # noqa: F401 - only to know whether it can be imported
    except ImportError as error:
        raise MissingDependencyError(f'this needs a web server ({error}): pip install "sqlrag[http]"') from error


def serve_http(
    db: str,
    *,
    port: int,
    time_limit: float,
    models: Mapping[str, str],
    as_json: bool,
    opens: bool = False,
    first: str = "/",
) -> None:
    """Serve a database over HTTP until Ctrl-C, and print the URL. Raises MissingDependencyError without the extra.

    `opens`: also print a link that lets one browser in, and open it; `first`: the path that it leads to.
    """
    check_http()
    from sqlrag.process.stderr import bound
    from sqlrag.serve.http.app import serve_http as serve
    from sqlrag.serve.tool_process import ToolProcess

    token, say = credential(TOKEN, as_json)

    def ready(url: str, link: str) -> None:
        say(url, **({"page": link} if opens else {}))
        if opens:
            _open(link)

    bound()
    with closing(ToolProcess(db, models=models, seconds=time_limit)) as process, port_errors(port):
        serve(process, port, token, ready, first)


def open_page(db: str, state: Mapping[str, Any], *, models: Mapping[str, str], as_json: bool = False) -> None:
    """Serve a database on any free port, and open its page in a browser with this state, until Ctrl-C."""
    given = {name: value for name, value in state.items() if value is not None}
    first = f"/?{urlencode(given)}" if given else "/"
    serve_http(db, port=0, time_limit=10, models=models, as_json=as_json, opens=True, first=first)


def _open(link: str) -> None:
    """Open a link in the user's browser, where there is one: a browser for the terminal would take the terminal."""
    import webbrowser

    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        click.echo("Note: there is no display: open the page's address in a browser of this machine", err=True)
        return
    # Some browsers do not return at once, or never.
    threading.Thread(target=webbrowser.open, args=(link,), name="sqlrag-open", daemon=True).start()


def serve_postgres(
    db: str, *, port: int, time_limit: float, models: Mapping[str, str], certificate: str | None, as_json: bool
) -> None:
    """Serve a database to clients of PostgreSQL until Ctrl-C; print the URL, and the password if it is a new one.

    Raises click.ClickException for a port, a password or a certificate that cannot be used.
    """
    from sqlrag.process.call_lock import longest_call
    from sqlrag.process.stderr import bound, release
    from sqlrag.serve.memory import limit_memory
    from sqlrag.serve.postgres.server import LOOPBACK, Server

    bound()
    password, say = credential(PASSWORD, as_json, what="password", shortest=_SHORTEST_PASSWORD, without=" ")
    limit_memory(models)
    try:
        server = Server(db, password, seconds=time_limit, models=models, certificate=certificate)
    except ssl.SSLError as error:
        raise click.ClickException(f"{certificate} is no certificate with its key, in PEM") from error

    def listening(port: int) -> None:
        arguments = [db, "--postgres", "--port", str(port), "--time-limit", str(time_limit)]
        arguments += ["--certificate", certificate] if certificate is not None else []
        watching = (arguments, models, {PASSWORD: password}, time_limit)
        threading.Thread(target=_watch, args=watching, name="sqlrag-watch", daemon=True).start()
        say(f"postgresql://sqlrag@{LOOPBACK}:{port}/{quote(server.name, safe='')}")

    with port_errors(port), suppress(KeyboardInterrupt):
        server.serve(port, listening, lambda said: click.echo(f"Note: {said}", err=True))
    if longest_call():  # an orderly end would wait for a function that cannot be stopped, or crash beside it
        release()
        os._exit(0)


def _watch(arguments: list[str], models: Mapping[str, str], environment: dict[str, str], time_limit: float) -> None:
    """Start the server again if a call of the engine does not stop: SQLite and DuckDB cannot interrupt a function."""
    from sqlrag.process.call_lock import longest_call

    while longest_call() < time_limit + _LAST_SECONDS:
        time.sleep(_LOOK_SECONDS)
    _restart(arguments, models, environment, f"a statement could not be stopped after {time_limit:g} s")


def serve_quack(db: str, *, port: int, time_limit: float, models: Mapping[str, str], as_json: bool) -> None:
    """Serve a DuckDB database over quack until Ctrl-C, and print the URL."""
    from sqlrag.serve.quack.server import QuackServer

    token, say = credential(TOKEN, as_json)
    with closing(QuackServer(db, models=models, seconds=time_limit)) as server:
        with port_errors(port):
            free = _free(port)
        say(server.listen(_HOST, free, token))
        # Nothing can stop a statement of a quack session in DuckDB 1.5.
        shown = " ".join(server.watch().split())[:60]
        arguments = [db, "--quack", "--port", str(free), "--time-limit", str(time_limit)]
        _restart(arguments, models, {TOKEN: token}, f"{shown!r} ran for longer than {time_limit:g} s")


def _free(port: int) -> int:
    """Return the port if it is free, any free one for 0. Raises OSError if it is taken: quack would share it."""
    if port:
        with socket.socket() as asking:
            if asking.connect_ex((_HOST, port)) == 0:
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        return port
    with socket.create_server((_HOST, 0)) as listener:
        return int(listener.getsockname()[1])


def credential(
    variable: str, as_json: bool, *, what: str = "token", shortest: int = 16, without: str = " '\""
) -> tuple[str, Callable[..., None]]:
    """Return the token or password of an environment variable, and a function that prints where the server listens.

    Where the variable is not set, a new token is made, and printed with the URL. Raises click.ClickException for one
    that could be guessed, or that not every client sends as it is.
    """
    given = os.environ.get(variable)
    if given is not None and (
        len(given) < shortest or not given.isascii() or not given.isprintable() or not set(given).isdisjoint(without)
    ):
        raise click.ClickException(f"{variable} is no {what}: it takes {shortest} letters and digits or more")
    token = secrets.token_urlsafe() if given is None else given

    def say(url: str, **more: str) -> None:
        shown = {"url": url, **({} if given is not None else {what: token}), **more}
        lines = (f"{name}: {value}" for name, value in shown.items())
        click.echo(json.dumps(shown) if as_json else "\n".join(lines))
        sys.stdout.flush()

    return token, say


@contextmanager
def port_errors(port: int) -> Iterator[None]:
    """Turn an OSError in the body into one line about the port."""
    try:
        yield
    except OSError as error:
        raise click.ClickException(f"port {port}: {os.strerror(error.errno or 0)}: take another --port") from error


def _restart(arguments: list[str], models: Mapping[str, str], environment: dict[str, str], why: str) -> NoReturn:
    """Replace this process by another server, where a statement runs that nothing else ends.

    `arguments` are those of `sqlrag serve`; `environment` has the token, so that clients can connect again.
    """
    from sqlrag.process.stderr import release

    click.echo(f"Note: the server begins anew: {why}", err=True)
    arguments = [*arguments, *(part for kind, name in models.items() for part in (f"--{kind}", name))]
    os.environ.update(environment)
    release()
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the URL has been printed
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # sockets would be inherited, and keep the port
    os.execv(sys.executable, [sys.executable, "-m", "sqlrag", "serve", *arguments])  # noqa: S606
