"""Vectors for benchmarks/index.py: embeddings of real texts, enlarged so that they keep their local structure.

An enlarged vector is `normalise(x_i + x_j - x_l)`: x_i a random real embedding, x_j and x_l two of its 10 nearest
neighbours, so that a step between two texts on one matter is taken from a third. On 110,000 real passages against
11,000 of them enlarged tenfold, the median distance to the 25th neighbour is 0.980 (real) and 0.988 (enlarged), and
with 2 * sqrt(N) cells recall@25 0.96 takes an nprobe of 38 and 36. Points between neighbours, `x_i + t * (x_j - x_i)`,
lie much too close (nprobe 8), and random ones have no neighbours at all: neither says what an index does on texts.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

NEIGHBOURS = 10
MAX_TOKENS = 64
SHORTEST = 40  # characters
BASE = 110_000  # real embeddings at most: they and their neighbours take a quarter of an hour, not hours
QUERIES = 200
K = 25
_BLOCK = 2048


def vectors(path: Path, data: Path | None, count: int) -> np.ndarray:
    """Return `(count + QUERIES, dimension)` float32 unit vectors, shuffled; made and kept at `path` unless there."""
    if not path.exists():
        base = embeddings(texts_of(data) if data else docstrings())
        np.save(path, enlarged(base, count + QUERIES))
    return np.load(path, mmap_mode="r")


def texts_of(data: Path) -> Iterator[str]:
    """Yield the passages of the training pairs and of the evaluation collections in a folder like ../shared/data."""
    for path in sorted(data.glob("train/*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            yield from (row["positive"] for row in map(json.loads, file) if "positive" in row)
    for path in sorted(data.glob("eval/*/corpus.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for row in map(json.loads, file):
                yield f"{row['title']}. {row['text']}".strip()


def docstrings() -> Iterator[str]:
    """Yield the documentation of the standard library: less text, but every Python has it."""
    from sqlrag.cli.standard_library import harvest

    return (document.text for document in harvest())


def embeddings(texts: Iterator[str]) -> np.ndarray:
    """Return the embeddings of texts in chunks of MAX_TOKENS, each chunk once, of BASE chunks at most."""
    import sqlrag
    from sqlrag.store.encoders import chunker_of

    embedder = sqlrag.Embedder()
    chunker = chunker_of(embedder, MAX_TOKENS, 0)
    chunks = [chunk.text for text in dict.fromkeys(texts) for chunk in chunker.chunks(text)]
    chunks = [text for text in dict.fromkeys(chunks) if len(text) > SHORTEST]
    order = np.random.default_rng(0).permutation(len(chunks))[:BASE]
    chunks = [chunks[place] for place in order]
    print(f"embedding {len(chunks):,} chunks", flush=True)
    blocks = [embedder.encode_document(chunks[start : start + _BLOCK]) for start in range(0, len(chunks), _BLOCK)]
    return np.concatenate(blocks)


def enlarged(base: np.ndarray, count: int) -> np.ndarray:
    """Return `count` unit vectors, shuffled: the real ones, and as many made of them as it takes."""
    generator = np.random.default_rng(0)
    if count <= len(base):
        return base[generator.permutation(len(base))[:count]]
    near = neighbours(base)
    found = np.empty((count, base.shape[1]), np.float32)
    found[: len(base)] = base
    for start in range(len(base), count, _BLOCK):
        size = min(_BLOCK, count - start)
        one = generator.integers(len(base), size=size)
        places = generator.integers(NEIGHBOURS, size=(2, size))
        made = base[one] + base[near[one, places[0]]] - base[near[one, places[1]]]
        found[start : start + size] = made / np.linalg.norm(made, axis=1, keepdims=True)
    generator.shuffle(found, axis=0)
    return found


def neighbours(base: np.ndarray) -> np.ndarray:
    """Return the places of each vector's nearest others, (n, NEIGHBOURS), in no order."""
    found = np.empty((len(base), NEIGHBOURS), np.int64)
    for start in range(0, len(base), _BLOCK):
        products = base[start : start + _BLOCK] @ base.T
        products[np.arange(len(products)), np.arange(start, start + len(products))] = -np.inf
        found[start : start + _BLOCK] = np.argpartition(-products, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
    return found


def exact(indexed: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Return the places of the K nearest of each query, (q, K), in no order: of unit vectors, the largest products."""
    products = np.concatenate(
        [queries @ np.asarray(indexed[start : start + 65_536]).T for start in range(0, len(indexed), 65_536)], axis=1
    )
    return np.argpartition(-products, K, axis=1)[:, :K]
