"""Start the server in the background."""

from __future__ import annotations

import fcntl
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlrag.errors import ServerError
from sqlrag.serve.model_server.client import Client
from sqlrag.serve.model_server.socket_path import check_folder

__all__ = ["start"]

_SECONDS = 90.0
"""Seconds for a new server to answer, or for another process to start one: longer than a server waits for another."""

_LOOK = 0.05


def start(path: Path, *, idle: float, reranker: str | None = None) -> int:
    """Start a server that outlives this process, unless one runs; return its process id as soon as it answers.

    Processes that call this at the same time get the same server. Raises ServerError with the reason if none starts.
    """
    check_folder(path, make=True)
    until = time.monotonic() + _SECONDS
    with _only_starter(path, until):
        pid = _running(path, until)
        if pid is not None:
            return pid
        log = path.with_suffix(".log")
        _begin(path, log, ["--idle", str(idle), *(["--reranker", reranker] if reranker is not None else [])], until)
        pid = _running(path, until)  # the new server, or one that was started in another way meanwhile
        if pid is None:
            last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            raise ServerError(f"the server did not start: {' '.join(last) or 'it ended without a word'}")
        return pid


@contextmanager
def _only_starter(path: Path, until: float) -> Iterator[None]:
    """Wait for other processes that start a server at this path, so that only one does and the others find it."""
    held = os.open(path.with_suffix(".starting"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        while True:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise ServerError(f"another process has been starting the server for {_SECONDS:g} s") from None
            time.sleep(_LOOK)
        yield
    finally:
        os.close(held)


def _begin(path: Path, log: Path, options: list[str], until: float) -> None:
    """Start a server, and wait until it prints where it listens, or ends."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as errors:
        process = subprocess.Popen(  # noqa: S603 - this Python, with options of ours
            [sys.executable, "-m", "sqlrag", "serve", "--socket", str(path), "--json", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,  # Ctrl-C in the terminal does not reach it
            cwd="/",
        )
    assert process.stdout is not None
    with process.stdout as said:
        if not select.select([said], [], [], max(until - time.monotonic(), 0))[0]:
            process.kill()
            raise ServerError(f"the server did not start within {_SECONDS:g} s: {log} may say why")


def _running(path: Path, until: float) -> int | None:
    """Return the process id of the server, None if there is none. A server too busy to answer is asked again."""
    try:
        client = Client(path, "starting")
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except ServerError as error:
        if not isinstance(error.__cause__, OSError) or time.monotonic() > until:
            raise
        time.sleep(_LOOK)
        return _running(path, until)
    client.close()
    return int(client.pid)
