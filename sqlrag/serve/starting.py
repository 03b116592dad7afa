"""Starting the server from a process that needs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from sqlrag.errors import ServerError
from sqlrag.serve.client import Client
from sqlrag.serve.places import check_folder

__all__ = ["START_SECONDS", "start"]

START_SECONDS = 15.0
"""For a new server to answer."""


def start(path: Path, *, idle: float, reranker: str | None = None) -> int:
    """Start a server that outlives this process unless one runs, and return its process id when it answers.

    Two that start one at the same time get the same one. Raises ServerError that says why it did not start.
    """
    check_folder(path, make=True)
    pid = _running(path)
    if pid is not None:
        return pid
    command = [sys.executable, "-m", "sqlrag", "serve", "--socket", str(path), "--idle", str(idle), "--json"]
    command += ["--reranker", reranker] if reranker is not None else []
    log = path.with_suffix(".log")
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as errors:
        process = subprocess.Popen(  # noqa: S603 - this Python, with options of ours
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,  # Ctrl-C in the terminal is not for it
            cwd="/",
        )
    assert process.stdout is not None
    with process.stdout as said:
        said.readline()  # it says where it listens, or ends
    pid = _running(path)
    if pid is None:
        said_last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        raise ServerError(f"the server did not start: {' '.join(said_last) or 'it ended'}")
    return pid


def _running(path: Path) -> int | None:
    try:
        client = Client(path, "starting")
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    client.close()
    return int(client.pid)
