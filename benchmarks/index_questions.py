"""Do questions find what passages find? Recall@25 of an index with cells, for both as queries, at several nprobe.

nprobe is measured on passages of the index itself; a short question lies farther from all of them, and its neighbours
in more cells. Passages: those of the training pairs and collections in a folder like ../shared/data, in chunks of 64
tokens, less 300 that are held out. Questions: 100 each of three sets of training pairs and of two collections.

    python benchmarks/index_questions.py ../shared/data --vectors FILE.npy

FILE.npy keeps the passages' embeddings, which take a quarter of an hour. Prints a table.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import tempfile
from pathlib import Path

import numpy as np
from index_sqlrag import CellsFloat32
from index_vectors import K, embeddings, exact, texts_of

import sqlrag

HELD_OUT = 300
OF_EACH = 100
NPROBES = (None, 60, 80, 110, 4096)


def questions(data: Path) -> list[str]:
    """Return questions of each of the sets."""
    found = [(data / "train" / f"{name}.jsonl.gz", "query") for name in ("squad", "medquad", "qed")]
    found += [(data / "eval" / name / "queries.jsonl.gz", "text") for name in ("nfcorpus", "cacm")]
    texts = []
    for path, field in found:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            rows = [json.loads(line)[field] for line in file]
        texts += random.Random(0).sample(rows, min(OF_EACH, len(rows)))
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--vectors", type=Path, default=Path("passages.npy"))
    options = parser.parse_args()
    if not options.vectors.exists():
        base = embeddings(texts_of(options.data))
        np.save(options.vectors, base[np.random.default_rng(0).permutation(len(base))])
    base = np.load(options.vectors, mmap_mode="r")
    indexed = base[:-HELD_OUT]
    queries = {
        "passages": np.array(base[-HELD_OUT:]),
        "questions": np.asarray(sqlrag.Embedder().encode_query(questions(options.data)), np.float32),
    }
    with tempfile.TemporaryDirectory() as folder:
        candidate = CellsFloat32()
        candidate.build(indexed, Path(folder))
        candidate.open(Path(folder))
        print(f"{len(indexed):,} passages")
        print("| nprobe | " + " | ".join(f"{len(vectors)} {name}" for name, vectors in queries.items()) + " |")
        print("| --- " * (1 + len(queries)) + "|")
        truth = {name: exact(indexed, vectors) for name, vectors in queries.items()}
        for nprobe in NPROBES:
            candidate.tune(nprobe)
            recalls = [
                np.mean([
                    len(set(candidate.search(candidate.query(vector), K)) & set(near.tolist())) / K
                    for vector, near in zip(vectors, truth[name], strict=True)
                ])
                for name, vectors in queries.items()
            ]  # fmt: skip
            print(f"| {nprobe or 'default'} | " + " | ".join(f"{recall:.3f}" for recall in recalls) + " |", flush=True)


if __name__ == "__main__":
    main()
