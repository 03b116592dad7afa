"""What can be kept of a text for a reranker that reads states: its tokens, their states in few bits, its embedding.

A blob is, little-endian, with n tokens and c components:

    form (4 bytes), n (2), embedding (dimension / 2), word pieces (2 n), states (n c / 4)

A token's state, brought to length one, becomes c principal components of two bits, four to a byte, the first in the
lowest bits; the embedding has four bits a number, two to a byte. A blob depends on the text and the form alone, and
begins with a hash of the form, so that a blob of another model is known as such. What it stands for is brought to
length one again, without which best matches rank markedly worse.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["LEVELS", "VECTOR_LEVELS", "Form", "Kept", "joined", "product", "read_kept"]

LEVELS, VECTOR_LEVELS = 4, 16
"""Values of a component of a state, and of a number of an embedding."""
_ALONE = 262_144  # OpenBLAS: interface/gemm.c, SMP_THRESHOLD_MIN * GEMM_MULTITHREAD_THRESHOLD
_HEAD = struct.Struct("<4sH")


@dataclass(frozen=True)
class Form:
    """How states are rounded.

    `basis`: `(dimension, components)`, orthonormal; centre and step of each component, and of each number of an
    embedding; float32.
    """

    basis: NDArray[np.float32]
    centre: NDArray[np.float32]
    step: NDArray[np.float32]
    vector_centre: NDArray[np.float32]
    vector_step: NDArray[np.float32]

    @cached_property
    def digest(self) -> bytes:
        """What a blob of this form begins with: 4 bytes."""
        hashed = hashlib.blake2b(digest_size=4)
        for part in (self.basis, self.centre, self.step, self.vector_centre, self.vector_step):
            hashed.update(part.astype("<f4").tobytes())
        return hashed.digest()

    def codes(self, states: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the codes of states `(tokens, dimension)` of length one, `(tokens, components)`."""
        return _codes(product(states, self.basis), self.centre, self.step, LEVELS)

    def vector_codes(self, vectors: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the codes of embeddings of length one, `(.., dimension)`."""
        return _codes(vectors, self.vector_centre, self.vector_step, VECTOR_LEVELS)

    def values(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the states that codes stand for, of length one, `(.., components)`."""
        return _values(codes, self.centre, self.step, LEVELS)

    def vectors(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the embeddings that codes stand for, of length one, `(.., dimension)`."""
        return _values(codes, self.vector_centre, self.vector_step, VECTOR_LEVELS)

    def rounded(self, hidden: NDArray[np.float32], vector: NDArray[np.float32]) -> tuple[bytes, bytes]:
        """Return the embedding and the states of a text, packed.

        `hidden`: the last hidden state, `(tokens + 2, dimension)`, with [CLS] at the start and [SEP] at the end, which
        count for the embedding alone; `vector`: its mean, `(dimension,)`.
        """
        import numpy as np

        low, high = self.vector_codes(vector / (np.linalg.norm(vector) + 1e-12)).reshape(-1, 2).T
        own = hidden[1:-1]
        codes = self.codes(own / (np.linalg.norm(own, axis=-1, keepdims=True) + 1e-12))
        return (low | high << 4).tobytes(), packed(codes).tobytes()


@dataclass(frozen=True)
class Kept:
    """What a blob says: `ids`, `(n,)`; `states`, `(n, components / 4)`, packed codes; `vector`, `(dimension,)`."""

    ids: NDArray[np.uint16]
    states: NDArray[np.uint8]
    vector: NDArray[np.float32]


def product(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the product of two matrices, computed in this thread.

    numpy's BLAS has threads of its own, which would wait for a processor among those that run models: three times as
    long as the encoder. It leaves products of so few multiplications to the thread that asks.
    """
    import numpy as np

    rows = max(1, _ALONE // max(1, right.size))
    found = np.empty((len(left), right.shape[1]), np.float32)
    for start in range(0, len(left), rows):
        np.matmul(left[start : start + rows], right, out=found[start : start + rows])
    return found


def packed(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return codes of two bits, `(n, components)`, four to a byte."""
    import numpy as np

    four = codes.reshape(len(codes), codes.shape[1] // 4, 4)
    return np.asarray(four[..., 0] | four[..., 1] << 2 | four[..., 2] << 4 | four[..., 3] << 6, np.uint8)


def joined(form: Form, ids: Sequence[int], vector: bytes, states: bytes) -> bytes:
    """Return the blob of a text: its word pieces without special ones, and what `Form.rounded` returned."""
    import numpy as np

    return _HEAD.pack(form.digest, len(ids)) + vector + np.array(ids, "<u2").tobytes() + states


def read_kept(form: Form, blob: bytes, vocabulary: int) -> Kept | None:
    """Return what a blob says, None for one of another form or a damaged one, which is then as good as none."""
    import numpy as np

    dimension, components = form.basis.shape
    if len(blob) < _HEAD.size:
        return None
    digest, count = _HEAD.unpack_from(blob)
    after = _HEAD.size + dimension // 2
    if digest != form.digest or len(blob) != after + count * (2 + components // 4):
        return None
    ids = np.frombuffer(blob, "<u2", count, after)
    if count and int(ids.max()) >= vocabulary:
        return None
    two = np.frombuffer(blob, np.uint8, dimension // 2, _HEAD.size)
    states = np.frombuffer(blob, np.uint8, offset=after + 2 * count).reshape(count, components // 4)
    return Kept(ids, states, form.vectors(np.stack([two & 15, two >> 4], -1).reshape(-1)))


def _codes(
    parts: NDArray[np.float32], centre: NDArray[np.float32], step: NDArray[np.float32], levels: int
) -> NDArray[np.uint8]:
    import numpy as np

    return np.asarray(np.clip(np.floor((parts - centre) / step) + levels // 2, 0, levels - 1), np.uint8)


def _values(
    codes: NDArray[np.uint8], centre: NDArray[np.float32], step: NDArray[np.float32], levels: int
) -> NDArray[np.float32]:
    import numpy as np

    values = (codes.astype(np.float32) - np.float32((levels - 1) / 2)) * step + centre
    unit: NDArray[np.float32] = values / np.linalg.norm(values, axis=-1, keepdims=True)
    return unit
