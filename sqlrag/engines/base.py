"""What a database is to `Database`, whichever engine holds it: `Engine`, with what is not a dialect's in it."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar

from sqlrag.errors import DatabaseError, InputError, ReadOnlyError, SourceGoneError
from sqlrag.process.call_lock import CallLock
from sqlrag.process.database_paths import is_duckdb, is_sqlite
from sqlrag.store.names import NEXT
from sqlrag.store.statements import statement
from sqlrag.store.states import COMPACT
from sqlrag.values.arguments import shown

if TYPE_CHECKING:
    from sqlrag.engines.document_writer import DocumentWriter
    from sqlrag.engines.functions import Functions, IndexSource
    from sqlrag.engines.index_tables import IndexTables
    from sqlrag.engines.indexed_table import IndexedTable
    from sqlrag.indexing.freshness import Freshness
    from sqlrag.results import Result
    from sqlrag.store.encoders import Encoders
    from sqlrag.store.registry import IndexRecord
    from sqlrag.store.source_table import SourceTable
    from sqlrag.store.states import KeptStates
    from sqlrag.text.documents import Document, Encode

__all__ = ["Engine", "engine_of"]

_DUCKDB_SUFFIXES = (".duckdb", ".ddb")


class Engine(ABC):
    """A database with indexes in it. A subclass has what its engine's SQL, files and transactions ask for.

    What a query does not need is imported when it is needed: a process may run just one.
    """

    name: ClassVar[str]
    """`"sqlite"` or `"duckdb"`."""
    search_function: ClassVar[str]
    """What our own statements call search()."""
    table_tracking: ClassVar[str]
    """How changes of an ordinary table are noticed: one of `sqlrag.store.source_table.TRACKING`."""

    schema: str
    """What the names of the database's own tables begin with in SQL, before the dot."""
    indexes: IndexSource
    functions: Functions

    def __init__(self, path: str, encoders: Encoders, *, read_only: bool) -> None:
        self.path = path
        self.encoders = encoders
        self.read_only = read_only
        self.call_lock = CallLock(path)
        self.freshness: Freshness | None = None
        """What brings in rows before an index is asked; `Database` sets it."""
        self._synced: set[str] = set()
        """Indexes that were synced on this connection, so that the views they are over may be read."""

    # Statements

    @abstractmethod
    def execute(self, sql: str, params: Mapping[str, Any] | Sequence[Any] | None = None) -> Result:
        """Run SQL; several statements may stand in it, the rows are those of the last."""

    @abstractmethod
    def describe(
        self, sql: str, params: Mapping[str, Any] | Sequence[Any] | None = None
    ) -> list[tuple[str, str | None]]:
        """Return the columns of a statement and their types, without running it."""

    def search_statement(self, record: IndexRecord, *, filtered: bool) -> str:
        """Return the statement of `Database.search` for an index; `filtered`: a filter will be given with it.

        A hit's metadata are the columns of its row that filters name. A view that may read more than this database, or
        may have no end, is only read where the user has asked for it: by a filter, or by a sync on this connection.
        """
        if not record.is_over_table:
            return self._search_from("search", record)
        record = self._followed(record)
        if record.filters == "[]":
            return self._search_from("search_rows", record)
        with self._errors():
            is_asked_for = filtered or record.tracking == self.table_tracking or record.name in self._synced
            if is_asked_for or self._is_own_view(record):
                return self._search_from("search_table", record, **self._row_of_hit(record))
        if self.freshness is not None:
            self.freshness.warn_of_view(record)
        return self._search_from("search_rows", record)

    def _search_from(self, name: str, record: IndexRecord, **parts: str) -> str:
        return statement(name, index=record.name, main=self.schema, search=self.search_function, **parts)

    @abstractmethod
    def _is_own_view(self, record: IndexRecord) -> bool:
        """Tell whether the view that an index is over reads nothing but this database, in a time that has an end."""

    @abstractmethod
    def _row_of_hit(self, record: IndexRecord) -> dict[str, str]:
        """Return what sql/search_table.sql needs as SQL: `table`, `is_source` and `metadata`.

        Raises SourceGoneError where the table is not what it was.
        """

    @abstractmethod
    def add_maintenance(self, name: str, function: Callable[..., int], arguments: Sequence[int]) -> None:
        """Make a function that changes the database callable as SQL, with so many arguments.

        Only a statement of the user's own may call it: a view or trigger of the file may not.
        """

    # Tables that indexes are over

    @abstractmethod
    def source_table(self, table: object) -> SourceTable:
        """Return what the database says of a table or view. Raises InputError that lists those that there are."""

    @abstractmethod
    def check_source(self, record: IndexRecord) -> None:
        """Raise SourceGoneError where the source of an index is gone or is not what it was; it is not read."""

    @abstractmethod
    def tracking_of(self, source: SourceTable) -> str:
        """Return how changes of a table are noticed: one of `sqlrag.store.source_table.TRACKING`."""

    @abstractmethod
    def stale(self, record: IndexRecord) -> int:
        """Return how many rows of its table an index does not have, as far as that is cheap to know."""

    @abstractmethod
    def gap(self, record: IndexRecord) -> str | None:
        """Return why `stale` may not count every change of an index's table, None where it does."""

    def is_fresh(self, record: IndexRecord) -> bool:
        """Tell whether an index is known to have all rows of the table or view that it is over."""
        try:
            self.check_source(record)
            return not (self.stale(record) or self.gap(record))
        except SourceGoneError:
            return False

    def source_error(self, record: IndexRecord) -> DatabaseError | None:
        """Return the error that keeps changes from being counted: the source of an index is gone, say."""
        try:
            self.check_source(record)
            self.stale(record)
        except DatabaseError as error:
            return error
        return None

    @abstractmethod
    def hindrance(self) -> str | None:
        """Return why no transaction can be begun on this connection now, None where one can."""

    @abstractmethod
    def other_triggers(self, record: IndexRecord) -> list[str]:
        """Return the triggers on an index's chunk table that are not sqlrag's."""

    @abstractmethod
    def hurried(self) -> AbstractContextManager[None]:
        """Wait for other processes' writes no longer than a query may."""

    # Indexes

    def writer(self, record: IndexRecord) -> DocumentWriter:
        """Return the writer of an index over documents; `record` is what a new index is made with."""
        from sqlrag.engines.document_writer import DocumentWriter

        self._check_writable("ingested into")
        self._prepare_new(record)
        writer = DocumentWriter(self._tables(record))
        if writer.is_new:
            self._indexes_changed()
        return writer

    def create_index(self, record: IndexRecord) -> None:
        """Make an index over a table, every row of it queued; one of this name that is there is left as it is."""
        self._check_writable()
        self._prepare_new(record)
        self._indexed_table(record).create()
        self._indexes_changed()

    def indexed_table(self, record: IndexRecord) -> IndexedTable[Any]:
        """Return what keeps an index in step with its table."""
        self._check_writable()
        self._synced.add(record.name)
        return self._indexed_table(record)

    def drop(self, record: IndexRecord) -> None:
        """Drop an index, and the one that is being made to take its place; of one over documents, with them."""
        from dataclasses import replace

        self._check_writable()
        tables = self._tables(record)
        with tables.transaction():
            begun = tables.of(replace(record, name=f"{record.name}{NEXT}")).existing()
            for one in (record, begun):
                if one is not None:
                    tables.of(one).drop()
            if not record.is_over_table:
                tables.rows(f"DELETE FROM {tables.main}.documents WHERE index_name = ?", [record.name])
        self._indexes_changed()

    def alter(self, record: IndexRecord, new: IndexRecord) -> None:
        """Change an index's text, filters and tokenizer, in one transaction."""
        self._check_writable()
        tables = self._tables(new)
        with tables.transaction():
            tables.alter(record)
        self._indexes_changed()

    def begin_next(self, record: IndexRecord, new: IndexRecord) -> None:
        """Make the index that is to take another's place, every text queued; one begun the same way is kept."""
        from sqlrag.engines.rebuilding import begin_next

        self._check_writable()
        begin_next(self._indexed_table(new), record)
        self._indexes_changed()

    def switch(self, record: IndexRecord, new: IndexRecord) -> None:
        """Put an index in the place of the old one, in one transaction; what it does not have yet is its backlog."""
        from sqlrag.engines.rebuilding import switch

        switch(self._indexed_table(new), record)
        self._indexes_changed()

    def remake_codes(self, record: IndexRecord, progress: Callable[[str, float], None]) -> None:
        """Make the codes of an index's vectors anew, and measure again how many candidates a search needs."""
        self._check_writable()
        tables = self._tables(record)
        with tables.errors():
            tables.remake_codes()
        tables.keep_up(progress)

    def encode(self, record: IndexRecord) -> Encode:
        """Return what makes the vectors of an index, and what its reranker keeps of texts, in one pass."""
        embedder = self.encoders.embedder_of(record)
        reranker = self.encoders.reader_of(record)
        if reranker is not None:
            with self.states(record) as states:
                if states.are_wanted():
                    return reranker.encode
        return lambda texts: (embedder.encode_document(texts), ())

    def choose_states(self, record: IndexRecord, states: str | None) -> None:
        """Note whether the states of an index's chunks are to be kept, unless that is left open (None).

        Raises InputError where they are wanted, and the reranker does not read them.
        """
        if states is None:
            return
        self._check_writable()
        if states == COMPACT and self.encoders.reader_of(record) is None:
            raise InputError(
                f"states is {states!r}, but the reranker {self.encoders.reranker.name} does not read the states of "
                f"{record.embedder}, the model of index {record.name!r}: leave states out"
            )
        with self.states(record, write=True) as kept:
            kept.choose(states)

    @abstractmethod
    def states(self, record: IndexRecord, *, write: bool = False) -> AbstractContextManager[KeptStates]:
        """Return what is kept of an index's chunks; `write`: the body is one write transaction."""

    def repair_index(self, record: IndexRecord) -> bool:
        """Take out of an index what is wrong, so that it is indexed again; False where only making it anew helps."""
        from sqlrag.engines.rebuilding import repair_index

        self._check_writable()
        return repair_index(self._tables(record)) and self._is_repaired(record)

    def partial_documents(self, record: IndexRecord) -> list[Document]:
        """Return the documents of which not every chunk is stored."""
        from sqlrag.engines.document_writer import partial_documents

        return partial_documents(self._tables(record))

    def check(self) -> list[str]:
        """Return what is wrong with the database and its indexes, a line each; empty when all is sound."""
        with self._checking():
            problems = self._damage()
            for record in self.indexes.records():
                problems += self._problems_of(record)
                if record.is_over_table:
                    problems += self._source_problems(record)
                    continue
                if not problems:  # otherwise a table may be gone, or hold anything
                    problems += self._tables(record).offset_problems()
                if backlog := self.indexes.backlog(record)[0]:
                    problems.append(
                        f"{record.name}: {backlog} documents are ingested in part: run the same ingest again"
                    )
            return problems

    # What a subclass says of its indexes

    @abstractmethod
    def _tables(self, record: IndexRecord) -> IndexTables:
        """Return the tables of an index, for writing."""

    @abstractmethod
    def _indexed_table(self, record: IndexRecord) -> IndexedTable[Any]:
        """Return what keeps an index in step with its table, where this connection may write or not."""

    @abstractmethod
    def _errors(self) -> AbstractContextManager[None]:
        """Turn the engine's errors in the body into sqlrag's."""

    @abstractmethod
    def _checking(self) -> AbstractContextManager[None]:
        """Do the same for all files of the database, and let no other thread change them meanwhile."""

    @abstractmethod
    def _damage(self) -> list[str]:
        """Return what is wrong with the files."""

    @abstractmethod
    def _problems_of(self, record: IndexRecord) -> list[str]:
        """Return what is wrong within an index."""

    @abstractmethod
    def _source_problems(self, record: IndexRecord) -> list[str]:
        """Return what is wrong between an index and the table that it is over."""

    @abstractmethod
    def _is_repaired(self, record: IndexRecord) -> bool:
        """Do what a repair of the index's tables leaves to be done; tell whether the index can be relied on."""

    @abstractmethod
    def _prepare_new(self, record: IndexRecord) -> None:
        """Make the database ready for an index that may be new, before the transaction that makes it."""

    @abstractmethod
    def _indexes_changed(self) -> None:
        """Note that indexes were made, dropped or altered."""

    def _followed(self, record: IndexRecord) -> IndexRecord:
        """Return the record with the names that its source and the columns have now."""
        return record

    def _check_writable(self, what: str = "written to") -> None:
        """Raise where nothing can be written: ReadOnlyError, or another error for a connection that is busy."""
        if self._is_read_only():
            raise ReadOnlyError(f"{self.path} is open read-only: nothing can be {what} it")

    def _is_read_only(self) -> bool:
        return self.read_only

    # Files and connection

    def size(self) -> int:
        """Return the bytes on disk."""
        return sum(os.path.getsize(file) for file in self._files() if os.path.exists(file))

    @abstractmethod
    def _files(self) -> Sequence[str]:
        """Return the files that the database consists of, as far as they are there."""

    def confine(self, longest_text: int) -> None:
        """Let SQL do nothing but read the database's own tables; its functions take texts up to a length."""
        self.functions.longest_text = longest_text
        self._confine()

    @abstractmethod
    def _confine(self) -> None:
        """Let SQL do nothing but read the database's own tables."""

    def interrupt(self) -> None:
        """Stop the statement that runs; may be called from another thread."""
        self.functions.stop.ask()
        self._interrupt()

    @abstractmethod
    def _interrupt(self) -> None:
        """Have the engine stop its statement."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""


def engine_of(path: str, engine: str | None) -> str:
    """Return "sqlite" or "duckdb": what is asked for, else what the file is, for a new one by its suffix."""
    if engine is not None:
        if not isinstance(engine, str) or engine not in ("sqlite", "duckdb"):
            raise InputError(f"engine is {shown(engine)}: it is 'sqlite' or 'duckdb'")
        return engine
    if is_duckdb(path):
        return "duckdb"
    if is_sqlite(path):
        return "sqlite"
    return "duckdb" if path.lower().endswith(_DUCKDB_SUFFIXES) else "sqlite"
