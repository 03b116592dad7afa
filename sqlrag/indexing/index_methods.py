"""The indexes of a `Database`: which there are, those over tables of the user's own, and whether they are whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sqlrag.process.call_lock import CallLock, one_at_a_time
from sqlrag.results import IngestProgress, SyncReport
from sqlrag.store.new_record import Making
from sqlrag.values.arguments import check_flag

if TYPE_CHECKING:
    from sqlrag.engines.base import Engine
    from sqlrag.models import Embedder
    from sqlrag.store.registry import IndexRecord

__all__ = ["DEFAULT_INDEX", "TableIndexes"]

DEFAULT_INDEX = "chunks"


class TableIndexes:
    """The part of `Database` that makes indexes over tables, keeps them in step, makes them anew and checks them."""

    _engine: Engine
    _call_lock: CallLock

    @one_at_a_time
    def indexes(self) -> list[str]:
        """Return the names of the indexes."""
        return self._engine.indexes.names()

    @one_at_a_time
    def create_index(
        self,
        name: str,
        table: str,
        text: str | Sequence[str],
        *,
        key: str | Sequence[str] | None = None,
        filters: Sequence[str] = (),
        max_tokens: int | None = None,
        overlap: int | None = None,
        embedder: str | Embedder | None = None,
        tokenizer: str | None = None,
        vectors: str | None = None,
        progress: Callable[[IngestProgress], None] | None = None,
    ) -> SyncReport:
        """Make a table or view that is there searchable, and keep it so, whoever writes to it.

        `name`: of the index, and of its chunk table. `text`: a column, several (joined by an empty line), or a template
        of columns: "{title}: {body}". A row with a short text is one chunk, one with a long text several. `key`: of a
        view, the columns that tell its rows apart, of a virtual table "rowid" too; a table has its own. `filters`:
        columns that filters often name: each gets an ordinary SQL index, and is a hit's metadata. The other
        arguments are those of `ingest`.

        Triggers on the table queue what changes, in the writer's own transaction, and `sync` brings it in; a view is
        compared. Stopped at any time, the same call, or `sync`, goes on. Raises InputError for a table or columns that
        are not there, for an index that was made otherwise; DatabaseError where a table stands in the way.
        """
        from sqlrag.indexing.table_indexes import create_index

        making = Making(max_tokens, overlap, tokenizer, vectors)
        create_index(self._engine, name, table, text, key=key, filters=filters, making=making, embedder=embedder)
        return self.sync(name, progress=progress)

    @one_at_a_time
    def drop_index(self, name: str) -> None:
        """Drop an index with its triggers; the table that it is over stays as it is. Raises UnknownIndexError.

        An index over ingested documents takes its documents along.
        """
        from sqlrag.indexing.table_indexes import drop_index

        drop_index(self._engine, name)

    @one_at_a_time
    def alter_index(
        self,
        name: str,
        *,
        text: str | Sequence[str] | None = None,
        filters: Sequence[str] | None = None,
        tokenizer: str | None = None,
        progress: Callable[[IngestProgress], None] | None = None,
    ) -> SyncReport:
        """Change what an index is made of: its text, its filters, its tokenizer; None leaves one as it is.

        Only rows whose text becomes another are embedded again. Model, chunking and vectors are changed by `reindex`.
        """
        from sqlrag.indexing.table_indexes import alter_index

        record = self._engine.indexes.record(name)
        alter_index(self._engine, record, text=text, filters=filters, tokenizer=tokenizer)
        return self.sync(name, progress=progress) if record.is_live else SyncReport()

    @one_at_a_time
    def reindex(
        self,
        name: str | None = None,
        *,
        embedder: str | Embedder | None = None,
        max_tokens: int | None = None,
        overlap: int | None = None,
        vectors: str | None = None,
        progress: Callable[[IngestProgress], None] | None = None,
    ) -> SyncReport:
        """Make an index anew: with another model, other chunks, or as it was; over a table or over documents.

        It is made beside the old one, which answers meanwhile, and takes its place in one transaction; ids of chunks
        change. Stopped at any time, the same call goes on. While the new one takes its place other writers wait.
        Where others write faster than it is indexed, it takes the place with a backlog, which the report tells.
        Raises InputError for chunking that the model's window does not hold.
        """
        from sqlrag.indexing.reindex import reindex

        making = Making(max_tokens, overlap, None, vectors)
        record = self._record(name)
        report = reindex(self._engine, record.name, embedder=embedder, making=making, progress=progress)
        self._engine.encoders.use_recorded(self._engine.indexes.default_embedder())
        return report

    @one_at_a_time
    def sync(
        self,
        index: str | None = None,
        *,
        compare: bool = False,
        progress: Callable[[IngestProgress], None] | None = None,
    ) -> SyncReport:
        """Bring an index over a table to what the table holds; by default every such index, and the sum of it all.

        Only texts that have changed are embedded. What is queued when it begins is brought in; what others write
        meanwhile may be left, and is the report's `backlog`. `compare`: look at every row, whatever the triggers have
        told. A view is always compared. Stopped at any time, the next call goes on.
        """
        from sqlrag.indexing.table_indexes import sync

        compare = check_flag("sync", "compare", compare)
        return sync(self._engine, index, compare=compare, progress=progress)

    @one_at_a_time
    def backlog(self) -> dict[str, int]:
        """Return how many changed rows each index over a table does not have yet; those that have all are left out."""
        indexes = (self._engine.indexes.record(name) for name in self.indexes())
        found = {record.name: self._engine.stale(record) for record in indexes if record.is_live}
        return {name: rows for name, rows in found.items() if rows}

    @one_at_a_time
    def is_fresh(self) -> bool:
        """Tell whether the indexes are known to have all rows of their tables: there is no backlog, nor a gap in it."""
        records = [record for record in self._engine.indexes.records() if record.is_live]
        return not any(self._engine.stale(record) or self._engine.gap(record) for record in records)

    @one_at_a_time
    def repair(self, progress: Callable[[IngestProgress], None] | None = None) -> list[str]:
        """Make every index whole again, and return what `check` still finds.

        What is wrong is made again: from the index's own parts where that is enough, else from the texts of its source.
        No table of the user's is written to. Stopped at any time, the same call goes on.
        """
        from sqlrag.indexing.repair import repair

        repair(self._engine, progress)
        return self.check()

    @one_at_a_time
    def check(self) -> list[str]:
        """Return what is wrong with the database and its indexes, a line each; empty when all is sound."""
        return self._engine.check()

    def _record(self, index: str | None) -> IndexRecord:
        if index is None:
            names = self.indexes()
            index = names[0] if len(names) == 1 else DEFAULT_INDEX
        return self._engine.indexes.record(index)  # says which there are, before SQL misses a table
