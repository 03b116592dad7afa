"""How the vectors of an index are kept: as float32, or rounded to int8, in a quarter of the space.

An int8 vector has a byte for each number: the number times 127 / 6 of sqrt(dimension), rounded, and cut at 127. The
numbers of a unit vector have a standard deviation of 1 / sqrt(dimension), so that six of them fit; the few beyond are
cut. All vectors have one scale, so that distances between int8 vectors are those between vectors, times the scale.
"""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING, Literal, TypeAlias

from sqlrag.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sqlrag.store.registry import IndexRecord

__all__ = ["VECTORS", "Layout", "check_vectors", "encode_query", "from_int8", "kept_parts", "to_int8"]

Layout: TypeAlias = Literal["codes", "cells", "neither"]
"""What an index has beside its vectors: see `sqlrag.store.codes.blocks.layout_of`."""

VECTORS = ("float32", "int8")
"""The kinds of `IndexRecord.vectors`."""

_DEVIATIONS = 6


def check_vectors(kind: object) -> str:
    """Return how vectors are to be kept. Raises InputError for anything but one of VECTORS."""
    if not isinstance(kind, str) or kind not in VECTORS:
        raise InputError(f"vectors is {kind!r}: it is one of {', '.join(map(repr, VECTORS))}")
    return kind


def _scale(dimension: int) -> float:
    """Return what a number of a vector is multiplied by."""
    return 127 * math.sqrt(dimension) / _DEVIATIONS


def to_int8(vectors: NDArray[np.float32]) -> NDArray[np.int8]:
    """Return vectors, (..., dimension) float32, rounded to int8."""
    import numpy as np

    scaled = np.rint(vectors * np.float32(_scale(vectors.shape[-1])))
    rounded: NDArray[np.int8] = np.clip(scaled, -127, 127).astype(np.int8)
    return rounded


def from_int8(rounded: NDArray[np.int8]) -> NDArray[np.float32]:
    """Return the vectors, (..., dimension) float32, that int8 vectors stand for, to half a step in each number."""
    import numpy as np

    return np.divide(rounded, np.float32(_scale(rounded.shape[-1])), dtype=np.float32)


def encode_query(record: IndexRecord, vector: bytes) -> bytes:
    """Return one float32 vector rounded to int8; without numpy, whose import would take a third of a cold search."""
    (scale,) = array("f", [_scale(record.dimension)])
    # A product of two float32 numbers is exact as a float, and so is rounded as numpy's float32 product is.
    scaled = array("f", [number * scale for number in memoryview(vector).cast("f")])
    return array("b", [round(x) if -127 < x < 127 else (127 if x > 0 else -127) for x in scaled]).tobytes()


def kept_parts(record: IndexRecord, layout: Layout = "codes") -> dict[str, str]:
    """Return the parts of a statement that say where the vectors are kept, and how far one is from the query.

    `scanned`, `scanned_distance`: the same for sqlrag_look_up().
    """
    if record.vectors == "float32":
        return {
            "kept": f"{record.name}_vec",
            "distance": "vec_distance_L2(kept.embedding, :vector)",
            "scanned": f"'{record.name}_vec', 'float32 L2', :vector",
            "scanned_distance": "distance",
        }
    # Up to schema 3 the int8 vectors lay beside the cells that they were in.
    kept, column = (f"{record.name}_codes", "code") if layout == "cells" else (f"{record.name}_vec", "embedding")
    scale = _scale(record.dimension)
    return {
        "kept": kept,
        "distance": f"vec_distance_L2(kept.{column}, vec_int8(:code)) / {scale!r}",
        "scanned": f"'{kept}', 'int8 L2', :code",
        "scanned_distance": f"distance / {scale!r}",
    }
