"""What sqlrag_nearest_codes() finds, by the package's numpy: bit for bit the same."""

from __future__ import annotations

import secrets

import numpy as np

from sqlrag.store.codes.quantization import encode, estimates, query_planes

codes_of = encode


def nearest(query: np.ndarray, ids: np.ndarray, codes: np.ndarray, factors: np.ndarray, k: int) -> list:
    """Return the k nearest: `id, estimate`."""
    with np.errstate(invalid="ignore", over="ignore"):
        found = estimates(query_planes(query), codes, factors, len(query)).astype(float)
    return [(int(ids[place]), float(found[place])) for place in np.lexsort((ids, -found))[:k]]


CREATE = """
CREATE TABLE main."{}" (first_id INTEGER PRIMARY KEY, stamp INTEGER NOT NULL, ids BLOB NOT NULL, factors BLOB NOT NULL,
                        codes BLOB NOT NULL)
"""


def block(ids: np.ndarray, codes: np.ndarray, factors: np.ndarray) -> tuple:
    """Return a row of a table of codes."""
    blobs = ids.astype("<i8").tobytes(), factors.astype("<f4").tobytes(), codes.astype("<u8").tobytes()
    return (int(ids[0]), secrets.randbits(64) - 2**63, *blobs)
