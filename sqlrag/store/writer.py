"""Writing one index in a SQLite file: chunks and their vectors, always in the same transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlrag.errors import DatabaseError, SQLError
from sqlrag.store.codes.blocks import CodeBlocks, layout_of
from sqlrag.store.full_text import TOKENIZERS
from sqlrag.store.names import in_main, quote
from sqlrag.store.precision import from_int8, to_int8
from sqlrag.store.registry import Connection, IndexRecord, Registry
from sqlrag.store.schema_check import SHADOWS
from sqlrag.store.statements import made_in_main, statement
from sqlrag.store.states import KeptStates
from sqlrag.store.stored_vectors import joined, stored_blocks
from sqlrag.store.vec0_layout import check_places, vectors_at
from sqlrag.text.words import further_words

if TYPE_CHECKING:
    import apsw
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "CHUNK_COLUMNS",
    "TRANSACTION_IS_OPEN",
    "IndexWriter",
    "StoredChunk",
    "check_room",
    "chunk_columns",
    "immediate",
    "made_anew",
    "upgrade",
    "words_beside",
]

StoredChunk = tuple[int, Any, int, int, int, str, int, str]
"""A row of the chunk table: the values of CHUNK_COLUMNS."""

CHUNK_COLUMNS = ("id", "source_id", "ordinal", "start_char", "end_char", "text", "token_count", "context")
"""The columns of a chunk table, in their order, on both engines."""


def words_beside(record: IndexRecord, context: str, text: str) -> str:
    """Return what the full text indexes of a chunk besides its context and its text."""
    pairs = record.tokenizer != "trigram"
    return " ".join(filter(None, (further_words(context, pairs=pairs), further_words(text, pairs=pairs))))


def chunk_columns(record: IndexRecord) -> tuple[str, ...]:
    """Return the columns of an index's chunk table: without `context` if the index was made before schema 4."""
    return CHUNK_COLUMNS if record.context else CHUNK_COLUMNS[:-1]


PARTS = ("fts", "vec", "codes", "gone", "rows", "queue", "states")
"""The names of an index's tables, after its own name and a `_`; the chunk table has the name of the index."""

TRANSACTION_IS_OPEN = "a transaction is open on this connection: COMMIT or ROLLBACK it, then try again"
"""The message if an index would be written in the middle of a transaction of the user's."""

_TXN_WRITE = 2
"""apsw.SQLITE_TXN_WRITE: if no transaction is open on the connection, its running statement writes."""

_MOST_ID = 1 << 62
"""sqlrag gives no chunk an id beyond this."""

_NORMAL = 1
"""SQLite's `synchronous`: 0 is OFF, 2 is FULL, the default."""


@contextmanager
def immediate(connection: Connection) -> Iterator[None]:
    """Run the body as one write transaction that holds the write lock from its start.

    A deferred transaction that reads before it writes fails without waiting if another process wrote in between
    (https://www.sqlite.org/lang_transaction.html).

    In WAL mode the commit does not wait for the disk: see `_without_the_disk`.
    """
    if not connection.getautocommit():
        raise SQLError(TRANSACTION_IS_OPEN)
    if connection.txn_state() == _TXN_WRITE:
        raise SQLError("the statement that runs on this connection writes: do this in a statement of its own")
    with _without_the_disk(connection):
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("COMMIT")  # may also find the disk full
        except BaseException:
            # A full disk or an I/O error may have rolled the transaction back already.
            if not connection.getautocommit():
                connection.execute("ROLLBACK")
            raise


@contextmanager
def _without_the_disk(connection: Connection) -> Iterator[None]:
    """Let commits of the body not wait for the disk, which takes milliseconds, in WAL mode.

    In WAL mode commits survive a killed process. After a power failure the file is whole, but may lack the last
    commits: those since the log was last copied into the file, since a commit that waited, or since the last connection
    was closed (https://www.sqlite.org/pragma.html#pragma_synchronous). The next `ingest` or `sync` makes them again,
    since chunks, hashes and queue are written in one transaction. The user's own statements wait as before.
    """
    ((journal,),) = connection.execute("PRAGMA main.journal_mode")
    ((waits,),) = _compiled_anew(connection, "PRAGMA main.synchronous")
    if journal != "wal" or waits <= _NORMAL:
        yield
        return
    _compiled_anew(connection, f"PRAGMA main.synchronous = {_NORMAL}")
    try:
        yield
    finally:
        _compiled_anew(connection, f"PRAGMA main.synchronous = {waits}")


def _compiled_anew(connection: Connection, pragma: str) -> list[Any]:
    """Compile and run a PRAGMA. It takes effect when it is compiled, so one from apsw's cache has no effect."""
    return list(connection.execute(pragma, can_cache=False))  # type: ignore[call-arg]  # of apsw's


def check_room(path: str, index: str, columns: Mapping[str, Collection[str]], *, documents: bool = True) -> None:
    """Raise DatabaseError if tables of the user's have names that a new index needs.

    `columns`: those of each table. `documents`: whether the index is over documents, whose table has that name.
    """
    taken = {table.lower(): table for table in columns}
    for name in (index, *(f"{index}_{part}" for part in (*PARTS, "embedding"))):
        if name.lower() in taken:
            raise DatabaseError(
                f"{path} has a table {taken[name.lower()]} of its own: give the index another name than {index!r}"
            )
    if (
        documents
        and "documents" in taken
        and not {"index_name", "uri", "content_hash"}.issubset(columns[taken["documents"]])
    ):
        raise DatabaseError(
            f"{path} has a table documents of its own, and sqlrag keeps what it ingests in a table of this name: "
            "ingest into another database"
        )


def made_anew(path: str, index: str) -> str:
    """Return the message for an ingest whose index another process has rebuilt meanwhile."""
    return f"{path}: index {index!r} was made anew, altered or dropped during this ingest: run the same ingest again"


def upgrade(connection: apsw.Connection) -> None:
    """Bring the registry of an earlier schema to this one, in one transaction.

    An index with cells is searched as it is, whole; it gets its codes when it is next written to.
    """
    registry = Registry(connection)
    with immediate(connection):
        contents = registry.look()
        if contents.exists and not contents.is_current:
            registry.create()
            for record in registry.look().records:
                if layout_of(connection, record) == "neither":
                    IndexWriter(connection, record).bring_to_codes()


class IndexWriter:
    """One index in a SQLite file, for writing; the caller holds the transaction."""

    def __init__(self, connection: apsw.Connection, record: IndexRecord) -> None:
        self.record = record
        self._connection = connection
        self._table = in_main(record.name)
        self._vectors = in_main(f"{record.name}_vec")
        self._codes = CodeBlocks(connection, record)
        self._states = KeptStates(connection, record)
        self._place = "?" if record.vectors == "float32" else "vec_int8(?)"

    def create(self, source_type: str = "INTEGER") -> None:
        """Create the index's tables and record it; `source_type` is that of the source's key."""
        registry = Registry(self._connection)
        registry.create()
        sql = statement(
            "index/create",
            index=self.record.name,
            vectors=self._create_vectors(),
            codes=statement("index/create_codes", index=self.record.name),
            full_text=self._full_text(),
            source_type=source_type,
        )
        self._connection.execute(sql)
        registry.put(self.record)

    def _create_vectors(self) -> str:
        numbers, together = ("FLOAT", 16) if self.record.vectors == "float32" else ("INT8", 64)
        parts: dict[str, str | int] = {"numbers": numbers, "together": together, "dimension": self.record.dimension}
        return statement("index/create_vectors", index=self.record.name, **parts)

    def _full_text(self, columns: str = "context, text, words") -> str:
        tokenize = TOKENIZERS[self.record.tokenizer]
        return statement("index/create_full_text", index=self.record.name, columns=columns, tokenize=tokenize)

    def remake_full_text(self) -> None:
        """Make the full text anew, with the record's tokenizer."""
        words = quote(f"{self.record.name}_fts")
        self._drop_full_text()
        self._connection.execute(self._full_text() if self._has_words() else self._full_text("text"))
        if self.record.context:
            self._remake_words()
        self._connection.execute(f"INSERT INTO main.{words} ({words}) VALUES ('rebuild')")

    def _has_words(self) -> bool:
        """Tell whether the chunk table has the columns that schema 4 has brought."""
        sql = "SELECT 1 FROM main.pragma_table_info(?, 'main') WHERE name = 'words'"
        return bool(list(self._connection.execute(sql, (self.record.name,))))

    def _remake_words(self) -> None:
        """Write anew what the full text indexes besides contexts and texts; the full text is rebuilt afterwards."""
        chunks = list(self._connection.execute(f"SELECT id, context, text, words FROM {self._table}"))
        changed = [
            (words, id_)
            for id_, context, text, before in chunks
            if isinstance(text, str) and (words := words_beside(self.record, str(context), text)) != before
        ]
        trigger = in_main(f"{self.record.name}_after_update")
        find = "SELECT sql FROM main.sqlite_schema WHERE type = 'trigger' AND name = ? COLLATE NOCASE"
        made = [sql for (sql,) in self._connection.execute(find, (f"{self.record.name}_after_update",))]
        if changed and made:
            self._connection.execute(f"DROP TRIGGER {trigger}")  # it would index the words of a full text that is empty
            self._connection.executemany(f"UPDATE {self._table} SET words = ? WHERE id = ?", changed)
            self._connection.execute(made_in_main(made[0]))

    def remake_vectors(self, agreed: NDArray[np.int64]) -> None:
        """Make the table of vectors anew, with those that lie at these places of the old one."""
        name = self.record.name
        self._connection.execute("CREATE TEMP TABLE sqlrag_kept (id INTEGER PRIMARY KEY, vector BLOB)")
        self._connection.executemany(
            "INSERT INTO temp.sqlrag_kept VALUES (?, ?)", vectors_at(self._connection, f"{name}_vec", agreed)
        )
        self._drop_vec0(f"{name}_vec")
        self._connection.execute(self._create_vectors())
        self._connection.execute(
            f"INSERT INTO {self._vectors} (rowid, embedding) SELECT id, {self._place.replace('?', 'vector')} "
            f"FROM temp.sqlrag_kept WHERE id IN (SELECT id FROM {self._table})"
        )
        self._connection.execute("DROP TABLE temp.sqlrag_kept")

    def remake_codes(self) -> None:
        """Make the codes of all vectors anew."""
        name = self.record.name
        self._connection.execute(f"DROP TRIGGER IF EXISTS {in_main(f'{name}_vector_after_delete')}")
        for part in ("codes", "gone"):
            self._connection.execute(f"DROP TABLE IF EXISTS {in_main(f'{name}_{part}')}")
        self._connection.execute(statement("index/create_codes", index=name))
        if self.record.is_over_table:  # sql/index/create_tracking.sql says why
            self._connection.execute(f"DROP TRIGGER {in_main(f'{name}_vector_after_delete')}")
        for ids, vectors in joined(stored_blocks(self._connection, self.record)):
            self._codes.insert(ids.tolist(), vectors)

    def renew_codes(self) -> None:
        """Make the codes of all vectors anew, also for an index of an earlier schema."""
        if layout_of(self._connection, self.record) == "cells":
            self.bring_to_codes()
        else:
            self.remake_codes()

    def bring_to_codes(self) -> None:
        """Give an index of schema 3 or earlier its codes. For a million chunks that takes half a minute."""
        if layout_of(self._connection, self.record) == "codes":
            return
        name = self.record.name
        self._connection.execute(f"DROP TRIGGER IF EXISTS {in_main(f'{name}_code_after_delete')}")
        if self.record.vectors == "int8":  # its vectors lie where codes are to come
            self._connection.execute(self._create_vectors())
            self._connection.execute(
                # No ORDER BY: what is sorted loses the type that vec_int8() gives it.
                f"INSERT INTO {self._vectors} (rowid, embedding) SELECT rowid, vec_int8(code) "
                f"FROM {in_main(f'{name}_codes')}"
            )
        for part in ("codes", "cells"):
            self._drop_vec0(f"{name}_{part}")
        self.remake_codes()

    def _drop_full_text(self) -> None:
        """Drop the full text, after giving it a valid configuration: FTS5 refuses to drop it otherwise."""
        words = f"{self.record.name}_fts"
        if self._is_there(words):
            config = in_main(f"{words}_config")
            self._connection.execute(f"CREATE TABLE IF NOT EXISTS {config} (k PRIMARY KEY, v) WITHOUT ROWID")
            self._connection.execute(f"DELETE FROM {config}")
            self._connection.execute(f"INSERT INTO {config} VALUES ('version', 4)")
            self._connection.execute(f"DROP TABLE {in_main(words)}")

    def _drop_vec0(self, table: str) -> None:
        """Drop a vec0 table, after making its own tables that are missing: vec0 refuses to drop it otherwise."""
        if self._is_there(table):
            for part in SHADOWS["vec0"]:
                self._connection.execute(f"CREATE TABLE IF NOT EXISTS {in_main(f'{table}_{part}')} (lost)")
            self._connection.execute(f"DROP TABLE {in_main(table)}")

    def _is_there(self, table: str) -> bool:
        sql = "SELECT 1 FROM main.sqlite_schema WHERE name = ? COLLATE NOCASE"
        return bool(list(self._connection.execute(sql, (table,))))

    def next_id(self) -> int:
        """Return the first chunk id that was never used, as far as the file records it."""
        sql = "SELECT seq FROM main.sqlite_sequence WHERE name = ?"
        used = [seq for (seq,) in self._connection.execute(sql, (self.record.name,)) if isinstance(seq, int)]
        sql = f"SELECT max(id) FROM {self._table} WHERE id < {_MOST_ID}"
        if self._is_there(self.record.name):
            used += [last for (last,) in self._connection.execute(sql) if last is not None]
        return max((number for number in used if number < _MOST_ID), default=0) + 1

    def insert(self, chunks: Sequence[StoredChunk], vectors: NDArray[np.float32]) -> None:
        """Insert chunks with their vectors, `(n, dimension)` float32, unit length."""
        columns = chunk_columns(self.record)
        rows: Iterable[tuple[Any, ...]] = (chunk[: len(columns)] for chunk in chunks)
        if self.record.context:
            columns += ("words",)
            rows = ((*chunk, words_beside(self.record, chunk[-1], chunk[5])) for chunk in chunks)
        places = ", ".join("?" for _ in columns)
        self._connection.executemany(f"INSERT INTO {self._table} ({', '.join(columns)}) VALUES ({places})", rows)
        ids = [chunk[0] for chunk in chunks]
        self.bring_to_codes()
        self.remove_gone()
        check_places(self._connection, self.record.name)
        kept: NDArray[Any] = vectors
        if self.record.vectors == "int8":
            kept = to_int8(vectors)
            vectors = from_int8(kept)  # the codes are those of what is kept, so that they can be checked
        self._connection.executemany(
            f"INSERT INTO {self._vectors} (rowid, embedding) VALUES (?, {self._place})",
            ((id_, vector.tobytes()) for id_, vector in zip(ids, kept, strict=True)),
        )
        self._codes.insert(ids, vectors)

    def delete_vectors(self, ids: Sequence[int]) -> None:
        """Delete vectors that have no chunk, with their codes."""
        self.bring_to_codes()
        check_places(self._connection, self.record.name, ids)
        self._many(f"DELETE FROM {self._vectors} WHERE rowid = ?", ids)
        self._codes.delete(ids)

    def drop(self) -> None:
        """Drop the index's tables and forget it."""
        self._drop_full_text()
        for part in ("vec",) if layout_of(self._connection, self.record) == "codes" else ("vec", "codes", "cells"):
            self._drop_vec0(f"{self.record.name}_{part}")
        # What an index over documents does not have may be a table of the user's.
        for part in set(PARTS) - ({"states"} if self.record.is_over_table else {"rows", "queue", "states"}):
            self._connection.execute(f"DROP TABLE IF EXISTS {in_main(f'{self.record.name}_{part}')}")
        self._states.drop()
        self._connection.execute(f"DROP TABLE IF EXISTS {self._table}")
        Registry(self._connection).forget(self.record.name)

    def delete_chunks_of(self, source_ids: Sequence[Any]) -> None:
        """Delete the chunks of these source rows."""
        sql = f"SELECT id FROM {self._table} WHERE source_id = ?"
        self.delete_chunks([id_ for source_id in source_ids for (id_,) in self._connection.execute(sql, (source_id,))])

    def delete_chunks(self, ids: Sequence[int]) -> None:
        """Delete chunks by their ids. Triggers delete their words, and for documents their vectors, too."""
        self.bring_to_codes()
        if self.record.is_over_table:
            self.delete_vectors(ids)
        else:
            check_places(self._connection, self.record.name, ids)
        self._many(f"DELETE FROM {self._table} WHERE id = ?", ids)
        self._states.delete(ids)
        self.remove_gone()

    def remove_gone(self) -> None:
        """Remove the codes of chunks that are gone."""
        table = in_main(f"{self.record.name}_gone")
        gone = [id_ for (id_,) in self._connection.execute(f"SELECT id FROM {table}")]
        if gone:
            self._codes.delete(gone)
            self._states.delete(gone)
            self._connection.execute(f"DELETE FROM {table}")

    def _many(self, sql: str, ids: Sequence[Any]) -> None:
        self._connection.executemany(sql, ((id_,) for id_ in ids))
