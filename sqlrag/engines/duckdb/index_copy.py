"""Writing an index of the index file: codes and words of the chunks that are in DuckDB's tables."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlrag.engines.duckdb.differences import chunk_differences
from sqlrag.engines.duckdb.vectors import ROWS_AT_ONCE, stored_vectors
from sqlrag.store.check import full_text_is_sound, gone, states_problems, vector_problems
from sqlrag.store.codes.blocks import CodeBlocks
from sqlrag.store.full_text import TOKENIZERS
from sqlrag.store.names import in_main, quote
from sqlrag.store.registry import Contents, IndexRecord, Registry
from sqlrag.store.statements import statement
from sqlrag.store.states import KeptStates
from sqlrag.store.writer import immediate, words_beside

if TYPE_CHECKING:
    import apsw
    import duckdb
    import numpy as np
    from numpy.typing import NDArray

    from sqlrag.store.stored_vectors import Vectors

__all__ = ["FILES", "IndexCopy", "bring_to", "drop_index", "note_state", "shown_state"]

FILES = "files"
"""Key in the index file's sqlrag_meta: the signature that the database's files had when all indexes were up to date."""

_log = logging.getLogger("sqlrag")


def shown_state(shown: Contents, name: str) -> str | None:
    """Return the state of DuckDB's tables that an index was made from, according to the index file."""
    return shown.meta(_key(name))


def note_state(registry: Registry, record: IndexRecord, state: str) -> None:
    """Record which state of DuckDB's tables an index was made from. The caller has opened a transaction."""
    registry.put(record)
    registry.set_meta(_key(record.name), state)
    registry.set_meta(FILES, "")


def _key(name: str) -> str:
    return f"state:{name}"


def drop_index(index: apsw.Connection, name: str) -> None:
    """Remove an index from an index file."""
    with immediate(index):
        for part in ("_fts", "_codes", "_gone", "_states", ""):
            index.execute(f"DROP TABLE IF EXISTS {in_main(name + part)}")
        index.execute("DELETE FROM main.sqlrag_indexes WHERE name = ?", (name,))
        index.execute("DELETE FROM main.sqlrag_candidates WHERE index_name = ?", (name,))
        index.execute("DELETE FROM main.sqlrag_meta WHERE key IN (?, ?)", (_key(name), FILES))


class IndexCopy:
    """One index in the index file, for writing. The caller has opened a transaction."""

    def __init__(self, index: apsw.Connection, record: IndexRecord) -> None:
        self._index = index
        self._record = record
        self._chunks, self._words = in_main(record.name), in_main(f"{record.name}_fts")
        self._codes = CodeBlocks(index, record)
        self._states = KeptStates(index, record)

    def create(self) -> None:
        """Create the tables and record the index."""
        registry, name = Registry(self._index), self._record.name
        registry.create()
        codes, tokenize = statement("index/create_codes", index=name), TOKENIZERS[self._record.tokenizer]
        self._index.execute(statement("duckdb/index_file", index=name, codes=codes, tokenize=tokenize))
        registry.put(self._record)

    def insert(
        self, chunks: Sequence[tuple[int, str, str]], vectors: NDArray[np.float32], states: Sequence[bytes] = ()
    ) -> None:
        """Insert the ids, contexts and texts of chunks, the codes of their vectors, and what is kept of them, if any.

        `vectors`: `(n, dimension)` float32.
        """
        for id_, context, text in chunks:
            hashed = hashlib.md5(f"{context}\x1f{text}".encode(), usedforsecurity=False).digest()
            self._index.execute(f"INSERT INTO {self._chunks} (id, hash) VALUES (?, ?)", (id_, hashed))
            sql = f"INSERT INTO {self._words} (rowid, context, text, words) VALUES (?, ?, ?, ?)"
            self._index.execute(sql, (id_, context, text, words_beside(self._record, context, text)))
        ids = [chunk[0] for chunk in chunks]
        self._codes.insert(ids, vectors)
        if states:
            self._states.put(ids, states)

    def delete(self, ids: Sequence[int]) -> None:
        """Delete chunks; an id that is not there is left out."""
        for table in (self._chunks, self._words):
            self._index.executemany(f"DELETE FROM {table} WHERE rowid = ?", ((id_,) for id_ in ids))
        self._codes.delete(ids)
        self._states.delete(ids)

    def problems(self, vectors: Vectors) -> list[str]:
        """Return what is wrong with the vectors, their codes and the words, a line each."""
        name = self._record.name
        there = {table for (table,) in self._index.execute("SELECT name FROM main.sqlite_schema")}
        if lost := [name + part for part in ("", "_codes", "_fts") if name + part not in there]:
            return gone(self._record, lost)
        problems = vector_problems(self._index, self._record, vectors)
        differ = self._index.execute(statement("duckdb/check_words", index=name)).fetchall()
        if differ or not (self._index.readonly("main") or full_text_is_sound(self._index, self._record)):
            problems.append(f"{name}: the full text does not match the chunks")
        return problems + states_problems(self._index, self._record)


def bring_to(state: str, database: duckdb.DuckDBPyConnection, index: apsw.Connection, record: IndexRecord) -> None:
    """Bring an index of the index file to a state of DuckDB's tables: copy the chunks that differ, and no others.

    The caller has read the state in the transaction in which `database` reads the rows, and lets nobody else write the
    index file. Some thousands of rows are written in each transaction, and the state in the last one. If this is
    stopped before, the next call copies what is still missing.
    """
    registry, copy = Registry(index), IndexCopy(index, record)
    shown = registry.find(record.name)
    if shown is not None and _made_as(shown) != _made_as(record):
        drop_index(index, record.name)
        shown = None
    with immediate(index):
        if shown is None:
            copy.create()
        registry.set_meta(FILES, "")
    found = chunk_differences(database, index, record)
    if len(found.missing) > ROWS_AT_ONCE:
        _log.info("index %s: copying %s chunks", record.name, f"{len(found.missing):,}")
    if found.stale:
        with immediate(index):
            copy.delete(found.stale)
    for start in range(0, len(found.missing), ROWS_AT_ONCE):
        some = found.missing[start : start + ROWS_AT_ONCE]
        context = "context" if record.context else "''"
        sql = f"SELECT id, {context}, text FROM {quote(record.name)} WHERE id IN (SELECT unnest(?)) ORDER BY id ASC"
        chunks = database.execute(sql, [some]).fetchall()
        vectors = stored_vectors(database, record, some)
        with immediate(index):
            copy.insert(chunks, vectors)
    with immediate(index):
        note_state(registry, record, state)


def _made_as(record: IndexRecord) -> tuple[str, int, str, str]:
    """Return the settings after a change of which an index is made anew."""
    return record.embedder_hash, record.dimension, record.tokenizer, record.context
