"""The index file beside a DuckDB database: a SQLite file with what DuckDB does not have, codes and full text.

`papers.duckdb` has `papers.duckdb.sqlrag`. The file is made from DuckDB's tables and may be deleted at any time. If it
differs from them, because a process was killed between the two commits or rows were changed by hand, the next query
brings it up to date.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet, WeakValueDictionary

from sqlrag.engines.duckdb.cursors import catalog_of, own_cursor
from sqlrag.engines.duckdb.differences import problems_of, state_of
from sqlrag.engines.duckdb.error_translation import translated as translated_duckdb
from sqlrag.engines.duckdb.file_signature import Signature, file_signature
from sqlrag.engines.duckdb.index_connection import (
    in_memory,
    index_file_of,
    open_index,
    open_index_read_only,
    remake_index,
)
from sqlrag.engines.duckdb.index_copy import FILES, bring_to, drop_index, note_state, shown_state
from sqlrag.engines.duckdb.schema_check import check_tables, stored_records
from sqlrag.engines.duckdb.vectors import all_vectors
from sqlrag.errors import DatabaseError, NotADatabaseError, SQLError
from sqlrag.store.driver.error_translation import translated
from sqlrag.store.names import quote
from sqlrag.store.registry import Contents, IndexRecord, Registry, check_schema_version
from sqlrag.store.writer import immediate

if TYPE_CHECKING:
    import duckdb

__all__ = ["IndexFile", "index_file_of"]


class IndexFile:
    """The index file of an open DuckDB database, which `catch_up` keeps up to date with its tables."""

    def __init__(self, database: duckdb.DuckDBPyConnection, path: str, *, read_only: bool) -> None:
        self.lock = threading.RLock()
        self.changing = _lock_of(path)
        self._path = path
        self._cursors: WeakSet[duckdb.DuckDBPyConnection] = WeakSet()
        with translated_duckdb(path):
            self.catalog = catalog_of(database)
        self.main = f"{quote(self.catalog)}.main"
        self.cursor = self._duckdb = self.closing(own_cursor(database, self.catalog))
        self._read_only = read_only
        self._tables_seen = False
        self._known: list[IndexRecord] = []
        self._lost: dict[str, tuple[IndexRecord, DatabaseError]] = {}
        self._seen: list[object] | None = None
        self._file = os.path.abspath(path)  # the process may change its folder
        self._files: Signature | None = None
        try:
            files = file_signature(self._file)  # read first, so that a later commit is noticed next time
            with translated_duckdb(path):  # a new index file would not help against an error in the tables
                tables = check_tables(self._duckdb)
            self._tables_seen = "sqlrag_indexes" in tables
            check_schema_version(self._meta("schema_version"), path)
            records = self._records(tables)
            with self.changing:
                file = index_file_of(path)
                self.connection = (open_index_read_only(file) or in_memory()) if read_only else open_index(file)
                self.registry = Registry(self.connection)
                brought = self._begin(records, files)
            self._keep_up(brought)
            self._known, self._files = records, files
        except BaseException:
            self._close_cursors()
            raise

    # For the writer

    def closing(self, cursor: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
        """Close the cursor when this is closed: an open cursor keeps the database file locked."""
        self._cursors.add(cursor)
        return cursor

    def state(self, record: IndexRecord, database: duckdb.DuckDBPyConnection | None = None) -> str:
        """Return the state of an index's tables: the committed one, or that which `database` sees in its transaction.

        Raises DatabaseError if a table is missing.
        """
        database = database or self._duckdb
        try:
            with translated_duckdb(self._path):
                return state_of(database, record)
        except SQLError as error:
            raise self._without_table(record, error) from error

    def _without_table(self, record: IndexRecord, error: SQLError) -> DatabaseError:
        return DatabaseError(
            f"{self._path}: index {record.name!r} has lost a table ({str(error).splitlines()[0]}): "
            "sqlrag check --repair makes the index anew"
        )

    def state_shown(self, name: str) -> str | None:
        """Return the state of DuckDB's tables that the index file was made from; None if it lacks the index."""
        shown = self.registry.look()
        return shown_state(shown, name) if shown.find(name) else None

    def record_state(self, record: IndexRecord, state: str) -> None:
        """Record in the index file which state of DuckDB's tables it has. The caller has opened a transaction."""
        note_state(self.registry, record, state)

    # Keeping the file up to date

    def catch_up(self) -> None:
        """Bring the index file to the state of DuckDB's tables."""
        if self._read_only:
            return  # as long as DuckDB has the file open read-only, nobody can write it
        files = file_signature(self._file)  # read first, so that a later commit is noticed next time
        if files is not None and files == self._files:
            return
        with self.lock, translated(index_file_of(self._path)), translated_duckdb(self._path):
            seen = self._glance()
            if seen is not None and seen == self._seen:
                self._files = files
                return
            with self.changing:
                records = self._records()
                brought = self._show(records, self._states(records))
                self._note(files)
            if [record.name for record in records] != [record.name for record in self._known]:
                seen = None  # it was about other indexes, and a new one might include rows that are not copied yet
            self._known, self._seen, self._files = records, seen, files
            self._keep_up(brought)

    def _show(self, records: Sequence[IndexRecord], states: Mapping[str, str]) -> list[IndexRecord]:
        """Bring the index file to these states; return the records of the indexes that were behind.

        The caller holds `changing`.
        """
        for one in self.registry.look().records:
            if one.name not in states:
                drop_index(self.connection, one.name)
        shown = self.registry.look()
        behind = [
            record
            for record in records
            if record.name in states
            and not (_has(shown, record) and shown_state(shown, record.name) == states[record.name])
        ]
        return [record for record in behind if self._bring(record.name)]

    def _bring(self, name: str) -> bool:
        """Bring one index of the index file up to date; return False if its tables are not usable.

        State and rows are read in one transaction, so that both are of the same commit.
        """
        reader = self.closing(own_cursor(self._duckdb, self.catalog))
        record: IndexRecord | None = None
        try:
            reader.execute("BEGIN")
            record = next((one for one in stored_records(reader) if one.name == name), None)
            if record is not None:
                with translated(index_file_of(self._path)):
                    bring_to(self.state(record, reader), reader, self.connection, record)
        except SQLError as error:
            if record is None or "UNIQUE constraint failed" not in str(error):
                raise
            self._lost[name.lower()] = (
                record,
                DatabaseError(
                    f"{self._path}: index {name!r} has a chunk twice ({error}): sqlrag check --repair mends it"
                ),
            )
            return False
        finally:
            reader.close()
        return record is not None

    def _keep_up(self, records: Iterable[IndexRecord]) -> None:
        with self.lock, translated(index_file_of(self._path)):
            for record in records:
                self.keep_up(record)

    def _states(self, records: Iterable[IndexRecord]) -> dict[str, str]:
        """Return the state of each index that has its tables. The others are noted as lost, until a repair."""
        states: dict[str, str] = {}
        self._lost = {}
        for record in records:
            try:
                states[record.name] = self.state(record)
            except DatabaseError as error:  # noqa: PERF203 - a database has few indexes
                self._lost[record.name.lower()] = (record, error)
        return states

    def copy_again(self, record: IndexRecord | None = None) -> None:
        """Make the index file anew, or one index in it."""
        with self.lock, self.changing:
            path = index_file_of(self._path)
            try:
                with translated(path):
                    for one in self.registry.look().records if record is None else [record]:
                        drop_index(self.connection, one.name)
            except (NotADatabaseError, SQLError) as error:  # not DiskFullError, which is no reason to remove the file
                self.connection.close()
                self.connection = remake_index(path, error)
                self.registry = Registry(self.connection)
            self._seen = self._files = None
            self.catch_up()

    def differences(self) -> list[str]:
        """Compare the index file with DuckDB's tables, row by row, for `check`; return a line for each difference."""
        path = index_file_of(self._path)
        from sqlrag.store.driver.integrity import damage

        with translated(path), translated_duckdb(self._path):
            problems = [f"{path}: {problem}" for problem in damage(self.connection)]
            for record in self._records():
                problems += problems_of(self._duckdb, self.connection, record, path)
        return problems

    def interrupt(self) -> None:
        """Stop the queries of the SQL function that runs; may be called from another thread."""
        self.connection.interrupt()
        for cursor in list(self._cursors):
            cursor.interrupt()

    def close(self) -> None:
        """Close the connections."""
        try:
            self.connection.close()
        finally:
            self._close_cursors()

    # Private

    def _close_cursors(self) -> None:
        for cursor in list(self._cursors):
            cursor.close()

    def _glance(self) -> list[object] | None:
        """Return what changes whenever a state does, for as long as files cannot tell."""
        if not self._has_tables():
            return None
        try:
            records = self._rows("SELECT name, embedder_hash, version FROM sqlrag_indexes ORDER BY ALL")
            return [*records, *(self.state(record) for record in self._known)]
        except DatabaseError:
            return None  # a table is missing: `_states` finds out which

    def _run(self, sql: str, params: list[Any] | dict[str, Any] | None = None) -> duckdb.DuckDBPyConnection:
        with translated_duckdb(self._path):
            return self._duckdb.execute(sql, params)

    def _rows(self, sql: str, params: list[Any] | None = None) -> list[tuple[Any, ...]]:
        return self._run(sql, params).fetchall()

    def _has_tables(self) -> bool:
        if not self._tables_seen:
            with translated_duckdb(self._path):
                self._tables_seen = "sqlrag_indexes" in check_tables(self._duckdb)
        return self._tables_seen

    def _meta(self, key: str) -> str | None:
        if not self._has_tables():
            return None
        rows = self._rows("SELECT value FROM sqlrag_meta WHERE key = ?", [key])
        return str(rows[0][0]) if rows else None

    def _records(self, tables: set[str] | None = None) -> list[IndexRecord]:
        """Return the records of the indexes in DuckDB's tables; `tables` as for `stored_records`."""
        with translated_duckdb(self._path):
            return stored_records(self._duckdb, tables) if self._has_tables() else []

    def _begin(self, records: Sequence[IndexRecord], files: Signature | None) -> list[IndexRecord]:
        """Bring the index file up to date when the database is opened; return the records that were behind.

        A damaged file is made anew. If the database is open read-only and its file is behind, an index in memory takes
        its place. The caller holds `changing`.
        """
        path = index_file_of(self._path)
        with translated_duckdb(self._path):
            try:
                with translated(path):
                    shown = self.registry.look()
                    names = {record.name for record in shown.records}
                    is_noted = files is not None and shown.meta(FILES) == str(files)
                    is_recorded = all(_has(shown, record) for record in records)
                    if is_noted and is_recorded and names <= {record.name for record in records}:
                        return []
                    states = self._states(records)
                    if not self._read_only:
                        brought = self._show(records, states)
                        self._note(files)
                        return brought
                    if is_recorded and {name: shown_state(shown, name) for name in names} == states:
                        return []
                    self.connection.close()
                    self.connection = in_memory()
            except (NotADatabaseError, SQLError) as error:
                self.connection.close()
                self.connection = in_memory() if self._read_only else remake_index(path, error)
            self.registry = Registry(self.connection)
            with translated(path):
                return self._show(records, self._states(records))

    def _note(self, files: Signature | None) -> None:
        """Record the signature of the database's files, so that the next opening need not look at the tables.

        `note_state` removes it again.
        """
        if files is None or self._lost:
            return
        shown = self.registry.look()
        if shown.exists and shown.meta(FILES) != str(files):
            with immediate(self.connection):
                self.registry.set_meta(FILES, str(files))

    def keep_up(self, record: IndexRecord, progress: Callable[[str, float], None] = lambda _what, _share: None) -> None:
        """Measure how many candidates a search needs, if the index has grown; the caller holds the lock."""
        from sqlrag.store.upkeep import keep_up

        keep_up(self.connection, record, progress, partial(all_vectors, self._duckdb, record))


def _has(shown: Contents, record: IndexRecord) -> bool:
    """Tell whether the index file has the same record of an index as DuckDB's tables."""
    found = shown.find(record.name)
    return found is not None and found.is_as(record)


_changing: WeakValueDictionary[str, threading.RLock] = WeakValueDictionary()
"""The lock of each index file: only one connection of the process at a time may compare and write it.

No other process has the database open then, because DuckDB does not let it in.
"""


def _lock_of(path: str) -> threading.RLock:
    return threading.RLock() if path == ":memory:" else _changing.setdefault(os.path.abspath(path), threading.RLock())
