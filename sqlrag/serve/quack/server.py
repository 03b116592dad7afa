"""The server: a DuckDB instance of its own, in which the database is attached read-only.

Each client has a session in that instance that nobody prepares: it sees the instance's own catalog. So the functions
stand there as macros over Python functions, and the tables as views, under their own names. Before a statement runs,
quack asks a function whether it may (https://duckdb.org/docs/current/quack/security): that one is `Confinement`'s, as
for everybody else whom one does not know.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import duckdb

from sqlrag.database import LONGEST_TEXT
from sqlrag.engines.duckdb.confinement import Confinement
from sqlrag.engines.duckdb.engine import DuckDBEngine
from sqlrag.errors import Error, InputError
from sqlrag.process.database_paths import is_sqlite
from sqlrag.serve.quack.extensions import load_extensions
from sqlrag.serve.untrusted import PAIRS, SECONDS
from sqlrag.store.encoders import Encoders
from sqlrag.store.names import quote
from sqlrag.store.statements import statement

__all__ = ["QuackServer"]

_ATTACHED = "served"

_LOOK = 0.2
"""Seconds between two looks at what runs."""


class QuackServer:
    """A DuckDB file, served to DuckDB clients that have the token; to read it.

    Raises InputError for a SQLite file, MissingDependencyError without the extensions, and what `connect` does.
    """

    def __init__(self, path: str, *, reranker: str | None = None, seconds: float = SECONDS) -> None:
        if is_sqlite(path):
            raise InputError(f"{path} is a SQLite database: --quack serves those of DuckDB; --http serves both")
        self._seconds = seconds
        self._lock = threading.Lock()
        self._engine = DuckDBEngine(
            path,
            Encoders(None, reranker, "onnx"),
            read_only=True,
            must_exist=True,
            rerank_limit=PAIRS,
            nprobe=None,
            score_cache=None,
        )
        try:
            self._engine.confine(LONGEST_TEXT)
            self._instance = duckdb.connect(":memory:")
            self._prepare(path)
        except BaseException:
            self._engine.close()
            raise

    def listen(self, host: str, port: int, token: str) -> str:
        """Begin to answer, and return what clients attach: `quack:host:port`."""
        address = f"quack:{host}:{port}"
        self._instance.execute(f"CALL quack_serve({_text(address)}, token = {_text(token)})").fetchall()
        return address

    def watch(self) -> str:
        """Return the first statement that runs for longer than it may; only the end of the process stops it.

        Time of the processor counts as well as that of the clock: a result that its client does not fetch runs, too.
        """
        began: dict[tuple[Any, ...], tuple[float, float]] = {}
        while True:
            running = self._instance.execute(statement("quack/running")).fetchall()
            clock, processor = time.monotonic(), time.process_time()
            began = {key: began.get(key, (clock, processor)) for key in running}
            for key, (then, used) in began.items():
                if min(clock - then, processor - used) > self._seconds:
                    return str(key[-1])
            time.sleep(_LOOK)

    def close(self) -> None:
        """Stop answering."""
        self._instance.close()
        self._engine.close()

    def _prepare(self, path: str) -> None:
        """Make the catalog that the sessions see, and close it to the outside."""
        load_extensions(self._instance)
        self._instance.execute(f"ATTACH {_text(path)} AS {_ATTACHED} (READ_ONLY)")
        self._instance.create_function(
            "sqlrag_allows", self._allows, ["VARCHAR", "VARCHAR"], "BOOLEAN", side_effects=True
        )
        self._instance.execute("SET GLOBAL quack_authorization_function = 'sqlrag_allows'")
        self._confinement = Confinement(self._instance.cursor())
        self._engine.serve_functions(self._instance)
        names = statement("quack/tables", database=_ATTACHED)
        for schema, table in self._instance.execute(names).fetchall():
            name = f"{quote(schema)}.{quote(table)}"
            self._instance.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(schema)}")
            try:
                self._instance.execute(f"CREATE VIEW {name} AS FROM {_ATTACHED}.{name}")
            except duckdb.Error:
                continue  # a view that cannot be read here: one of other files, or whose table has gone

    def _allows(self, _session: str, sql: str) -> bool:
        """Tell quack whether a statement only reads; all it tells the client is that it failed."""
        try:
            with self._lock:
                self._confinement.check(sql)
        except (Error, duckdb.Error, UnicodeError):
            return False
        return True


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
