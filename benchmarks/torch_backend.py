"""The torch backend through SQL against sentence-transformers itself: the same weights, texts, device and run.

    python benchmarks/torch_backend.py [EMBEDDER RERANKER] [--texts N] [--rounds N] [--write]

EMBEDDER and RERANKER are Hugging Face names or folders. Needs the torch extra; takes a GPU where there is one. Ours are
DuckDB statements over a table, `embed_document(text)` and `rerank_score(question, text)`; theirs are
`SentenceTransformer.encode` and `CrossEncoder.predict` of lists, as they open a model, and on a GPU again with
weights of our width and batches of 256, which is the best that they do. The sides take turns; figures are medians.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer

import sqlrag
from sqlrag.cli.standard_library import harvest

BEST_BATCH = 256


def seconds(function, *arguments) -> float:
    """Return how long a call takes, the GPU's work included."""
    started = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - started


def cosine(ours, theirs) -> float:
    """Return the smallest cosine of two lists of vectors."""
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return float(((ours * theirs).sum(1) / lengths).min())


def takes_turns(sides: dict, rounds: int) -> dict[str, float]:
    """Return each side's median seconds; each has run once before."""
    for run in sides.values():
        run(-1)
    times = {name: [] for name in sides}
    for number in range(rounds):
        for name, run in sides.items():
            times[name].append(seconds(run, number))
    return {name: median(taken) for name, taken in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("embedder", nargs="?", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("reranker", nargs="?", default="cross-encoder/ms-marco-MiniLM-L6-v2")
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--note", default="", help="a sentence for the table: what else the machine did")
    parser.add_argument("--write", action="store_true", help="write benchmarks/torch_backend.md")
    arguments = parser.parse_args()
    texts = [document.text for document in harvest() if 200 < len(document.text) < 1200][: arguments.texts]
    bi_encoder, cross_encoder = SentenceTransformer(arguments.embedder), CrossEncoder(arguments.reranker)
    gpu = bi_encoder.device.type != "cpu"
    with (
        tempfile.TemporaryDirectory() as folder,
        sqlrag.connect(
            Path(folder) / "x.duckdb",
            embedder=arguments.embedder,
            reranker=arguments.reranker,
            backend="torch",
            rerank_limit=10**9,
        ) as db,
    ):
        db.execute("CREATE TABLE texts (id INTEGER, text VARCHAR)")
        db.execute("INSERT INTO texts SELECT unnest(range(len(:texts))), unnest(:texts)", {"texts": texts})

        def embed(_round: int = 0):
            return db.execute("SELECT embed_document(text) FROM texts ORDER BY id").fetchall()

        def rerank(number: int):
            # A question of its own for each round: a pair that is known costs nothing.
            sql = "SELECT rerank_score(:q, text) FROM texts ORDER BY id"
            return db.execute(sql, {"q": f"how do I use number {number}?"}).fetchall()

        def pairs(number: int) -> list[tuple[str, str]]:
            return [(f"how do I use number {number}?", text) for text in texts]

        embedding = {"sqlrag": embed, "encode": lambda _: bi_encoder.encode(texts)}
        reranking = {"sqlrag": rerank, "predict": lambda number: cross_encoder.predict(pairs(number))}
        near = cosine(np.array([row[0] for row in embed()]), bi_encoder.encode(texts))
        apart = np.abs(np.array(rerank(-2)).ravel() - cross_encoder.predict(pairs(-2))).max()
        embed_seconds, rerank_seconds = (
            takes_turns(embedding, arguments.rounds),
            takes_turns(reranking, arguments.rounds),
        )
        if gpu:
            # The same models with narrow weights: timed on their own, since the wide ones are what stood above.
            bi_encoder.half(), cross_encoder.half()
            half = {"sqlrag": embed, "encode, float16": lambda _: bi_encoder.encode(texts, batch_size=BEST_BATCH)}
            embed_seconds |= takes_turns(half, arguments.rounds)
            half = {
                "sqlrag": lambda number: rerank(number + 1000),
                "predict, float16": lambda number: cross_encoder.predict(pairs(number), batch_size=BEST_BATCH),
            }
            rerank_seconds |= takes_turns(half, arguments.rounds)
        tokens = sum(db.embedder.token_counts(texts))
    rows = []
    for what, amount, unit, taken in (
        ("embed", tokens, "tokens/s", embed_seconds),
        ("rerank", len(texts), "pairs/s", rerank_seconds),
    ):
        ours = taken.pop("sqlrag")
        rows += [
            f"| {what}, {unit}, against `{name}` | {amount / ours:,.0f} | {amount / other:,.0f} | {other / ours:.2f} |"
            for name, other in taken.items()
        ]
    device = torch.cuda.get_device_name() if gpu else f"{len(os.sched_getaffinity(0))} CPUs ({platform.machine()})"
    versions = ", ".join(
        f"{package} {importlib.metadata.version(package)}" for package in ("sentence-transformers", "torch", "duckdb")
    )
    names = [name if "/" in name and not Path(name).exists() else Path(name).name for name in
             (arguments.embedder, arguments.reranker)]  # fmt: skip
    table = "\n".join([
        "# The torch backend through SQL, against sentence-transformers",
        "",
        f"`python benchmarks/torch_backend.py` on {device}, {torch.get_num_threads()} threads of torch,",
        f"Python {platform.python_version()}, {versions}.",
        f"Models: {names[0]} and {names[1]}; {len(texts):,} texts of {tokens / len(texts):.0f} tokens, "
        f"medians of {arguments.rounds} rounds.",
        *([] if gpu else ["No GPU was at hand: float32 on both sides; the goal of 0.95 on a GPU is not measured yet."]),
        *([arguments.note] if arguments.note else []),
        "",
        "| | sqlrag | sentence-transformers | times as fast |",
        "| --- | --: | --: | --: |",
        *rows,
        "",
        f"Smallest cosine of the two vectors of a text: {near:.6f}; largest difference of the two scores of a pair: "
        f"{apart:.1e}.",
        "",
    ])  # fmt: skip
    print(table)
    if arguments.write:
        (Path(__file__).parent / "torch_backend.md").write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
