"""Processes that ingest and are killed, or stand in each other's way: forked from a server that has all imports."""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path

import apsw
import duckdb
import onnxruntime
import pyarrow as pa
import semchunk
import tokenizers

import sqlrag
import sqlrag.engines.duckdb.engine
import sqlrag.engines.sqlite.engine
import sqlrag.indexing.ingest
from tests.startup import kept_results

_IMPORTED = (apsw, duckdb, onnxruntime, pa, semchunk, tokenizers)

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__])

MAX_TOKENS = 40
"""About one paragraph of `content.write_folder`: a document is several chunks."""

BATCH = 16
"""Chunks in a commit of a child: small, so that there are many moments between two."""


class Child:
    """A process that runs a function of this module; `result` is what the function returned."""

    def __init__(self, function, *arguments: object) -> None:
        self._pipe, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=_run, args=(theirs, function, arguments))
        self.process.start()
        theirs.close()

    def wait_until_ready(self) -> None:
        """Wait until the function says that it begins."""
        assert self._pipe.recv() == "ready"

    def go(self) -> None:
        """Let a function that waits for it go on."""
        self._pipe.send("go")

    def said(self) -> list[object]:
        """Return what the process said that nobody has read; one that was killed may have said nothing."""
        said = []
        try:
            while self._pipe.poll():
                said.append(self._pipe.recv())
        except EOFError:
            pass
        return said

    def result(self) -> object:
        """Return what the function returned; raise what it raised."""
        result = self._pipe.recv()
        while result == "ready":
            result = self._pipe.recv()
        self.process.join()
        if isinstance(result, BaseException):
            raise result
        return result


def _run(pipe: Connection, function, arguments: tuple[object, ...]) -> None:
    os.environ.pop(kept_results.VARIABLE, None)  # an ingest that runs no model is over before it is killed
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sqlrag.indexing.ingest.BATCH_CHUNKS = BATCH
    try:
        pipe.send(function(pipe, *arguments))
    except Exception as error:  # noqa: BLE001 - handed on
        pipe.send(error)


def ingest(pipe: Connection, path: Path, folder: Path) -> sqlrag.IngestReport:
    """Ingest a folder."""
    with sqlrag.connect(path) as db:
        pipe.send("ready")
        return db.ingest(folder, max_tokens=MAX_TOKENS)


def ingest_at_once(pipe: Connection, path: Path, folder: Path) -> sqlrag.IngestReport:
    """Ingest a folder when the parent says so: the database is opened only then."""
    pipe.send("ready")
    pipe.recv()
    with sqlrag.connect(path) as db:
        return db.ingest(folder, max_tokens=MAX_TOKENS)


def check(pipe: Connection, path: Path) -> list[str]:
    """Open a database and check it."""
    with sqlrag.connect(path) as db:
        return db.check()
