"""A batch is embedded beside the work on its neighbours: the one before is written, the next one read and cut."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from sqlrag.models import Embedder

__all__ = ["EmbeddingAhead"]

SLICE = 64
"""Texts that are embedded at once: after so many it is seen whether anybody still wants the rest."""


class EmbeddingAhead:
    """The vectors of texts, being made in a thread from now on.

    Ctrl-C reaches the caller's thread, which does not wait for this one then: `stop` lets it end with its slice.
    """

    def __init__(self, embedder: Embedder, texts: Sequence[str]) -> None:
        self._embedder = embedder
        self._texts = texts
        self._stopped = False
        self._made: SimpleQueue[NDArray[np.float32] | BaseException] = SimpleQueue()
        threading.Thread(target=self._make, name="sqlrag-embedding-ahead", daemon=True).start()

    def vectors(self) -> NDArray[np.float32]:
        """Wait for the vectors, (n, dimension) float32. Raises what embedding has raised."""
        made = self._made.get()
        if isinstance(made, BaseException):
            raise made
        return made

    def stop(self) -> None:
        """Give up: `vectors` is not called any more."""
        self._stopped = True

    def _make(self) -> None:
        import numpy as np

        try:
            slices = []
            for start in range(0, max(len(self._texts), 1), SLICE):
                if self._stopped:
                    return
                slices.append(self._embedder.encode_document(self._texts[start : start + SLICE]))
            self._made.put(np.concatenate(slices))
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
            self._made.put(error)
