"""Databases with a score cache, and processes that write one, for tests that have several of them or kill one."""

from __future__ import annotations

import os
from multiprocessing.connection import Connection
from pathlib import Path

import apsw

import sqlrag
from sqlrag.models import Reranker
from sqlrag.store.score_table import ScoreTable

Q = "how do bees tell each other where food is?"
TABLE = "SELECT count(*) FROM sqlite_schema WHERE name = 'sqlrag_scores'"
ROWS = 500
BATCH = 5


def open_cached(path: Path, rows: int = 1_000, **options) -> sqlrag.Database:
    """Open a database as a new process would: with a reranker that remembers nothing."""
    return sqlrag.connect(path, score_cache=rows, reranker=Reranker(), **options)


def table_of(path: Path) -> apsw.Connection:
    """Open the SQLite file that has the cache."""
    return apsw.Connection(str(path if path.suffix == ".db" else f"{path}.sqlrag"))


def counts(db: sqlrag.Database) -> tuple[int | None, int | None]:
    """Return what info says of the cache."""
    (info,) = db.info()
    return info.cached_scores, info.cache_hits


def search_with_a_cache(pipe: Connection, path: Path, questions: list[str]) -> list[list[sqlrag.Hit]]:
    """Ask the questions when the parent says so, with a score cache."""
    with sqlrag.connect(path, score_cache=10_000) as db:
        pipe.send("ready")
        pipe.recv()
        return [db.search(question) for question in questions]


def keep_for_ever(pipe: Connection, path: str) -> None:
    """Keep batches of scores, one transaction each, until somebody kills this process."""
    table = ScoreTable(path, ROWS, read_only=False)
    table.keep(bytes(16), {os.urandom(16): 0.5 for _ in range(BATCH)})
    pipe.send("ready")
    while True:
        table.keep(bytes(16), {os.urandom(16): 0.5 for _ in range(BATCH)})
