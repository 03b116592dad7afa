"""Reading the stored vectors of an index in bulk, as arrays.

vec0 gives them one by one, each with a look-up; its shadow tables hold many in a row. Their layout, of sqlite-vec 0.1:
`<table>_chunks` has a bit (`validity`, the lowest first) and an id of 8 bytes (`rowids`) for each place,
`<table>_vector_chunks00` the vectors of the same places (ARCHITECTURE.md of sqlite-vec).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlrag.store.codes.blocks import layout_of
from sqlrag.store.precision import from_int8, kept_parts
from sqlrag.store.statements import statement
from sqlrag.store.vec0_layout import damaged

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sqlrag.store.registry import Connection, IndexRecord

__all__ = ["Block", "Vectors", "joined", "stored_blocks", "vec0_vectors"]

Block = tuple["NDArray[np.int64]", "NDArray[np.float32]"]
"""Ids, (n,), and vectors, (n, dimension)."""

Vectors = Callable[[], Iterator[Block]]
"""Yields all vectors of an index, wherever they are kept."""


def vec0_vectors(connection: Connection, record: IndexRecord) -> Vectors:
    """Return the vectors of an index that keeps them in a vec0 table."""
    return partial(stored_blocks, connection, record)


def stored_blocks(connection: Connection, record: IndexRecord) -> Iterator[Block]:
    """Yield the ids and vectors of an index as they lie. Raises NotADatabaseError for a block that is not vec0's."""
    import numpy as np

    numbers = np.dtype("<f4" if record.vectors == "float32" else "i1")
    kept = kept_parts(record, layout_of(connection, record))["kept"]
    for block in connection.execute(statement("index/vector_blocks", table=kept)):
        ids, vectors = _decoded(record, numbers, *block)
        yield ids, vectors if record.vectors == "float32" else from_int8(vectors)


def _decoded(
    record: IndexRecord, numbers: np.dtype[Any], validity: bytes, rowids: bytes, vectors: bytes
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    import numpy as np

    places = len(rowids) // 8
    expected = places * record.dimension * numbers.itemsize
    if len(rowids) % 8 or len(validity) * 8 < places or len(vectors) != expected:
        raise damaged(record.name)
    valid = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little", count=places).astype(bool)
    ids = np.frombuffer(rowids, "<i8")[valid].astype(np.int64)
    return ids, np.frombuffer(vectors, numbers).reshape(places, record.dimension)[valid]


def joined(blocks: Iterator[Block], rows: int = 8192) -> Iterator[Block]:
    """Yield blocks put together until they have so many rows."""
    import numpy as np

    waiting: list[Block] = []
    count = 0

    def together() -> Block:
        return np.concatenate([ids for ids, _ in waiting]), np.concatenate([vectors for _, vectors in waiting])

    for block in blocks:
        waiting.append(block)
        count += len(block[0])
        if count >= rows:
            yield together()
            waiting, count = [], 0
    if count:
        yield together()
