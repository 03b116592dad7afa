"""The tables of one index, for writing, as each engine keeps them.

`IndexTables` is what the code that both engines share (writing documents, syncing rows, reindexing, repairing) needs of
an engine. The statements that are the same SQL on both stand here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from sqlrag.store.names import quote
from sqlrag.store.statements import statement
from sqlrag.text.documents import REPLACEMENT, kind_of_metadata

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Self

    from sqlrag.store.registry import IndexRecord
    from sqlrag.store.source_table import SourceTable
    from sqlrag.store.writer import StoredChunk

__all__ = ["IndexTables"]


class IndexTables(ABC):
    """One index's tables. Methods that write are called within `transaction()` or `batch()`."""

    record: IndexRecord
    main: str
    """What qualifies sqlrag's tables, and those that it indexes, in SQL."""
    path: str

    @abstractmethod
    def of(self, record: IndexRecord) -> Self:
        """Return the tables of another index, through the same connection: they share a transaction."""

    @abstractmethod
    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement and return all of its rows."""

    @abstractmethod
    def errors(self) -> AbstractContextManager[None]:
        """Turn the engine's errors in the body into sqlrag's."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[None]:
        """Run the body as one write transaction; use it to make, drop or repair an index."""

    @abstractmethod
    def batch(self) -> AbstractContextManager[None]:
        """Run the body as one write transaction whose chunks are inserted and deleted by these tables alone."""

    @abstractmethod
    def existing(self) -> IndexRecord | None:
        """Return the record of the index of this name that the database has, None where it has none."""

    @abstractmethod
    def create(self, *, first_id: int = 1, queue: bool = True) -> None:
        """Create the tables and record the index.

        `first_id`: the first chunk id. `queue`: whether every row of the source is queued, where there is a queue.
        Raises DatabaseError where a table of the user's stands in the way.
        """

    @abstractmethod
    def drop(self) -> None:
        """Drop the tables, and what else was made for the index, and forget it; its source stays as it is."""

    @abstractmethod
    def alter(self, old: IndexRecord) -> None:
        """Record the index as it is to be, and change its tables to that; `old` is what it was."""

    @abstractmethod
    def take_over(self, made: Self) -> None:
        """Copy what another index has into the tables of this one, which are empty."""

    @abstractmethod
    def unused_id(self) -> int:
        """Return a chunk id such that neither it nor a greater one was ever used."""

    @abstractmethod
    def next_ids(self, count: int) -> Iterator[int]:
        """Yield chunk ids that were never used."""

    @abstractmethod
    def insert(self, chunks: Sequence[StoredChunk], vectors: NDArray[np.float32], states: Sequence[bytes]) -> None:
        """Insert chunks with their vectors, `(n, dimension)` float32, unit length, and what is kept of them, if any."""

    @abstractmethod
    def delete_chunks_of(self, source_ids: Sequence[Any]) -> None:
        """Delete the chunks of these source rows, and their vectors."""

    @abstractmethod
    def delete_rows(self, source_ids: Sequence[Any]) -> None:
        """Forget which texts of these rows the index has."""

    @abstractmethod
    def insert_rows(self, hashes: Sequence[tuple[Any, bytes]]) -> None:
        """Note which texts the index has: keys of rows, and the hashes of their texts."""

    @abstractmethod
    def source(self) -> SourceTable:
        """Return what the database says of the table or view that the index is over."""

    @abstractmethod
    def kept_key_type(self) -> str:
        """Return the type of the keys that an index over a table has: that of the table it was made over."""

    @abstractmethod
    def key_type(self, table: SourceTable | None = None) -> str:
        """Return the type of a column that holds the keys of the source as it is now, which may be described before."""

    @abstractmethod
    def wrong_rows(self) -> list[Any] | None:
        """Repair what can be made from the index's own parts; return the source rows whose chunks are to be made again.

        None where only making the index anew helps.
        """

    @abstractmethod
    def remake_codes(self) -> None:
        """Make the codes of the vectors anew, and forget how many candidates a search needs; nothing is embedded."""

    @abstractmethod
    def keep_up(self, progress: Callable[[str, float], None]) -> None:
        """Measure how many candidates a search needs, if the index has grown since that was last measured."""

    @abstractmethod
    def new_document_id(self) -> int | None:
        """Return the id of a new document, None where the database itself gives it one."""

    def is_as_recorded(self) -> bool:
        """Tell whether the index is still the one that this was opened for, and has not been made anew meanwhile."""
        existing = self.existing()
        return existing is not None and existing.is_as(self.record)

    def unknown_rows(self) -> list[Any]:
        """Return the source rows of chunks that the index does not know to have."""
        chunks, rows = self._names("", "_rows")
        sql = f"SELECT DISTINCT source_id FROM {chunks} WHERE source_id NOT IN (SELECT source_id FROM {rows})"
        return self.column(sql)

    def rows_without_chunks(self) -> list[Any]:
        """Return the rows with a text that no chunk is of; a text of blanks has none."""
        chunks, rows = self._names("", "_rows")
        sql = (
            f"SELECT source_id FROM {rows} WHERE length(content_hash) > 0 "
            f"AND source_id NOT IN (SELECT source_id FROM {chunks})"
        )
        return self.column(sql)

    def documents_without_chunks(self) -> list[int]:
        """Return the documents with a text that no chunk is of."""
        return self.column(statement("index/documents_without_chunks", index=self.record.name, main=self.main))

    def rows_without_document(self) -> list[int]:
        """Return the source ids of chunks whose document is gone."""
        (chunks,) = self._names("")
        sql = f"SELECT DISTINCT source_id FROM {chunks} WHERE source_id NOT IN (SELECT id FROM {self.main}.documents)"
        return self.column(sql)

    def offset_problems(self) -> list[str]:
        """Return what is wrong between the chunks of documents and the texts of these, a line each."""
        found = list(self._wrong_documents())
        nul, wrong = sum(has_nul for _, has_nul, _ in found), sum(count for _, _, count in found)
        lines = {f"{nul:,} documents have a NUL, at which SQL's functions end a text": nul}
        lines[f"{wrong:,} chunks are not what their document has at their offsets"] = wrong
        return [f"{self.record.name}: {line}: sqlrag check --repair mends it" for line, count in lines.items() if count]

    def mend_documents(self) -> list[int]:
        """Replace the NULs in the texts of documents; return the documents whose chunks are not what these say."""
        wrong = []
        for id_, has_nul, _ in self._wrong_documents():
            wrong.append(id_)
            if has_nul:
                ((text,),) = self.rows(f"SELECT text FROM {self.main}.documents WHERE id = ?", [id_])
                sql = f"UPDATE {self.main}.documents SET text = ? WHERE id = ?"
                self.rows(sql, [text.replace("\0", REPLACEMENT), id_])
        return wrong

    def _wrong_documents(self) -> Iterator[tuple[int, bool, int]]:
        """Yield each document with a NUL or with wrong chunks: its id, whether it has a NUL, how many are wrong."""
        (chunks,) = self._names("")
        for id_ in self.column(f"SELECT id FROM {self.main}.documents WHERE index_name = ?", [self.record.name]):
            ((text,),) = self.rows(f"SELECT text FROM {self.main}.documents WHERE id = ?", [id_])
            sql = f"SELECT start_char, end_char, text FROM {chunks} WHERE source_id = ?"
            wrong = sum(text[start:end] != chunk for start, end, chunk in self.rows(sql, [id_]))
            if wrong or "\0" in text:
                yield id_, "\0" in text, wrong

    def headings_of(self, documents: Sequence[int]) -> dict[int, tuple[str, str]]:
        """Return the title of each of these documents, and the kind of the file that it was made from."""
        if not documents:
            return {}
        places = ", ".join("?" for _ in documents)
        sql = f"SELECT id, title, metadata FROM {self.main}.documents WHERE id IN ({places})"
        return {id_: (title or "", kind_of_metadata(metadata)) for id_, title, metadata in self.rows(sql, documents)}

    def column(self, sql: str, params: Sequence[Any] = ()) -> list[Any]:
        """Run a statement and return the first column of its rows."""
        return [row[0] for row in self.rows(sql, params)]

    def _names(self, *parts: str) -> list[str]:
        return [f"{self.main}.{quote(self.record.name + part)}" for part in parts]
