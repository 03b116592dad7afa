"""How the vectors of an index are kept: as float32, or as int8 in a quarter of the space.

int8: each number times 127 / 6 of sqrt(dimension), rounded, and cut at 127. The numbers of a unit vector have a
standard deviation of 1 / sqrt(dimension), so that six of them fit; the few beyond are cut. One scale for all vectors,
so that distances between codes are distances between vectors, times the scale.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sqlrag.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sqlrag.index.registry import IndexRecord

__all__ = ["VECTORS", "Precision", "check_vectors", "precision_of"]

VECTORS = ("float32", "int8")
"""The kinds of `IndexRecord.vectors`."""

_DEVIATIONS = 6


def check_vectors(kind: object) -> str:
    """Return how vectors are to be kept. Raises InputError for a way that there is not."""
    if not isinstance(kind, str) or kind not in VECTORS:
        raise InputError(f"vectors is {kind!r}: it is one of {', '.join(map(repr, VECTORS))}")
    return kind


class Precision:
    """float32: vectors as they are."""

    column = "FLOAT"
    bytes_each = 4
    value = "?"
    """What an inserted vector stands for in a statement."""
    query = ":vector"
    distance = "distance"
    """The distance between unit vectors, of vec0's between stored ones ..."""
    measured = "vec_distance_L2(embedding, :vector)"
    """... and of a single one."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension

    def stored(self, vectors: NDArray[np.float32]) -> NDArray[np.generic]:
        """Return vectors, (..., dimension) float32, as they are stored."""
        return vectors

    def restored(self, stored: bytes) -> NDArray[np.float32]:
        """Return stored vectors, end to end, as (n, dimension) float32."""
        import numpy as np

        return np.frombuffer(stored, "<f4").reshape(-1, self.dimension)

    def bindings(self, vector: bytes) -> dict[str, bytes]:
        """Return what a statement needs of a query vector, float32."""
        return {"vector": vector}


class _Int8(Precision):
    column = "INT8"
    bytes_each = 1
    value = "vec_int8(?)"
    query = "vec_int8(:code)"

    def __init__(self, dimension: int) -> None:
        super().__init__(dimension)
        self.scale = 127 * math.sqrt(dimension) / _DEVIATIONS
        self.distance = f"distance / {self.scale!r}"
        self.measured = f"vec_distance_L2(embedding, vec_int8(:code)) / {self.scale!r}"

    def stored(self, vectors: NDArray[np.float32]) -> NDArray[np.generic]:
        import numpy as np

        codes: NDArray[np.int8] = np.clip(np.rint(vectors * np.float32(self.scale)), -127, 127).astype(np.int8)
        return codes

    def restored(self, stored: bytes) -> NDArray[np.float32]:
        import numpy as np

        codes = np.frombuffer(stored, np.int8).reshape(-1, self.dimension)
        return np.divide(codes, np.float32(self.scale), dtype=np.float32)

    def bindings(self, vector: bytes) -> dict[str, bytes]:
        import numpy as np

        return {"vector": vector, "code": self.stored(np.frombuffer(vector, np.float32)).tobytes()}


def precision_of(record: IndexRecord) -> Precision:
    """Return how an index keeps its vectors."""
    return (_Int8 if record.vectors == "int8" else Precision)(record.dimension)
