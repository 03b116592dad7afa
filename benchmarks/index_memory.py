"""Libraries that search in memory, for benchmarks/index.py: the limit of what a file can do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from index_candidate import HNSW_SWEEP, Candidate, blocks


class USearch(Candidate):
    """HNSW in memory."""

    title = "usearch, HNSW (in memory)"
    package = "usearch"
    modules = ("usearch.index",)
    setting = "expansion"
    sweep = HNSW_SWEEP

    def build(self, vectors: np.ndarray, folder: Path) -> float | None:
        from usearch.index import Index

        index = Index(ndim=vectors.shape[1], metric="l2sq", dtype="f32")
        for start, block in blocks(vectors):
            index.add(np.arange(start, start + len(block)), block)
        index.save(str(folder / "index.usearch"))
        return None

    def open(self, folder: Path) -> None:
        from usearch.index import Index

        self._index = Index.restore(str(folder / "index.usearch"))

    def tune(self, setting: int) -> None:
        self._index.expansion_search = setting

    def search(self, query: np.ndarray, k: int) -> list[int]:
        return self._index.search(query, k, threads=1).keys.tolist()


class FaissHNSW(Candidate):
    """HNSW in memory, with the numbers of links and candidates that usearch has by default."""

    title = "faiss, HNSW (in memory)"
    package = "faiss-cpu"
    modules = ("faiss",)
    setting = "efSearch"
    sweep = HNSW_SWEEP

    def build(self, vectors: np.ndarray, folder: Path) -> float | None:
        import faiss

        index = faiss.IndexHNSWFlat(vectors.shape[1], 16)
        index.hnsw.efConstruction = 128
        index.add(np.ascontiguousarray(vectors))
        faiss.write_index(index, str(folder / "index.faiss"))
        return None

    def open(self, folder: Path) -> None:
        import faiss

        faiss.omp_set_num_threads(1)
        self._index = faiss.read_index(str(folder / "index.faiss"))

    def tune(self, setting: int) -> None:
        self._index.hnsw.efSearch = setting

    def query(self, vector: np.ndarray) -> np.ndarray:
        return vector[None]

    def search(self, query: np.ndarray, k: int) -> list[int]:
        return self._index.search(query, k)[1][0].tolist()


class FaissIVF(FaissHNSW):
    """As many cells as sqlrag makes, in memory."""

    title = "faiss, IVF-flat (in memory)"
    setting = "nprobe"
    sweep = (4, 8, 16, 24, 32, 48, 64, 96, 128)

    def build(self, vectors: np.ndarray, folder: Path) -> float | None:
        import faiss

        dimension = vectors.shape[1]
        cells = round(2 * len(vectors) ** 0.5)
        index = faiss.IndexIVFFlat(faiss.IndexFlatL2(dimension), dimension, cells)
        sample = np.random.default_rng(0).choice(len(vectors), min(48 * cells, len(vectors)), replace=False)
        index.train(vectors[np.sort(sample)])
        for _, block in blocks(vectors):
            index.add(block)
        faiss.write_index(index, str(folder / "index.faiss"))
        return None

    def tune(self, setting: int) -> None:
        self._index.nprobe = setting


CANDIDATES = {"usearch": USearch, "faiss-hnsw": FaissHNSW, "faiss-ivf": FaissIVF}
