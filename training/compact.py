"""What is kept of a passage: its tokens' states as a few principal components of two bits, its embedding in four.

A unit state of 384 numbers becomes codes of 0 to 3. The basis is that of the second moments about zero, so that
products of compact states stand for the products of the states; each component has one step for all texts, so that a
token's codes depend on nothing but its state. What codes stand for is brought to length one again: without that, best
matches rank markedly worse. More components with fewer bits are better than the reverse (README.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

# The step that loses least of a normally distributed number with so many levels, in deviations (Max 1960,
# doi:10.1109/TIT.1960.1057548).
_STEPS = {4: 0.9957, 16: 0.3352}
LEVELS, VECTOR_LEVELS = 4, 16


def _fitted(parts: NDArray[np.float32], levels: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    # Two of the embedder's 384 numbers are the same in every text.
    return parts.mean(0), _STEPS[levels] * np.maximum(parts.std(0), 1e-6)


@dataclass
class Form:
    """`basis`: `(384, components)`, orthonormal; centre and step of each component, and of each of an embedding's."""

    basis: NDArray[np.float32]
    centre: NDArray[np.float32]
    step: NDArray[np.float32]
    vector_centre: NDArray[np.float32]
    vector_step: NDArray[np.float32]

    @classmethod
    def fitted(cls, states: NDArray[np.float32], vectors: NDArray[np.float32], components: int) -> Form:
        """Return the form that loses least of unit states `(tokens, 384)` and embeddings `(texts, 384)`."""
        _, found = np.linalg.eigh(states.T @ states)
        basis = np.ascontiguousarray(found[:, ::-1][:, :components], np.float32)
        return cls(basis, *_fitted(states @ basis, LEVELS), *_fitted(vectors, VECTOR_LEVELS))

    @classmethod
    def read(cls, path: Path) -> Form:
        """Read what `save` wrote."""
        return cls(**load_file(path))

    def save(self, path: Path) -> None:
        """Write as safetensors."""
        save_file(vars(self), path)

    def codes(self, states: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the codes of unit states, `(tokens, components)`."""
        return _codes(states @ self.basis, self.centre, self.step, LEVELS)

    def values(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return what codes stand for, of length one, `(.., components)`."""
        return _values(codes, self.centre, self.step, LEVELS)

    def vector(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return embeddings as they are when they were kept, `(texts, 384)`."""
        codes = _codes(vectors, self.vector_centre, self.vector_step, VECTOR_LEVELS)
        return _values(codes, self.vector_centre, self.vector_step, VECTOR_LEVELS)


def _codes(
    parts: NDArray[np.float32], centre: NDArray[np.float32], step: NDArray[np.float32], levels: int
) -> NDArray[np.uint8]:
    return np.clip(np.floor((parts - centre) / step) + levels // 2, 0, levels - 1).astype(np.uint8)


def _values(
    codes: NDArray[np.uint8], centre: NDArray[np.float32], step: NDArray[np.float32], levels: int
) -> NDArray[np.float32]:
    values = (codes.astype(np.float32) - (levels - 1) / 2) * step + centre
    return values / np.linalg.norm(values, axis=-1, keepdims=True)
