"""Fitting what is kept of a text (`sqlrag.models.kept`) to real texts, and reading it from files.

The basis is that of the second moments about zero, so that products of compact states stand for the products of the
states; each component has one step for all texts. More components with fewer bits are better than the reverse
(README.md).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from sqlrag.models.kept import LEVELS, VECTOR_LEVELS, Form

# The step that loses least of a normally distributed number with so many levels, in deviations (Max 1960,
# doi:10.1109/TIT.1960.1057548).
_STEPS = {4: 0.9957, 16: 0.3352}


def fitted(states: NDArray[np.float32], vectors: NDArray[np.float32], components: int) -> Form:
    """Return the form that loses least of unit states `(tokens, 384)` and embeddings `(texts, 384)`."""
    _, found = np.linalg.eigh(states.T @ states)
    basis = np.ascontiguousarray(found[:, ::-1][:, :components], np.float32)
    return Form(basis, *_scale(states @ basis, LEVELS), *_scale(vectors, VECTOR_LEVELS))


def _scale(parts: NDArray[np.float32], levels: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    # Two of the embedder's 384 numbers are the same in every text.
    return parts.mean(0), _STEPS[levels] * np.maximum(parts.std(0), 1e-6)


def read_form(path: Path) -> Form:
    """Read what `save_form` wrote."""
    return Form(**load_file(path))


def save_form(form: Form, path: Path) -> None:
    """Write as safetensors."""
    save_file(vars(form), path)
