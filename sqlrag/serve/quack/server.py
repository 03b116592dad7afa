"""The quack server: a DuckDB instance of its own, in which the database is attached read-only.

Each client has a session in that instance, which no code of ours prepares: it sees the instance's own catalog. So the
functions are there as macros over Python functions, and the tables as views, under their own names. Before a statement
runs, quack asks a function whether it may (https://duckdb.org/docs/current/quack/security). That function asks
`Confinement`, as for all untrusted statements.
"""

from __future__ import annotations

import importlib.util
import os
import threading
import time
from collections.abc import Mapping
from typing import Any

import duckdb

from sqlrag.database import LONGEST_TEXT
from sqlrag.engines.duckdb.confinement import Confinement
from sqlrag.engines.duckdb.engine import DuckDBEngine
from sqlrag.engines.options import ConnectionOptions
from sqlrag.errors import Error, InputError, MissingDependencyError
from sqlrag.process.database_paths import is_sqlite
from sqlrag.serve.untrusted import PAIRS, SECONDS
from sqlrag.store.encoders import Encoders
from sqlrag.store.names import quote
from sqlrag.store.statements import statement

__all__ = ["QuackServer", "load_extensions"]

_ATTACHED = "served"
"""The name of the attached database."""

_EXTENSIONS = ("httpfs", "quack")
"""quack makes its session ids with the cryptography of httpfs."""

_LOOK = 0.2
"""Seconds between two looks at the running statements."""


class QuackServer:
    """Serves a DuckDB file, for reading, to DuckDB clients that have the token.

    Raises InputError for a SQLite file, MissingDependencyError without the extensions, and what `connect` does.
    """

    def __init__(self, path: str, *, models: Mapping[str, str] | None = None, seconds: float = SECONDS) -> None:
        if is_sqlite(path):
            raise InputError(f"{path} is a SQLite database: --quack serves those of DuckDB; --http serves both")
        self._seconds = seconds
        self._lock = threading.Lock()
        options = ConnectionOptions(read_only=True, must_exist=True, rerank_limit=PAIRS)
        self._engine = DuckDBEngine(path, Encoders(**models or {}), options)
        try:
            self._engine.confine(LONGEST_TEXT)
            self._instance = duckdb.connect(":memory:")
            self._prepare(path)
        except BaseException:
            self._engine.close()
            raise

    def listen(self, host: str, port: int, token: str) -> str:
        """Start to answer, and return the address that clients attach: `quack:host:port`."""
        address = f"quack:{host}:{port}"
        self._instance.execute(f"CALL quack_serve({_text(address)}, token = {_text(token)})").fetchall()
        return address

    def watch(self) -> str:
        """Return the first statement that exceeds the time limit; only the end of the process can stop it.

        Both the clock and the processor's time must exceed it: a result that its client has not fetched counts as
        running, too.
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
        """Make the catalog that the sessions see, and confine it."""
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
                continue  # a view of another file, or of a table that has gone, cannot be read here

    def _allows(self, _session: str, sql: str) -> bool:
        """Tell quack whether a statement only reads. Otherwise quack tells the client no more than that it failed."""
        try:
            with self._lock:
                self._confinement.check(sql)
        except (Error, duckdb.Error, UnicodeError):
            return False
        return True


def load_extensions(connection: duckdb.DuckDBPyConnection) -> None:
    """Load DuckDB's extensions quack and httpfs, from DuckDB's own folder or from the wheels of its Python package.

    Raises MissingDependencyError if they are not installed for this DuckDB; nothing is fetched.
    """
    for name in _EXTENSIONS:
        _load(connection, name)


def _load(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    try:
        connection.execute(f"LOAD {name}")
    except duckdb.Error as error:
        wheel = _in_wheel(name)
        if wheel is None:
            raise MissingDependencyError(
                f"DuckDB {duckdb.__version__} does not have its extension {name} here: "
                'pip install "sqlrag[quack]" (which brings another DuckDB), '
                "or, with a network, python -c 'import duckdb; duckdb.sql(\"INSTALL httpfs; INSTALL quack\")'"
            ) from error
        connection.execute(f"LOAD {_text(wheel)}")


def _in_wheel(name: str) -> str | None:
    """Return the extension's file in the package duckdb-extension-NAME, None if there is none for this DuckDB."""
    package = importlib.util.find_spec(f"duckdb_extension_{name}")
    if package is None or package.origin is None:
        return None
    folder = os.path.join(os.path.dirname(package.origin), "extensions", f"v{duckdb.__version__}")
    file = os.path.join(folder, f"{name}.duckdb_extension")
    return file if os.path.exists(file) else None


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
