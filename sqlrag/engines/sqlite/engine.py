"""A SQLite database with sqlrag in it: one file holds documents, chunks, vectors and full text."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

import apsw

from sqlrag.engines.base import Engine
from sqlrag.engines.options import ConnectionOptions
from sqlrag.engines.sqlite.changes import Changes
from sqlrag.engines.sqlite.confinement import confine
from sqlrag.engines.sqlite.functions import SEARCH, SQLiteIndexes, give_functions, load_vec
from sqlrag.engines.sqlite.rows import Columns, OpenRows, SQLiteRows
from sqlrag.engines.sqlite.script import Script
from sqlrag.engines.sqlite.table_schema import checked_columns, describe, row_of_hit
from sqlrag.engines.sqlite.triggers import Tracking
from sqlrag.errors import (
    InputError,
    LockedError,
    MissingDependencyError,
    ModelFileError,
    ModelMismatchError,
    UnknownModelError,
)
from sqlrag.process.open_files import inode_of
from sqlrag.results import Result
from sqlrag.store.check import check_index, foreign_vectors
from sqlrag.store.driver.error_translation import translated
from sqlrag.store.driver.forked_connection import InheritedConnection
from sqlrag.store.driver.lost_locks import check_locks
from sqlrag.store.driver.opening import BUSY_TIMEOUT_MS, HURRIED_MS, is_new, open_sqlite, use_wal
from sqlrag.store.driver.other_libraries import check_alone, close
from sqlrag.store.names import folded
from sqlrag.store.registry import IndexRecord
from sqlrag.store.score_table import table_in
from sqlrag.store.source_table import SourceTable
from sqlrag.store.states import KeptStates
from sqlrag.store.writer import immediate, upgrade
from sqlrag.values.bindings import bound, sqlite_value
from sqlrag.values.sql_lexer import SQLITE, significant

if TYPE_CHECKING:
    from sqlrag.engines.sqlite.index_tables import SQLiteTables
    from sqlrag.engines.sqlite.indexed_table import SQLiteIndexedTable
    from sqlrag.engines.sqlite.table_functions import SQLValue
    from sqlrag.store.encoders import Encoders

__all__ = ["SQLiteEngine"]


_LOOK_AGAIN = 0.05
"""Seconds after which a commit checks again whether another library has the file open."""


class SQLiteEngine(Engine):
    """The engine behind `Database` for a SQLite file."""

    name = "sqlite"
    search_function = SEARCH
    table_tracking = "triggers"

    indexes: SQLiteIndexes
    schema = "main"

    def __init__(self, path: str, encoders: Encoders, options: ConnectionOptions) -> None:
        read_only = options.read_only
        made_here = not read_only and is_new(path)
        connection = open_sqlite(path, read_only=read_only, must_exist=options.must_exist)
        try:
            with translated(path):
                self._begin(connection, SQLiteIndexes(connection), path, encoders, read_only=read_only)
                self._made_here = made_here
                self._upgrade()
                contents = self.indexes.look()
                encoders.use_recorded(contents.meta("embedder"))
                self._scores = table_in(self.connection, options.score_cache, read_only=read_only)
                self.functions = give_functions(
                    self.connection,
                    self.indexes,
                    encoders,
                    options,
                    self._scores,
                    on_plan=self._plan,
                )
                encoders.check_choice(contents.records)
        except BaseException:
            connection.close()
            raise
        self._inherited = InheritedConnection(connection, path, self.call_lock)
        self._inode = inode_of(path)
        self._looked = time.monotonic()
        self.call_lock.look = self._look
        connection.set_commit_hook(self._may_not_commit, id="sqlrag")

    def _look(self) -> None:
        """Raise LockedError if another SQLite library of this process has the file open, or has had since."""
        if self._inode is not None:
            check_alone(self.path, self._inode)
            check_locks(self.connection, self.path, self._inode)
        self._looked = time.monotonic()

    def _may_not_commit(self) -> bool:
        """Do the same at a commit; if it raises, the transaction is rolled back."""
        if time.monotonic() - self._looked > _LOOK_AGAIN:
            self._look()
        elif self._inode is not None:
            check_locks(self.connection, self.path, self._inode)
        return False

    def _begin(
        self, connection: apsw.Connection, indexes: SQLiteIndexes, path: str, encoders: Encoders, *, read_only: bool
    ) -> None:
        """Initialize with a connection; nothing is read yet."""
        super().__init__(path, encoders, read_only=read_only)
        self.connection = connection
        self.indexes = indexes
        self._made_here = False
        self._changes = Changes(connection, indexes)
        self._open_rows = OpenRows()
        self._held = False
        self._planned: set[str | None] = set()
        """The indexes that the statement asks, in lower case; None stands for one whose name is not a literal."""

    def _upgrade(self) -> None:
        """Upgrade a database of an earlier schema; if it cannot be written now, it is read as it is."""
        contents = self.indexes.look()
        contents.check_version(self.path)
        if self.read_only or not contents.exists or contents.is_current:
            return
        load_vec(self.connection)
        with suppress(apsw.BusyError, apsw.ReadOnlyError, apsw.FullError):
            upgrade(self.connection)

    def execute(self, sql: str, params: Mapping[str, Any] | Sequence[Any] | None = None) -> Result:
        """Run SQL; several statements may stand in it, the rows are those of the last."""
        cursor, script = self._traced(sql, runs=True)

        def errors() -> AbstractContextManager[None]:
            return translated(self.path, lambda: self._subject(sql))

        with errors(), _parameters_named():
            # SQLite compiles each statement here, and _plan learns which indexes it asks.
            cursor.execute(sql, bound(params, sqlite_value), can_cache=False)
            first = script.run_to_last(cursor)
        rows = SQLiteRows(cursor, script.columns, errors, self.call_lock, self._scores.flush, first=first)
        return Result(self._open_rows.add(rows))

    def _subject(self, sql: str) -> str:
        """Return which file an error of a statement is about, as SQLite does not say."""
        words = [one.text.upper() for one in islice(significant(sql, SQLITE), 3)]
        if words[:1] == ["ATTACH"] or (words[:1] == ["VACUUM"] and "INTO" in words):
            return "the file that this statement names"
        attached = set(self.connection.db_names()) - {"main", "temp"}
        return f"{self.path}, or a database that is attached to it," if attached else self.path

    def _plan(self, index: SQLValue) -> None:
        """Note that the statement being compiled asks an index, perhaps in a view or trigger."""
        self._planned.add(folded(index) if isinstance(index, str) else None)

    def _freshen(self) -> None:
        """Before a statement runs, index the changed rows of the indexes that it asks."""
        asked, self._planned = self._planned, set()
        if self.freshness is None or not asked:
            return
        none_is_open = self._open_rows.keep()
        contents = self.indexes.look()
        for record in contents.records:
            if none_is_open and self._changes.is_fresh(record, contents):
                continue
            if None in asked or folded(record.name) in asked:
                self.freshness.freshen(record)

    def describe(self, sql: str, params: Mapping[str, Any] | Sequence[Any] | None = None) -> Columns:
        """Return the columns of a statement, with the type that each is declared with, without running it."""
        cursor, script = self._traced(sql, runs=False)
        with translated(self.path), _parameters_named(), suppress(apsw.ExecTraceAbort):
            cursor.execute(sql, bound(params, sqlite_value))
        return script.columns

    def _traced(self, sql: str, *, runs: bool) -> tuple[apsw.Cursor, Script]:
        """Return a cursor for a text, and what will know its statements; `runs`: whether they are run."""
        self._planned = set()
        cursor = self.connection.cursor()
        script = Script(sql)

        def begin(tracing: apsw.Cursor, statement: str, _bindings: object) -> bool:
            if script.begin(tracing, statement) and runs and not tracing.is_explain:
                self._freshen()
            return runs

        cursor.exec_trace = begin
        return cursor, script

    @contextmanager
    def states(self, record: IndexRecord, *, write: bool = False) -> Iterator[KeptStates]:
        """Return what is kept of an index's chunks; `write`: the body is one write transaction."""
        with translated(self.path), immediate(self.connection) if write else nullcontext():
            yield KeptStates(self.connection, record)

    def source_table(self, table: object) -> SourceTable:
        """Return what the database says of a table or view. Raises InputError that lists those that there are."""
        with translated(self.path):
            return describe(self.connection, table)

    def check_source(self, record: IndexRecord) -> None:
        """Raise SourceGoneError where the source of an index is not what it was."""
        with translated(self.path):
            checked_columns(self.connection, self._followed(record))

    def tracking_of(self, source: SourceTable) -> str:
        """Return "triggers" for a table, "compare" for what cannot have any."""
        return "triggers" if source.kind == "table" else "compare"

    def stale(self, record: IndexRecord) -> int:
        """Return how many rows are queued. If the schema has changed, the triggers are checked and made again."""
        self._held = self._is_held()

        def repair() -> bool:
            try:
                with self.hurried():
                    self.indexed_table(record).prepare(compare=False)
            except LockedError:
                return False
            return True

        with translated(self.path):
            return self._changes.rows(record, repair if self.hindrance() is None else None)

    def gap(self, record: IndexRecord) -> str | None:
        """Return why `stale` may miss changes: triggers are gone, or what others wrote is not seen."""
        return str(self._open_rows.left()) if self._held else self._changes.gap(record)

    def _is_held(self) -> bool:
        """Tell whether an unread result, too large to be kept, hides from this connection what others have written."""
        if self._open_rows.keep() or self.hindrance() is not None:
            return False
        try:
            with self.hurried():
                self.connection.execute("BEGIN IMMEDIATE; ROLLBACK")
        except apsw.BusyError as error:
            return getattr(error, "extendedresult", None) == apsw.SQLITE_BUSY_SNAPSHOT
        return False

    def other_triggers(self, record: IndexRecord) -> list[str]:
        """Return the triggers on an index's chunk table that are not sqlrag's."""
        with translated(self.path):
            return self.indexes.look().other_triggers(record)

    def hindrance(self) -> str | None:
        """Return why no transaction can be begun on this connection now, None where one can."""
        if self.read_only or self.connection.readonly("main"):
            return "this connection is read-only"
        if not self.connection.getautocommit():
            return "a transaction is open on this connection: COMMIT it first"
        if self.connection.txn_state() == apsw.SQLITE_TXN_WRITE:
            return "the statement that asks also writes"
        return None

    @contextmanager
    def hurried(self) -> Iterator[None]:
        """Wait for other processes' writes no longer than a query may."""
        self.connection.set_busy_timeout(HURRIED_MS)
        try:
            yield
        finally:
            self.connection.set_busy_timeout(BUSY_TIMEOUT_MS)

    def add_maintenance(self, name: str, function: Callable[..., int], arguments: Sequence[int]) -> None:
        """Make a function that changes the database callable as SQL, but not from a view or trigger of the file's."""
        for count in arguments:
            self.connection.create_scalar_function(name, function, count, flags=apsw.SQLITE_DIRECTONLY)

    def indexed_table(self, record: IndexRecord) -> SQLiteIndexedTable:
        """Return what keeps an index in step with its table, by the names that the table and its columns have now."""
        self._check_writable()
        self._synced.add(record.name)
        with translated(self.path):
            followed = Tracking(self.connection, record).followed() if record.is_over_table else record
            if followed != record:
                with immediate(self.connection):
                    self.indexes.registry.put(followed)
            return self._indexed_table(followed)

    def _followed(self, record: IndexRecord) -> IndexRecord:
        return self.indexes.followed(record) if record.is_over_table else record

    def _tables(self, record: IndexRecord) -> SQLiteTables:
        from sqlrag.engines.sqlite.index_tables import SQLiteTables

        return SQLiteTables(self.connection, self.path, record)

    def _indexed_table(self, record: IndexRecord) -> SQLiteIndexedTable:
        from sqlrag.engines.sqlite.indexed_table import SQLiteIndexedTable

        return SQLiteIndexedTable(self.connection, self.path, record)

    def _prepare_new(self, record: IndexRecord) -> None:
        """Give a database of our own making a write-ahead log: readers go on while it is written.

        Somebody else's keeps its journal.
        """
        registry = self.indexes.registry
        with translated(self.path):
            if self.hindrance() is None and registry.find(record.name) is None and not registry.look().exists:
                others = "SELECT 1 FROM main.sqlite_schema WHERE tbl_name <> 'sqlrag_scores'"
                if self._made_here or not list(self.connection.execute(others)):
                    use_wal(self.connection)

    def _indexes_changed(self) -> None:
        """Do nothing: what is known of the indexes is read whenever it is needed."""

    def _is_own_view(self, record: IndexRecord) -> bool:
        """Tell whether a view has no recursion, which may go on for ever; SQLite's views read no other files."""
        self.indexes.columns(record)  # raises where the source is not what it was
        return self.indexes.has_end(record)

    def _row_of_hit(self, record: IndexRecord) -> dict[str, str]:
        self.indexes.columns(record)  # raises where the source is not what it was
        return row_of_hit(record)

    def _is_read_only(self) -> bool:
        return self.read_only or self.connection.readonly("main")

    def _check_writable(self, what: str = "written to") -> None:
        super()._check_writable(what)
        if self._is_held():
            raise self._open_rows.left()

    def _errors(self) -> AbstractContextManager[None]:
        return translated(self.path)

    def _checking(self) -> AbstractContextManager[None]:
        return translated(self.path)

    def _damage(self) -> list[str]:
        from sqlrag.store.driver.integrity import damage

        return [f"database: {problem}" for problem in damage(self.connection)]

    def _problems_of(self, record: IndexRecord) -> list[str]:
        return check_index(self.connection, record) or self._foreign_vectors(record)

    def _source_problems(self, record: IndexRecord) -> list[str]:
        return self._indexed_table(record).problems()

    def _is_repaired(self, record: IndexRecord) -> bool:
        """Tell whether the vectors that were kept are those of their texts."""
        with translated(self.path):
            return not self._foreign_vectors(record)

    def _foreign_vectors(self, record: IndexRecord) -> list[str]:
        """Return whether vectors are other texts', as far as the index's model is here."""
        try:
            wrong, of = foreign_vectors(self.connection, record, self.encoders.embedder_of(record))
        except (MissingDependencyError, ModelFileError, ModelMismatchError, UnknownModelError):
            return []
        return [f"{record.name}: {wrong} of {of} vectors looked at are not of their texts"] if wrong else []

    def _files(self) -> Sequence[str]:
        return self.path, f"{self.path}-wal"

    def _confine(self) -> None:
        if apsw.hard_heap_limit(-1):  # a server's memory is limited, its disk is not
            self.connection.pragma("temp_store", 2)
        confine(self.connection)

    def _interrupt(self) -> None:
        self.connection.interrupt()

    def close(self) -> None:
        """Close the connection."""
        with translated(self.path):
            close(self.connection, self.path, self._inode)
        self._scores.close()


@contextmanager
def _parameters_named() -> Iterator[None]:
    try:
        yield
    except KeyError as error:
        raise InputError(f"the statement has a parameter {error.args[0]!r} that no value was given for") from error
