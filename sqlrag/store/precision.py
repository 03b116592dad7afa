"""How the vectors of an index are kept: as float32, or only as their int8 codes, in a quarter of the space.

A code has a byte for each number: the number times 127 / 6 of sqrt(dimension), rounded, and cut at 127. The numbers of
a unit vector have a standard deviation of 1 / sqrt(dimension), so that six of them fit; the few beyond are cut. One
scale for all vectors, so that distances between codes are distances between vectors, times the scale.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlrag.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sqlrag.store.registry import IndexRecord

__all__ = ["VECTORS", "Codes", "check_vectors", "codes_of", "kept_parts"]

VECTORS = ("float32", "int8")
"""The kinds of `IndexRecord.vectors`."""

_DEVIATIONS = 6


def check_vectors(kind: object) -> str:
    """Return how vectors are to be kept. Raises InputError for a way that there is not."""
    if not isinstance(kind, str) or kind not in VECTORS:
        raise InputError(f"vectors is {kind!r}: it is one of {', '.join(map(repr, VECTORS))}")
    return kind


@dataclass(frozen=True)
class Codes:
    """The int8 codes of vectors of a dimension."""

    dimension: int

    @property
    def scale(self) -> float:
        """What a number of a vector is multiplied with."""
        return 127 * math.sqrt(self.dimension) / _DEVIATIONS

    def encode(self, vectors: NDArray[np.float32]) -> NDArray[np.int8]:
        """Return the codes, (..., dimension) int8, of vectors, (..., dimension) float32."""
        import numpy as np

        codes: NDArray[np.int8] = np.clip(np.rint(vectors * np.float32(self.scale)), -127, 127).astype(np.int8)
        return codes

    def encode_query(self, vector: bytes) -> bytes:
        """Return the code of one float32 vector; without numpy, whose import would take a third of a cold search."""
        (scale,) = array("f", [self.scale])
        # A product of two float32 numbers is exact as a float, and so is rounded as numpy's float32 product is.
        scaled = array("f", [number * scale for number in memoryview(vector).cast("f")])
        return array("b", [round(x) if -127 < x < 127 else (127 if x > 0 else -127) for x in scaled]).tobytes()

    def decode(self, codes: NDArray[np.int8]) -> NDArray[np.float32]:
        """Return the vectors, (..., dimension) float32, that codes stand for, to half a step in each number."""
        import numpy as np

        return np.divide(codes, np.float32(self.scale), dtype=np.float32)


def codes_of(record: IndexRecord) -> Codes:
    """Return the codes of an index."""
    return Codes(record.dimension)


def kept_parts(record: IndexRecord) -> dict[str, str]:
    """Return the parts of a statement that say where the vectors are kept, and how far one is from the query.

    `scanned`, `scanned_distance`: the same for sqlrag_scan().
    """
    if record.vectors == "int8":
        kept, scale = f"{record.name}_codes", codes_of(record).scale
        return {
            "kept": kept,
            "distance": f"vec_distance_L2(kept.code, vec_int8(:code)) / {scale!r}",
            "scanned": f"'{kept}', 'int8 L2', :code",
            "scanned_distance": f"distance / {scale!r}",
        }
    kept = f"{record.name}_vec"
    return {
        "kept": kept,
        "distance": "vec_distance_L2(kept.embedding, :vector)",
        "scanned": f"'{kept}', 'float32 L2', :vector",
        "scanned_distance": "distance",
    }
