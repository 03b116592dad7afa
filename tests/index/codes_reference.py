"""What a search by codes finds, computed step by step: the format's description in numpy, with no code of the package.

The C library and sqlrag.store.codes must find the same, bit for bit.
"""

from __future__ import annotations

import secrets

import numpy as np

MASK = 2**64 - 1


def _splitmix64(state: int) -> int:
    mixed = (state + 1) * 0x9E3779B97F4A7C15 & MASK
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & MASK
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & MASK
    return mixed ^ mixed >> 31


def _transformed(part: np.ndarray) -> np.ndarray:
    """Return the Walsh-Hadamard transform of rows, which is not normalised."""
    rows, count = part.shape
    half = 1
    while half < count:
        pairs = part.reshape(rows, -1, 2, half)
        one, other = pairs[:, :, 0], pairs[:, :, 1]
        part = np.stack([one + other, one - other], axis=2).reshape(rows, count)
        half *= 2
    return part


def rotated(vectors: np.ndarray) -> np.ndarray:
    """Return float32 rows, rotated."""
    rows = np.array(vectors, np.float32, ndmin=2)
    dimension = rows.shape[1]
    words, count = -(-dimension // 64), 1 << (dimension.bit_length() - 1)
    for number in range(4):
        signs = [_splitmix64(number * words + place // 64) >> place % 64 & 1 for place in range(dimension)]
        rows[:, np.array(signs, bool)] *= np.float32(-1)
        start = 0 if number % 2 == 0 else dimension - count
        rows[:, start : start + count] = _transformed(rows[:, start : start + count])
        rows[:, :start] *= np.float32(np.sqrt(count))
        rows[:, start + count :] *= np.float32(np.sqrt(count))
    return rows


def _packed(bits: np.ndarray) -> np.ndarray:
    rows, dimension = bits.shape
    filled = np.zeros((rows, -(-dimension // 64) * 64), bool)
    filled[:, :dimension] = bits
    return np.packbits(filled, axis=1, bitorder="little").view("<u8")


def codes_of(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the codes, `(n, words)`, and the factors, `(n,)`, of vectors."""
    rows = rotated(vectors)
    return _packed(rows >= 0), (1 / np.abs(rows).sum(axis=1)).astype(np.float32)


def estimates(query: np.ndarray, codes: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Return how near each code is to the query, in float32."""
    turned = rotated(query)[0]
    most = np.abs(turned).max()
    scale = np.float32(8) / most if most > 0 else np.float32(0)
    levels = np.clip(np.floor(turned * scale).astype(int) + 8, 0, 15)
    apart = np.zeros(len(codes), np.int64)
    for plane in range(4):
        bits = codes ^ _packed((levels >> plane & 1).astype(bool)[None])
        apart += np.bitwise_count(bits).sum(axis=1, dtype=np.int64) << plane
    with np.errstate(invalid="ignore", over="ignore"):
        found = (15 * len(query) - 2 * apart).astype(np.float32) * factors
    return np.where(np.isfinite(found), found, np.float32("-inf"))


def nearest(query: np.ndarray, ids: np.ndarray, codes: np.ndarray, factors: np.ndarray, k: int) -> list:
    """Return the k nearest: `id, estimate`."""
    found = estimates(query, codes, factors).astype(float)
    return [(int(ids[place]), float(found[place])) for place in np.lexsort((ids, -found))[:k]]


CREATE = """
CREATE TABLE main."{}" (first_id INTEGER PRIMARY KEY, stamp INTEGER NOT NULL, ids BLOB NOT NULL, factors BLOB NOT NULL,
                        codes BLOB NOT NULL)
"""


def block(ids: np.ndarray, codes: np.ndarray, factors: np.ndarray) -> tuple:
    """Return a row of a table of codes."""
    blobs = ids.astype("<i8").tobytes(), factors.astype("<f4").tobytes(), codes.astype("<u8").tobytes()
    return (int(ids[0]), secrets.randbits(64) - 2**63, *blobs)
