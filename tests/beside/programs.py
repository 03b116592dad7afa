"""Other programs on the same file, each in a process of its own: they write, sync, hold transactions, are killed.

Forked from a server that has all imports (tests/ingest/children.py), so that one costs some hundredths of a second.
"""

from __future__ import annotations

import sqlite3
import subprocess
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import duckdb

import sqlrag
from tests.ingest.children import CONTEXT


class Program:
    """A process that runs a function of this module; the function answers each message with `(value, error)`."""

    def __init__(self, function, path: Path) -> None:
        self._pipe, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=function, args=(theirs, str(path)), daemon=True)
        self.process.start()
        theirs.close()
        self.opened: str | None = self._answer()[1]
        """Why the file could not be opened, None if it could."""

    def ask(self, *message: Any) -> tuple[Any, str | None]:
        """Let the program do something; return `(value, error)`."""
        self._pipe.send(message)
        return self._answer()

    def begin(self, *message: Any) -> None:
        """Let the program begin something, and don't wait for it."""
        self._pipe.send(message)

    def kill(self) -> None:
        """End the program as `kill -9` does."""
        self.process.kill()
        self.process.join()

    def close(self) -> None:
        """Let the program close the file and end."""
        self._pipe.send(None)
        self.process.join()

    def _answer(self) -> tuple[Any, str | None]:
        value, error = self._pipe.recv()
        return value, error


def _serve(pipe: Connection, open_, do, errors) -> None:
    try:
        opened = open_()
    except errors as error:
        pipe.send((None, str(error)))
        return
    pipe.send((None, None))
    while (message := pipe.recv()) is not None:
        pipe.send(_answer(do, errors, opened, *message))
    opened.close()


def _answer(do, errors, *arguments: Any) -> tuple[Any, str | None]:
    try:
        return do(*arguments), None
    except errors as error:
        return None, str(error)


def plain_sqlite(pipe: Connection, path: str) -> None:
    """A sqlite3 application that knows nothing of sqlrag."""

    def open_() -> sqlite3.Connection:
        connection = sqlite3.connect(path, isolation_level=None, timeout=0.2)
        connection.execute("PRAGMA synchronous = off")  # no power fails here
        return connection

    _serve(pipe, open_, lambda c, sql, *values: c.execute(sql, values).fetchall(), sqlite3.Error)


def plain_duckdb(pipe: Connection, path: str) -> None:
    """A DuckDB application that knows nothing of sqlrag."""
    _serve(
        pipe,
        lambda: duckdb.connect(path),
        lambda c, sql, *values: c.execute(sql, list(values)).fetchall(),
        duckdb.Error,
    )


def syncing(pipe: Connection, path: str) -> None:
    """Another program with sqlrag; it syncs when it is asked to."""

    def do(db: sqlrag.Database, what: str) -> Any:
        return db.check() if what == "check" else db.sync().backlog

    _serve(pipe, lambda: sqlrag.connect(path), do, sqlrag.Error)


def copied(path: Path, folder: Path) -> Path:
    """Copy a database with `cp`, with the files beside it; return the copy's path.

    By another program: this process would lose its locks on each file that it opened and closed.
    """
    folder.mkdir()
    files = [file for file in path.parent.glob(f"{path.name}*") if not file.name.endswith("-shm")]  # that is made anew
    subprocess.run(["cp", *files, folder], check=False, stderr=subprocess.DEVNULL)  # a journal may be gone by now
    return folder / path.name
