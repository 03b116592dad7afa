"""One-bit codes of vectors, and how near a query is to each by its code.

A code has the sign of each number of the rotated vector. The query is rotated, too, and rounded to 4 bits a number.
Their product, corrected for how much of the vector its signs keep, estimates the cosine (RaBitQ: Gao and Long 2024,
arXiv:2405.12497). A rotation makes the numbers of any vector alike in size, so that each sign tells as much as another.

The C library does the same for the query, bit for bit (extension/planes.c, extension/kernels.c): the rotation adds
and subtracts float32 numbers in a fixed order, and the estimate is an integer times one float32 number.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["encode", "estimates", "query_planes", "words_of"]

PLANES = 4
"""Bits of each number of a query."""

_ROUNDS = 4
"""Flips of signs and transforms: after four, each number of the result depends on all of the vector."""

_MASK = (1 << 64) - 1


def words_of(dimension: int) -> int:
    """Return how many words of 64 bits a code has."""
    return -(-dimension // 64)


def encode(vectors: NDArray[np.float32]) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
    """Return the codes, `(n, words)` uint64, and factors, `(n,)` float32, of vectors, `(n, dimension)` float32.

    Bit i of a code (word i // 64, bit i % 64) is set where number i of the rotated vector is not negative. The factor
    is 1 over the sum of the rotated vector's absolute numbers.
    """
    import numpy as np

    turned = _rotated(vectors)
    sums = np.abs(turned).sum(axis=1, dtype=np.float64)
    factors = np.divide(1.0, sums, out=np.zeros_like(sums), where=sums > 0).astype(np.float32)
    return _packed(turned >= 0), factors


def query_planes(vector: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Return a query, `(dimension,)` float32, as planes, `(PLANES, words)` uint64: bit j of each number in plane j."""
    import numpy as np

    turned = _rotated(vector[None])[0]
    largest = np.abs(turned).max()
    scale = np.float32(8) / largest if largest > 0 else np.float32(0)
    levels = np.clip(np.floor(turned * scale).astype(np.int64) + 8, 0, 15)
    return _packed((levels >> np.arange(PLANES)[:, None]) & 1 == 1)


def estimates(
    planes: NDArray[np.uint64], codes: NDArray[np.uint64], factors: NDArray[np.float32], dimension: int
) -> NDArray[np.float32]:
    """Return how near a query is to each code, `(n,)` float32: what grows with the cosine of their vectors."""
    import numpy as np

    apart = np.zeros(len(codes), np.int32)
    for plane, word in enumerate(planes):
        apart += np.bitwise_count(codes ^ word).sum(axis=1, dtype=np.int32) << plane
    found: NDArray[np.float32] = (15 * dimension - 2 * apart).astype(np.float32) * factors
    return np.where(np.isfinite(found), found, np.float32("-inf"))


def _packed(bits: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Return rows of bits as words, the lowest bit first."""
    import numpy as np

    rows, width = bits.shape
    filled = np.zeros((rows, 64 * words_of(width)), bool)
    filled[:, :width] = bits
    return np.packbits(filled, axis=1, bitorder="little").view("<u8")


def _rotated(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return vectors, `(n, dimension)`, after signs and Hadamard transforms, all longer by the same.

    The transform takes as many numbers as the largest power of two that fits, of the head and of the tail in turns.
    """
    import numpy as np

    dimension = vectors.shape[1]
    size = 1 << (dimension.bit_length() - 1)
    lengthened = np.float32(math.sqrt(size))
    turned = vectors.astype(np.float32).T.copy()  # numbers of one kind lie together: each step is a few long additions
    for number, flips in enumerate(_flips(dimension)):
        turned[flips] *= np.float32(-1)
        start = 0 if number % 2 == 0 else dimension - size
        _transform(turned[start : start + size])
        turned[:start] *= lengthened  # as the transform does to its numbers
        turned[start + size :] *= lengthened
    return turned.T


def _transform(numbers: NDArray[np.float32]) -> None:
    """Apply the Walsh-Hadamard transform, which is not normalised, to the first axis in place."""
    import numpy as np

    step = 1
    while step < len(numbers):
        pairs = numbers.reshape(len(numbers) // (2 * step), 2, step, -1)
        sums = pairs[:, 0] + pairs[:, 1]
        np.subtract(pairs[:, 0], pairs[:, 1], out=pairs[:, 1])
        pairs[:, 0] = sums
        step *= 2


@cache
def _flips(dimension: int) -> NDArray[np.bool_]:
    """Return which numbers change their sign in each round, `(_ROUNDS, dimension)`: random, and always the same."""
    import numpy as np

    words = words_of(dimension)
    drawn = [[_random_word(number * words + word) for word in range(words)] for number in range(_ROUNDS)]
    bits = np.unpackbits(np.array(drawn, "<u8").view(np.uint8), axis=1, bitorder="little")
    return bits[:, :dimension].astype(bool)


def _random_word(place: int) -> int:
    """Return a word of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), which any language computes alike."""
    word = (place + 1) * 0x9E3779B97F4A7C15 & _MASK
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    word = (word ^ word >> 27) * 0x94D049BB133111EB & _MASK
    return word ^ word >> 31
