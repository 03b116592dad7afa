"""What do questions find? Recall@25 of an index, by the set that the questions are of, with several candidates.

How many candidates are compared in full is measured on passages of the index itself; a question lies farther from all
of them. The index is of passages of the training pairs and collections in a folder like ../shared/data, in chunks of 64
tokens; the questions are at most 100 of each set, and of 300 passages that are held out.

    python benchmarks/index_questions.py ../shared/data --vectors FILE.npy [--write]

FILE.npy keeps the passages' embeddings, which take a quarter of an hour. --write puts the table into
index_questions.md, and its rows into index_questions.json.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import tempfile
from pathlib import Path

import numpy as np
from evaluation import write
from index_sqlrag import Codes
from index_vectors import K, embeddings, exact, texts_of

import sqlrag

RESULTS = Path(__file__).with_suffix(".md")
HELD_OUT = 300
OF_EACH = 100
CANDIDATES = (None, 100, 200, 400, 800)


def questions(data: Path) -> dict[str, list[str]]:
    """Return questions of each of the sets."""
    found = {path.stem.split(".")[0]: (path, "query") for path in sorted(data.glob("train/*.jsonl.gz"))}
    found |= {path.parent.name: (path, "text") for path in sorted(data.glob("eval/*/queries.jsonl.gz"))}
    texts = {}
    for name, (path, field) in found.items():
        with gzip.open(path, "rt", encoding="utf-8") as file:
            rows = [row[field] for row in map(json.loads, file) if field in row]
        if rows:
            texts[name] = random.Random(0).sample(rows, min(OF_EACH, len(rows)))
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--vectors", type=Path, default=Path("passages.npy"))
    parser.add_argument("--write", action="store_true", help=f"put the table into {RESULTS.name}")
    options = parser.parse_args()
    if not options.vectors.exists():
        base = embeddings(texts_of(options.data))
        np.save(options.vectors, base[np.random.default_rng(0).permutation(len(base))])
    base = np.load(options.vectors, mmap_mode="r")
    indexed = base[:-HELD_OUT]
    embedder = sqlrag.Embedder()
    queries = {"passages": np.array(base[-HELD_OUT:])}
    queries |= {name: embedder.encode_query(texts) for name, texts in questions(options.data).items()}
    recalls: dict[str, list[float]] = {name: [] for name in queries}
    with tempfile.TemporaryDirectory() as folder:
        candidate = Codes()
        candidate.build(indexed, Path(folder))
        candidate.open(Path(folder))
        for name, vectors in queries.items():
            truth = exact(indexed, vectors)
            for candidates in CANDIDATES:
                candidate.tune(candidates)
                found = [
                    len(set(candidate.search(candidate.query(vector), K)) & set(near.tolist())) / K
                    for vector, near in zip(vectors, truth, strict=True)
                ]
                recalls[name].append(float(np.mean(found)))
        measured, _ = candidate.measured()
    headings = [f"{measured} (default)", *map(str, CANDIDATES[1:])]
    table = [f"| recall@25 | {' | '.join(headings)} |", "| --- |" + " --: |" * len(headings)]
    rows = {f"{len(queries[name])} {name}": values for name, values in recalls.items()}
    asked = [values for name, values in recalls.items() if name != "passages"]
    rows["all sets of questions"] = [float(value) for value in np.mean(asked, axis=0)]
    table += [f"| {name} | " + " | ".join(f"{value:.3f}" for value in values) + " |" for name, values in rows.items()]
    table += ["", f"{len(indexed):,} passages; columns are candidates."]
    print(*table, sep="\n")
    if options.write:
        write(RESULTS, table, [{"queries": name, "recall": values} for name, values in rows.items()])


if __name__ == "__main__":
    main()
