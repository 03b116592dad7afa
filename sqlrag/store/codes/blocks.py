"""The table of an index's codes: blocks of up to 2,048, in the order of their chunks' ids.

A new chunk comes into a small block of its own, which is joined with the blocks before it that are no larger. So one
chunk costs a page or two, each code is written a dozen times at most, and nearly all codes lie in full blocks.

Every block has a stamp, another each time that it is written: what keeps blocks in memory compares it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlrag.store.codes.quantization import encode, words_of
from sqlrag.store.names import in_main
from sqlrag.store.precision import Layout
from sqlrag.store.vec0_layout import damaged

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from sqlrag.store.registry import Connection, IndexRecord

__all__ = ["MOST", "Block", "CodeBlocks", "layout_of"]

MOST = 2048
"""Codes of a block: 0.1 MB at 384 dimensions, what a DELETE writes again."""

_FEW = MOST // 4
"""A block that a DELETE leaves with less is joined with the next one."""


def layout_of(connection: Connection, record: IndexRecord) -> Layout:
    """Return what an index has beside its vectors: codes, the cells of schemas 2 and 3, or neither (schema 1)."""
    sql = "SELECT sql FROM main.sqlite_schema WHERE type = 'table' AND name = ? COLLATE NOCASE"
    for (made,) in connection.execute(sql, (f"{record.name}_codes",)):
        return "cells" if str(made).upper().startswith("CREATE VIRTUAL") else "codes"
    return "neither"


@dataclass(frozen=True)
class Block:
    """Some codes: ids, `(n,)` int64, ascending; factors, `(n,)` float32; codes, `(n, words)` uint64."""

    ids: NDArray[np.int64]
    factors: NDArray[np.float32]
    codes: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def bytes(self) -> int:
        """How much memory it takes."""
        return self.ids.nbytes + self.factors.nbytes + self.codes.nbytes

    def part(self, which: Any) -> Block:
        """Return the codes that an index of numpy's chooses."""
        return Block(self.ids[which], self.factors[which], self.codes[which])

    @staticmethod
    def joined(blocks: Sequence[Block]) -> Block:
        """Return the codes of several blocks as one, in the order of their ids."""
        import numpy as np

        ids = np.concatenate([block.ids for block in blocks])
        order = np.argsort(ids, kind="stable")
        factors = np.concatenate([block.factors for block in blocks])
        codes = np.concatenate([block.codes for block in blocks])
        return Block(ids[order], factors[order], codes[order])


class CodeBlocks:
    """The codes of one index. Whoever writes holds the write transaction."""

    def __init__(self, connection: Connection, record: IndexRecord) -> None:
        self._connection = connection
        self._record = record
        self.table = in_main(f"{record.name}_codes")
        self.counted = f"SELECT coalesce(sum(length(ids) / 8), 0) FROM {self.table}"

    def stamps(self) -> list[tuple[int, int]]:
        """Return the first id and the stamp of each block, in their order."""
        return list(self._connection.execute(f"SELECT first_id, stamp FROM {self.table} ORDER BY first_id"))

    def count(self) -> int:
        """Return how many codes there are."""
        ((count,),) = self._connection.execute(self.counted)
        return int(count)

    def read(self, first_id: int) -> Block:
        """Return a block. Raises NotADatabaseError for one that sqlrag has not written."""
        return next(self._blocks("WHERE first_id = ?", (first_id,)))

    def all(self) -> Iterator[Block]:
        """Yield all blocks."""
        yield from self._blocks("ORDER BY first_id", ())

    def insert(self, ids: Sequence[int], vectors: NDArray[np.float32]) -> None:
        """Insert the codes of vectors, `(n, dimension)` float32."""
        import numpy as np

        if not len(ids):
            return
        codes, factors = encode(vectors)
        new = Block.joined([Block(np.array(ids, np.int64), factors, codes)])
        last = self._last()
        if last is None or int(new.ids[0]) > int(self.read(last).ids[-1]):
            self.append(new)
            return
        while len(new):  # among those that are there: into the block in which each belongs
            first = self._block_of(int(new.ids[0]))
            following = next(self._numbers(f"first_id > {first} ORDER BY first_id LIMIT 1"), None)
            end = len(new) if following is None else int(np.searchsorted(new.ids, following))
            self._replace([first], Block.joined([self.read(first), new.part(slice(end))]))
            new = new.part(slice(end, None))

    def delete(self, ids: Sequence[int]) -> None:
        """Delete the codes of chunks; an id that has none is left out."""
        import numpy as np

        rest = np.unique(np.array(list(ids), np.int64))
        while len(rest) and self._last() is not None:
            first = self._block_of(int(rest[0]))
            block = self.read(first)
            kept = block.part(~np.isin(block.ids, rest))
            following = next(self._numbers(f"first_id > {first} ORDER BY first_id LIMIT 1"), None)
            rest = rest[:0] if following is None else rest[np.searchsorted(rest, following) :]
            if len(kept) < len(block):
                self._shrink(first, kept, following)

    def _shrink(self, first: int, kept: Block, following: int | None) -> None:
        if len(kept) < _FEW and following is not None:
            after = self.read(following)
            if len(kept) + len(after) <= MOST:
                self._replace([first, following], Block.joined([kept, after]))
                return
        self._replace([first], kept)

    def append(self, new: Block) -> None:
        """Write codes behind all others, joined with the last blocks that are no larger."""
        replaced = []
        sql = f"SELECT first_id, length(ids) / 8 FROM {self.table} ORDER BY first_id DESC LIMIT 64"
        for first, size in list(self._connection.execute(sql)):
            if size > len(new) or size >= MOST:
                break
            new = Block.joined([self.read(first), new])
            replaced.append(first)
        self._replace(replaced, new)

    def _replace(self, firsts: Sequence[int], block: Block) -> None:
        """Put codes in the place of some blocks."""
        for first in firsts:
            self._connection.execute(f"DELETE FROM {self.table} WHERE first_id = ?", (first,))
        for start in range(0, len(block), MOST):
            part = block.part(slice(start, start + MOST))
            self._connection.execute(
                f"INSERT INTO {self.table} (first_id, stamp, ids, factors, codes) VALUES (?, random(), ?, ?, ?)",
                (
                    int(part.ids[0]),
                    part.ids.astype("<i8").tobytes(),
                    part.factors.astype("<f4").tobytes(),
                    part.codes.astype("<u8").tobytes(),
                ),
            )

    def _last(self) -> int | None:
        return next(self._numbers("1 ORDER BY first_id DESC LIMIT 1"), None)

    def _block_of(self, id_: int) -> int:
        """Return the block into which an id belongs: the last one that begins with no higher id, or the first."""
        found = next(self._numbers(f"first_id <= {id_} ORDER BY first_id DESC LIMIT 1"), None)
        return found if found is not None else next(self._numbers("1 ORDER BY first_id LIMIT 1"))

    def _numbers(self, condition: str) -> Iterator[int]:
        for (first,) in self._connection.execute(f"SELECT first_id FROM {self.table} WHERE {condition}"):
            yield int(first)

    def _blocks(self, which: str, bindings: tuple[int, ...]) -> Iterator[Block]:
        import numpy as np

        words = words_of(self._record.dimension)
        # What is longer than a block's parts can be is not read: the file may come from a stranger.
        widths = {"ids": 8, "factors": 4, "codes": 8 * words}
        parts = (f"CASE WHEN length({part}) <= {MOST * width} THEN {part} END" for part, width in widths.items())
        for row in self._connection.execute(f"SELECT {', '.join(parts)} FROM {self.table} {which}", bindings):
            if not all(isinstance(value, bytes) for value in row):
                raise damaged(self._record.name)
            ids, factors, codes = row
            count = len(ids) // 8
            if not count or (len(ids), len(factors), len(codes)) != (8 * count, 4 * count, 8 * count * words):
                raise damaged(self._record.name)
            found = np.frombuffer(ids, "<i8").astype(np.int64)
            if (found[1:] <= found[:-1]).any():
                raise damaged(self._record.name)
            yield Block(
                found, np.frombuffer(factors, "<f4").astype(np.float32), np.frombuffer(codes, "<u8").reshape(-1, words)
            )
