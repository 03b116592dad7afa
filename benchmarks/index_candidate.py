"""What benchmarks/index.py asks of each candidate. This module, and the peers' ones, do not import sqlrag."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

_ROWS_AT_ONCE = 5000

HNSW_SWEEP = (32, 48, 64, 96, 128, 192, 256, 384, 512)
"""How many candidates an HNSW keeps in sight, from the fastest to the most exact."""


def blocks(vectors: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the vectors in blocks, each with the place of its first."""
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        yield start, np.ascontiguousarray(vectors[start : start + _ROWS_AT_ONCE])


class Candidate(ABC):
    """A library with its way to build and to search; ids are places in the vectors, from 0."""

    title: str
    package: str
    """Whose version is reported."""
    modules: tuple[str, ...] = ()
    """What is imported before the clock starts."""
    setting = ""
    sweep: tuple[Any, ...] = (None,)
    """Values of the setting to try, from the fastest to the most exact; None is its default."""

    @abstractmethod
    def build(self, vectors: np.ndarray, folder: Path) -> float | None:
        """Build the index in a folder; return the seconds after the insertion, None where that is one."""

    @abstractmethod
    def open(self, folder: Path) -> None:
        """Open what another process built."""

    def tune(self, setting: Any) -> None:  # noqa: B027 - most have nothing to set
        """Set what is swept."""

    def query(self, vector: np.ndarray) -> Any:
        """Return a query as the library likes it best: this is not timed."""
        return vector

    @abstractmethod
    def search(self, query: Any, k: int) -> list[int]:
        """Return the k nearest."""
