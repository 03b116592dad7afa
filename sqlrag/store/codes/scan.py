"""The nearest codes, where sqlrag's C library was not built: what sqlrag_nearest_codes() finds, by numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlrag.store.codes.quantization import estimates, query_planes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sqlrag.store.codes.blocks import Block, CodeBlocks

__all__ = ["CodeMemory"]

MOST_BYTES = 640 << 20
"""Codes that one connection keeps: those of ten million chunks at 384 dimensions. Further ones are read each time."""


class CodeMemory:
    """The blocks of codes that a connection has read, each as long as its stamp stands in the file."""

    def __init__(self) -> None:
        self._blocks: dict[str, dict[tuple[int, int], Block]] = {}
        self._bytes = 0

    def nearest(self, blocks: CodeBlocks, vector: bytes, k: int, ids: bytes | None) -> list[int]:
        """Return the ids of the k codes nearest to a float32 vector, nearest first, of equally near ones the lower ids.

        `ids`: only these, 8 bytes each; at most k of them come back as they are.
        """
        import numpy as np

        wanted = None if ids is None else np.unique(np.frombuffer(ids, np.int64))
        if wanted is not None and len(wanted) <= k:
            return [int(id_) for id_ in wanted]
        query = np.frombuffer(vector, np.float32)
        planes = query_planes(query)
        found_ids, found = np.empty(0, np.int64), np.empty(0, np.float32)
        for block in self._read(blocks):
            part = block if wanted is None else block.part(np.isin(block.ids, wanted, assume_unique=True))
            found_ids = np.concatenate([found_ids, part.ids])
            found = np.concatenate([found, estimates(planes, part.codes, part.factors, len(query))])
            if len(found) > 16 * k:
                found_ids, found = _best(found_ids, found, k)
        return [int(id_) for id_ in _best(found_ids, found, k)[0]]

    def _read(self, blocks: CodeBlocks) -> list[Block]:
        """Return all blocks, in their order: the kept ones, and those that are new to the file."""
        known = self._blocks.get(blocks.table, {})
        kept: dict[tuple[int, int], Block] = {}
        self._bytes -= sum(block.bytes for key, block in known.items())
        found = []
        for key in blocks.stamps():
            block = known.get(key) or blocks.read(key[0])
            found.append(block)
            if self._bytes + block.bytes <= MOST_BYTES:
                kept[key] = block
                self._bytes += block.bytes
        self._blocks[blocks.table] = kept
        return found


def _best(ids: NDArray[np.int64], found: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the k with the highest estimates, highest first, of equal ones those with the lower ids."""
    import numpy as np

    order = np.lexsort((ids, -found))[:k]
    return ids[order], found[order]
