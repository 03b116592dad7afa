"""What an engine is to `Database`, and which one a file is for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from sqlrag.errors import InputError
from sqlrag.process.database_paths import is_duckdb, is_sqlite
from sqlrag.values.arguments import shown

if TYPE_CHECKING:
    from sqlrag.engines.changed_rows import LiveTable
    from sqlrag.engines.functions import Functions, IndexSource
    from sqlrag.indexing.freshness import Freshness
    from sqlrag.indexing.ingest import Writer
    from sqlrag.process.call_lock import CallLock
    from sqlrag.results import Result
    from sqlrag.store.encoders import Encoders
    from sqlrag.store.registry import IndexRecord
    from sqlrag.store.source_table import SourceTable
    from sqlrag.text.documents import Document

__all__ = ["Engine", "engine_of"]

_DUCKDB_SUFFIXES = (".duckdb", ".ddb")


class Engine(Protocol):
    """What `Database` needs of SQLite and of DuckDB."""

    name: str
    path: str
    schema: str
    """What the names of the database's own tables begin with in SQL, before the dot."""
    read_only: bool
    encoders: Encoders
    functions: Functions
    call_lock: CallLock
    freshness: Freshness | None
    """What brings in rows before an index is asked; `Database` gives it."""

    @property
    def indexes(self) -> IndexSource:
        """The indexes of the database."""

    def execute(self, sql: str, params: Mapping[str, Any] | Sequence[Any] | None = None) -> Result:
        """Run SQL."""

    def describe(
        self, sql: str, params: Mapping[str, Any] | Sequence[Any] | None = None
    ) -> list[tuple[str, str | None]]:
        """Return the columns of a statement and their types, without running it."""

    def writer(self, index: str, record: IndexRecord) -> Writer:
        """Return the writer of an index; `record` is what a new index is made with."""

    def source_table(self, table: object) -> SourceTable:
        """Return what the database says of a table or view. Raises InputError that lists those that there are."""

    def check_source(self, record: IndexRecord) -> None:
        """Raise SourceGoneError where the source of an index has gone, or is not what it was; it is not read."""

    def tracking_of(self, source: SourceTable) -> str:
        """Return how changes of a table are noticed: one of `sqlrag.store.source_table.TRACKING`."""

    def create_live(self, record: IndexRecord, source: SourceTable) -> None:
        """Make an index over a table, every row of it queued."""

    def stale(self, record: IndexRecord) -> int:
        """Return how many rows of its table an index does not have, as far as it is cheap to know."""

    def other_triggers(self, record: IndexRecord) -> list[str]:
        """Return the triggers on an index's chunk table that are not sqlrag's."""

    def gap(self, record: IndexRecord) -> str | None:
        """Return why changes of an index's table may be missed that nobody counts, None where `stale` knows all."""

    def hindrance(self) -> str | None:
        """Return why no transaction can be begun on this connection now, None where one can."""

    def add_maintenance(self, name: str, function: Callable[..., int], arguments: Sequence[int]) -> None:
        """Make a function that changes the database callable as SQL, with so many arguments, by the user alone."""

    def live(self, record: IndexRecord) -> LiveTable:
        """Return what keeps an index in step with its table."""

    def drop(self, record: IndexRecord) -> None:
        """Drop an index; of one over documents, with them."""

    def alter(self, record: IndexRecord, new: IndexRecord) -> None:
        """Change an index's text, filters and tokenizer, in one transaction."""

    def begin_next(self, record: IndexRecord, new: IndexRecord) -> None:
        """Make the index that is to take another's place, every text queued; one begun the same way is kept."""

    def switch(self, record: IndexRecord, new: IndexRecord) -> None:
        """Put an index in the place of the old one, in one transaction; what it does not have yet is its backlog."""

    def hurried(self) -> AbstractContextManager[None]:
        """Wait for other processes' writes no longer than a query may."""

    def search_statement(self, record: IndexRecord, *, filtered: bool) -> str:
        """Return the statement of `Database.search` for an index; `filtered`: a filter will be given with it."""

    def check(self) -> list[str]:
        """Return what is wrong with the database."""

    def mend(self, record: IndexRecord) -> bool:
        """Take out of an index what is wrong, to be made again; False where only making it anew helps."""

    def partial_documents(self, record: IndexRecord) -> Iterator[Document]:
        """Yield the documents of which not every chunk is stored."""

    def size(self) -> int:
        """Return the bytes on disk."""

    def confine(self, longest_text: int) -> None:
        """Let SQL do nothing but read the database's own tables; its functions take texts up to a length."""

    def interrupt(self) -> None:
        """Stop the statement that runs."""

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
