"""Where sqlite-vec keeps each vector, compared both ways: the place of each id, and the id of each place.

`<table>_rowids` says in which block and at which place of it the vector of an id lies; `<table>_chunks` has for each
place of a block whether it is taken (`validity`) and by which id (`rowids`); `<table>_vector_chunks00` has the vectors
(ARCHITECTURE.md of sqlite-vec). Where the two disagree, a search takes one vector for another, and a DELETE or INSERT
takes the vector of another row out.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlrag.errors import NotADatabaseError
from sqlrag.store.names import in_main

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from sqlrag.store.registry import Connection

__all__ = ["Places", "check_places", "damaged", "places_of", "vectors_at"]

_BLOCK = re.compile(r"chunk_size\s*=\s*(\d+)", re.IGNORECASE)
_BLOCK_PLACES = 1024
"""Places of a block where the table was made without saying (sqlite-vec's default)."""

_LATEST = 64
"""So many of the last ids are looked at before vectors are inserted."""


def damaged(index: str) -> NotADatabaseError:
    """Return the error for vectors that do not lie where sqlite-vec has put them."""
    return NotADatabaseError(f"the vectors of index {index!r} are damaged: sqlrag check --repair makes them anew")


@dataclass(frozen=True)
class Places:
    """What both sides say of a vec0 table."""

    blocks: int
    """Blocks that sqlite-vec did not write."""
    wrong: int
    """Ids without a place of their own, and places without an id of their own."""
    agreed: NDArray[np.int64]
    """(n, 3): id, block and place, where both sides say the same."""

    @property
    def are_sound(self) -> bool:
        """Whether all is as sqlite-vec keeps it."""
        return not self.blocks and not self.wrong


def places_of(connection: Connection, table: str, vector_bytes: int) -> Places:
    """Compare both sides of a vec0 table, whose vectors have so many bytes each."""
    import numpy as np

    size = _block_size(connection, table)
    blocks = [_places_in(block, size, vector_bytes) for block in _blocks(connection, table)]
    of_places = np.concatenate([np.empty((0, 3), np.int64), *(block for block in blocks if block is not None)])
    of_ids, strange = _ids(connection, table)
    of_ids = of_ids[np.argsort(of_ids[:, 0], kind="stable")]
    agreed = np.zeros(len(of_places), bool)
    if len(of_ids):
        at = np.minimum(np.searchsorted(of_ids[:, 0], of_places[:, 0]), len(of_ids) - 1)
        agreed = (of_ids[at] == of_places).all(axis=1)
    count = int(agreed.sum())
    wrong = strange + len(of_places) - count + len(of_ids) - count
    return Places(sum(block is None for block in blocks), wrong, of_places[agreed])


def vectors_at(connection: Connection, table: str, agreed: NDArray[np.int64]) -> Iterator[tuple[int, bytes]]:
    """Yield the ids and vectors of the places about which both sides agree."""
    import numpy as np

    sql = f"SELECT vectors FROM {in_main(f'{table}_vector_chunks00')} WHERE _rowid_ = ?"
    for block in np.unique(agreed[:, 1]).tolist():
        places = agreed[agreed[:, 1] == block]
        ((vectors,),) = connection.execute(sql, (block,))
        size = len(vectors) // _block_size(connection, table)
        for id_, _, place in places.tolist():
            yield id_, vectors[place * size : (place + 1) * size]


def _block_size(connection: Connection, table: str) -> int:
    sql = "SELECT sql FROM main.sqlite_schema WHERE name = ? COLLATE NOCASE"
    for (made,) in connection.execute(sql, (table,)):
        found = _BLOCK.search(str(made))
        return int(found[1]) if found else _BLOCK_PLACES
    return _BLOCK_PLACES


def _blocks(connection: Connection, table: str) -> Iterator[tuple[Any, ...]]:
    yield from connection.execute(
        "SELECT block.chunk_id, block.size, block.validity, block.rowids, vectors.rowid, "
        "CASE typeof(vectors.vectors) WHEN 'blob' THEN length(vectors.vectors) END "
        f"FROM {in_main(f'{table}_chunks')} AS block "
        f"LEFT JOIN {in_main(f'{table}_vector_chunks00')} AS vectors ON vectors._rowid_ = block.chunk_id"
    )


def _places_in(block: tuple[Any, ...], size: int, vector_bytes: int) -> NDArray[np.int64] | None:
    """Return `(id, block, place)` of each place that is taken; None for what is no block."""
    import numpy as np

    number, block_size, validity, rowids, same_number, length = block
    if not isinstance(validity, bytes) or not isinstance(rowids, bytes):
        return None
    is_block = (block_size, same_number, length) == (size, number, size * vector_bytes)
    if not is_block or not isinstance(number, int) or (8 * len(validity), len(rowids)) != (size, 8 * size):
        return None
    valid = np.flatnonzero(np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little"))
    ids = np.frombuffer(rowids, "<i8")[valid].astype(np.int64)
    return np.column_stack([ids, np.full(len(ids), number, np.int64), valid.astype(np.int64)])


def _ids(connection: Connection, table: str) -> tuple[NDArray[np.int64], int]:
    """Return `(id, block, place)` of each id, and how many have something else than numbers there."""
    import numpy as np

    rows = list(connection.execute(f"SELECT rowid, chunk_id, chunk_offset FROM {in_main(f'{table}_rowids')}"))
    good = [row for row in rows if all(isinstance(value, int) for value in row)]
    return np.array(good, np.int64).reshape(len(good), 3), len(rows) - len(good)


def check_places(connection: Connection, index: str, ids: Sequence[int] | None = None) -> None:
    """Raise NotADatabaseError where the place of one of these ids is another's: deleting it would delete that one.

    Without `ids`, of the last ones: sqlite-vec fills the last block, and would put a new vector into a place of theirs
    that looks free.
    """
    table = f"{index}_vec"
    chosen = "1 ORDER BY rowid DESC LIMIT ?" if ids is None else "rowid IN (SELECT value FROM main.json_each(?))"
    sql = (
        "SELECT place.rowid, place.chunk_id, place.chunk_offset, block.validity, block.rowids "
        f"FROM (SELECT rowid, chunk_id, chunk_offset FROM {in_main(f'{table}_rowids')} WHERE {chosen}) AS place "
        f"LEFT JOIN {in_main(f'{table}_chunks')} AS block ON block.chunk_id = place.chunk_id"
    )
    bound = _LATEST if ids is None else json.dumps([*map(int, ids)])
    for id_, _, place, validity, rowids in connection.execute(sql, (bound,)):
        if not _is_at(id_, place, validity, rowids):
            raise damaged(index)


def _is_at(id_: object, place: object, validity: object, rowids: object) -> bool:
    """Tell whether a block has an id at a place."""
    if not (
        isinstance(id_, int) and isinstance(place, int) and isinstance(validity, bytes) and isinstance(rowids, bytes)
    ):
        return False
    if not 0 <= place < min(8 * len(validity), len(rowids) // 8):
        return False
    is_taken = validity[place // 8] >> place % 8 & 1
    return bool(is_taken) and int.from_bytes(rowids[8 * place : 8 * place + 8], "little", signed=True) == id_
