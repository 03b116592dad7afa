"""The methods of `Database` that make, change and check its indexes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sqlrag.errors import InputError
from sqlrag.process.call_lock import CallLock, one_at_a_time
from sqlrag.results import IngestProgress, SyncReport
from sqlrag.store.names import quote
from sqlrag.store.new_record import IndexOptions
from sqlrag.store.states import NONE, check_states
from sqlrag.values.arguments import DEFAULT_INDEX, check_flag

if TYPE_CHECKING:
    from sqlrag.engines.base import Engine
    from sqlrag.models import Embedder
    from sqlrag.store.registry import IndexRecord

__all__ = ["IndexMethods"]

_SAMPLE = 64
"""So many chunks of an index say how much of it the model does not know."""


class IndexMethods:
    """The part of `Database` that makes indexes over tables, keeps them in step, rebuilds them and checks them.

    `sqlrag.database.connection.Database` inherits from it; the two are one class in two files.
    """

    _engine: Engine
    _call_lock: CallLock

    @one_at_a_time
    def indexes(self) -> list[str]:
        """List the indexes.

        Returns:
            The names of the indexes, in alphabetical order.

        Examples:
            >>> db.indexes()
            ['chunks']
        """
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
        states: str | None = None,
        progress: Callable[[IngestProgress], None] | None = None,
    ) -> SyncReport:
        """Make an existing table or view searchable, and keep it searchable whoever writes to it.

        On SQLite, triggers on the table queue each change in the writer's own transaction. On DuckDB, and for a view,
        the rows are compared with the index. Either way `sync`, or the next query, indexes the rows that changed.

        The call may be stopped at any time; the same call, or `sync`, continues where it stopped.

        Parameters:
            name: Name of the index, and of the table of its chunks.
            table: Name of the table or view.
            text: What is searched: a column, several columns (joined by an empty line), or a template of columns such
                as "{title}: {body}". A row with a short text becomes one chunk, a row with a long text several.
            key: For a view, the columns that identify a row; for a virtual table, "rowid" is possible too. A table has
                a key of its own.
            filters: Columns that your filters name often. Each gets an ordinary SQL index, and its value is part of
                each hit's `metadata`.
            max_tokens: Tokens of a chunk, as for `ingest`.
            overlap: Tokens that neighbouring chunks share, as for `ingest`.
            embedder: The index's own model, as for `ingest`.
            tokenizer: How the full text is split into words, as for `ingest`.
            vectors: How vectors are stored, as for `ingest`.
            states: Whether states are kept, as for `ingest`.
            progress: Called several times a second with the progress so far.

        Returns:
            How many rows were indexed, and which could not be.

        Raises:
            InputError: The table or a column does not exist, or the index exists with other settings.
            DatabaseError: A table of yours has a name that the index needs.
            ReadOnlyError: The database is open read-only.

        Examples:
            >>> report = db.create_index("reviews", table="review", text="{title}: {body}", filters=["product"])
            >>> report.added
            3
            >>> db.execute("UPDATE review SET body = 'It whistles when the water boils.' WHERE id = 1").fetchall()
            []
            >>> [hit.source_id for hit in db.search("does it make a noise?", "reviews", top_n=1)]
            [1]
        """
        from sqlrag.indexing.table_indexes import create_index

        options = IndexOptions(max_tokens, overlap, tokenizer, vectors, states)
        create_index(self._engine, name, table, text, key=key, filters=filters, options=options, embedder=embedder)
        return self.sync(name, progress=progress)

    @one_at_a_time
    def drop_index(self, name: str) -> None:
        """Drop an index and its triggers.

        The table that the index is over stays as it is. An index over ingested documents takes its documents with it.

        Parameters:
            name: Name of the index.

        Raises:
            UnknownIndexError: The database has no such index.
            ReadOnlyError: The database is open read-only.

        Examples:
            >>> db.drop_index("chunks")
            >>> db.indexes()
            []
        """
        self._engine.drop(self._engine.indexes.record(name))

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
        """Change the text, the filters or the tokenizer of an index.

        Only rows whose text becomes different are embedded again. The model, the chunking and the storage of vectors
        are changed by `reindex`.

        Parameters:
            name: Name of the index.
            text: As for `create_index`. None keeps the present value, here and below.
            filters: As for `create_index`.
            tokenizer: As for `ingest`.
            progress: Called several times a second with the progress so far.

        Returns:
            How many rows were indexed again.

        Raises:
            UnknownIndexError: The database has no such index.
            InputError: A column does not exist, or the index is over documents and has neither text nor filters.
            ReadOnlyError: The database is open read-only.

        Examples:
            >>> db.create_index("reviews", table="review", text="body").added
            3
            >>> db.alter_index("reviews", text="{title}: {body}").changed
            3
        """
        from sqlrag.indexing.table_indexes import alter_index

        record = self._engine.indexes.record(name)
        alter_index(self._engine, record, text=text, filters=filters, tokenizer=tokenizer)
        return self.sync(name, progress=progress) if record.is_over_table else SyncReport()

    @one_at_a_time
    def reindex(
        self,
        name: str | None = None,
        *,
        embedder: str | Embedder | None = None,
        max_tokens: int | None = None,
        overlap: int | None = None,
        vectors: str | None = None,
        states: str | None = None,
        codes_only: bool = False,
        states_only: bool = False,
        progress: Callable[[IngestProgress], None] | None = None,
    ) -> SyncReport:
        """Rebuild an index over a table or over documents, with another model or other chunks if you like.

        The new index is built beside the old one, which answers queries until the new one replaces it in a single
        transaction. The ids of chunks change. Other writers wait while the replacement takes place. Where others write
        faster than rows are indexed, the replacement happens with a backlog, which the report states.

        The call may be stopped at any time; the same call continues where it stopped.

        Parameters:
            name: Name of the index; by default the only one.
            embedder: The new model. None keeps the present value, here and below.
            max_tokens: Tokens of a chunk, as for `ingest`.
            overlap: Tokens that neighbouring chunks share, as for `ingest`.
            vectors: How vectors are stored, as for `ingest`.
            states: Whether states are kept, as for `ingest`.
            codes_only: Make only the codes of the vectors anew, which a search reads first, and measure again how many
                candidates it needs. No text is embedded, and chunks keep their ids.
            states_only: Keep the states of the chunks that have none, or delete all with `states="none"`; nothing else
                changes.
            progress: Called several times a second with the progress so far.

        Returns:
            How many rows or documents were indexed. With `codes_only` they are all `unchanged`, and with `states_only`
            that is how many chunks' states were kept.

        Raises:
            UnknownIndexError: The database has no such index.
            InputError: The chunks would be longer than the model's window, `codes_only` or `states_only` is given with
                an option that needs all texts to be embedded again, or the reranker reads no states.
            ReadOnlyError: The database is open read-only.

        Examples:
            >>> db.reindex("chunks", max_tokens=100).added
            3
            >>> db.info()[0].max_tokens
            100
        """
        from sqlrag.indexing.rebuilding import keep_states, reindex, remake_codes

        options = IndexOptions(max_tokens, overlap, None, vectors)
        record = self._record(name)
        flags = {"codes_only": codes_only, "states_only": states_only}
        only = [name for name, flag in flags.items() if check_flag("reindex", name, flag)]
        if only and (embedder is not None or options != IndexOptions()):
            raise InputError(
                f"reindex(): {only[0]} makes no vector anew: leave out embedder, max_tokens, overlap and vectors, "
                f"or {only[0]}"
            )
        if len(only) > 1:
            raise InputError("reindex(): codes_only and states_only are two calls: leave one of them out")
        self._engine.choose_states(record, check_states(states))
        if codes_only:
            return remake_codes(self._engine, record, progress)
        if states_only:
            return SyncReport() if states == NONE else keep_states(self._engine, record, progress)
        report = reindex(self._engine, record.name, embedder=embedder, options=options, progress=progress)
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
        """Index the rows of a table that have changed.

        Only texts that have changed are embedded. All rows that are queued when the call begins are indexed; rows that
        others write meanwhile may remain, and are counted in the report's `backlog`.

        The call may be stopped at any time; the next one continues where it stopped.

        Parameters:
            index: Name of an index over a table; by default all of them, and the report is their sum.
            compare: Compare every row with the index, whatever the triggers have queued. A view is always compared.
            progress: Called several times a second with the progress so far.

        Returns:
            How many rows were added, changed or removed, and how many remain.

        Raises:
            UnknownIndexError: The database has no such index.
            SourceGoneError: The table, or a column that the index needs, is gone.
            ReadOnlyError: The database is open read-only.

        Examples:
            >>> db.create_index("reviews", table="review", text="body").added
            3
            >>> db.execute("DELETE FROM review WHERE id = 2").fetchall()
            []
            >>> db.sync("reviews").removed
            1
        """
        from sqlrag.indexing.table_indexes import sync

        compare = check_flag("sync", "compare", compare)
        return sync(self._engine, index, compare=compare, progress=progress)

    @one_at_a_time
    def backlog(self) -> dict[str, int]:
        """Count the changed rows that are not indexed yet.

        Returns:
            The number of rows for each index over a table that lacks some; other indexes are left out.

        Examples:
            >>> db.create_index("reviews", table="review", text="body").added
            3
            >>> db.execute("UPDATE review SET body = 'It leaks.' WHERE id = 2").fetchall()
            []
            >>> db.backlog()
            {'reviews': 1}
        """
        indexes = (self._engine.indexes.record(name) for name in self.indexes())
        found = {record.name: self._engine.stale(record) for record in indexes if record.is_over_table}
        return {name: rows for name, rows in found.items() if rows}

    @one_at_a_time
    def is_fresh(self) -> bool:
        """Tell whether every index over a table is known to have all rows of its table.

        Returns:
            False if rows wait to be indexed, or if changes may have been missed because a table or its triggers are
            gone.

        Examples:
            >>> db.is_fresh()
            True
        """
        return all(map(self._engine.is_fresh, self._over_tables()))

    @one_at_a_time
    def _source_errors(self) -> dict[str, str]:
        """Return what is wrong with tables and views whose changes cannot be counted, by the names of the indexes."""
        errors = {record.name: self._engine.source_error(record) for record in self._over_tables()}
        return {name: str(error) for name, error in errors.items() if error is not None}

    def _over_tables(self) -> list[IndexRecord]:
        return [record for record in self._engine.indexes.records() if record.is_over_table]

    @one_at_a_time
    def repair(self, progress: Callable[[IngestProgress], None] | None = None) -> list[str]:
        """Rebuild whatever is damaged in the indexes.

        Damaged parts are rebuilt from the index's other parts where possible, otherwise from the texts of its source.
        Your own tables are never written to. The call may be stopped at any time; the same call continues.

        Parameters:
            progress: Called several times a second with the progress so far.

        Returns:
            The problems that `check` still finds; an empty list if there are none.

        Raises:
            ReadOnlyError: The database is open read-only.

        Examples:
            >>> db.repair()
            []
        """
        from sqlrag.indexing.rebuilding import repair

        repair(self._engine, progress)
        return self.check()

    @one_at_a_time
    def check(self) -> list[str]:
        """Look for damage in the database and its indexes.

        Returns:
            One line for each problem; an empty list if there are none.

        Examples:
            >>> db.check()
            []
        """
        return self._engine.check()

    @one_at_a_time
    def _unknown_share(self, index: str) -> float:
        """Return which share of the tokens of some chunks the index's model does not know."""
        from sqlrag.text.counting import TokenCounter

        record = self._engine.indexes.record(index)
        chunks = f"{self._engine.schema}.{quote(record.name)}"
        counter = TokenCounter(self._engine.encoders.embedder_of(record).tokenizer)
        ((count,),) = self._engine.execute(f"SELECT count(*) FROM {chunks}", None)
        sql = f"SELECT text FROM {chunks} WHERE id % {max(1, count // _SAMPLE)} = 0 LIMIT {_SAMPLE}"
        counts = [counter.counts(text) for (text,) in self._engine.execute(sql, None)]
        return sum(unknown for _, unknown in counts) / max(sum(tokens for tokens, _ in counts), 1)

    def _record(self, index: str | None) -> IndexRecord:
        """Return the record of an index, by default of the only one, else of "chunks". Raises UnknownIndexError."""
        if index is None:
            records = self._engine.indexes.records()
            if len(records) == 1:
                return records[0]
            index = DEFAULT_INDEX
        return self._engine.indexes.record(index)
