"""Reading the stored vectors of an index in bulk, as arrays.

vec0 gives them one by one, each with a look-up; its shadow tables hold many in a row. Their layout, of sqlite-vec 0.1:
`<table>_chunks` has a bit (`validity`, the lowest first) and an id of 8 bytes (`rowids`) for each place,
`<table>_vector_chunks00` the vectors of the same places (ARCHITECTURE.md of sqlite-vec).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from sqlrag.errors import NotADatabaseError
from sqlrag.store.precision import codes_of
from sqlrag.store.statements import statement

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from sqlrag.store.registry import Connection, IndexRecord

__all__ = ["Block", "cell_sizes", "centroid_blocks", "code_blocks", "joined", "stored_blocks"]

Block = tuple["NDArray[np.int64]", "NDArray[np.float32]"]
"""Ids, (n,), and vectors, (n, dimension)."""


def stored_blocks(
    connection: Connection, record: IndexRecord, *, after: int = 0, most: int = -1
) -> Iterator[tuple[int, Block]]:
    """Yield the vectors of an index as they lie: vec0's number of the block, then ids and vectors.

    `after`, `most`: blocks of higher numbers, at most so many. Raises NotADatabaseError for a block that vec0 has not
    written.
    """
    if record.vectors == "int8":
        yield from code_blocks(connection, record, after=after, most=most)
    else:
        yield from _float_blocks(connection, record, f"{record.name}_vec", after, most)


def centroid_blocks(connection: Connection, record: IndexRecord) -> Iterator[tuple[int, Block]]:
    """Yield the centroids of an index with their cells, as `stored_blocks`."""
    yield from _float_blocks(connection, record, f"{record.name}_cells", 0, -1)


def _float_blocks(
    connection: Connection, record: IndexRecord, table: str, after: int, most: int
) -> Iterator[tuple[int, Block]]:
    import numpy as np

    sql = statement("index/vector_blocks", table=table, condition="")
    for number, *block in connection.execute(sql, {"after": after, "most": most}):
        ids, vectors = _decoded(record, np.dtype("<f4"), *block)
        yield number, (ids, vectors)


def code_blocks(
    connection: Connection, record: IndexRecord, *, before_cell: int | None = None, after: int = 0, most: int = -1
) -> Iterator[tuple[int, Block]]:
    """Yield the vectors that the codes of an index stand for, as `stored_blocks`; `before_cell`: of earlier cells."""
    import numpy as np

    condition = "" if before_cell is None else f"AND block.partition00 < {int(before_cell)}"
    sql = statement("index/vector_blocks", table=f"{record.name}_codes", condition=condition)
    for number, *block in connection.execute(sql, {"after": after, "most": most}):
        ids, codes = _decoded(record, np.dtype("i1"), *block)
        yield number, (ids, codes_of(record).decode(codes))


def cell_sizes(connection: Connection, record: IndexRecord, first_cell: int) -> list[int]:
    """Return how many codes each cell has, from the first of a number on, without cells that have none."""
    sizes: Counter[int] = Counter()
    sql = statement("index/cell_sizes", index=record.name)
    for cell, validity in connection.execute(sql, {"first_cell": first_cell}):
        sizes[cell] += int.from_bytes(validity, "little").bit_count()
    return [size for size in sizes.values() if size]


def _decoded(
    record: IndexRecord, numbers: np.dtype[Any], validity: bytes, rowids: bytes, vectors: bytes
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    import numpy as np

    places = len(rowids) // 8
    expected = places * record.dimension * numbers.itemsize
    if len(rowids) % 8 or len(validity) * 8 < places or len(vectors) != expected:
        raise NotADatabaseError(
            f"the vectors of index {record.name!r} are damaged: sqlrag check --repair makes them anew"
        )
    valid = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little", count=places).astype(bool)
    ids = np.frombuffer(rowids, "<i8")[valid].astype(np.int64)
    return ids, np.frombuffer(vectors, numbers).reshape(places, record.dimension)[valid]


def joined(blocks: Iterator[tuple[int, Block]], rows: int) -> Iterator[Block]:
    """Yield blocks put together until they have so many rows, for fewer and larger products."""
    import numpy as np

    waiting: list[Block] = []
    count = 0
    for _, block in blocks:
        waiting.append(block)
        count += len(block[0])
        if count >= rows:
            yield np.concatenate([ids for ids, _ in waiting]), np.concatenate([vectors for _, vectors in waiting])
            waiting, count = [], 0
    if count:
        yield np.concatenate([ids for ids, _ in waiting]), np.concatenate([vectors for _, vectors in waiting])
