"""`sqlrag serve DB --quack`: serve a DuckDB database to DuckDB."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import closing

from sqlrag.cli.serve_http import TOKEN
from sqlrag.cli.serving import begin_anew, port_errors, ready, token_of

__all__ = ["PORT", "serve_quack"]

PORT = 9494
"""Quack's own."""

_HOST = "127.0.0.1"


def serve_quack(db: str, *, port: int | None, time_limit: float, reranker: str | None, as_json: bool) -> None:
    """Print the address, and serve a database over quack until the program is stopped."""
    from sqlrag.serve.quack.server import QuackServer

    token, say = ready(token_of(TOKEN), as_json)
    with closing(QuackServer(db, reranker=reranker, seconds=time_limit)) as server:
        with port_errors(PORT if port is None else port):
            free = _free(PORT if port is None else port)

        say(server.listen(_HOST, free, token))
        # DuckDB 1.5 cannot stop a statement of a quack session.
        shown = " ".join(server.watch().split())[:60]
        arguments = [db, "--quack", "--port", str(free), "--time-limit", str(time_limit)]
        begin_anew(arguments, reranker, {TOKEN: token}, f"{shown!r} ran for longer than {time_limit:g} s")


def _free(port: int) -> int:
    """Return a free port; any for 0. Raises OSError for a port that is taken, which quack would share."""
    if port:
        with socket.socket() as asking:
            if asking.connect_ex((_HOST, port)) == 0:
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        return port
    with socket.create_server((_HOST, 0)) as listener:
        return int(listener.getsockname()[1])
