"""From documents to three reranked chunks, against others that do the same with the same weights, in one run.

    python -m venv .venv-end && .venv-end/bin/pip install torch==2.13.0
    .venv-end/bin/pip install ".[torch]" -r benchmarks/peers_end_to_end.txt
    .venv-end/bin/python benchmarks/end_to_end.py [FOLDER] [--documents 300] [--write]

FOLDER holds all-MiniLM-L6-v2 as sentence-transformers has it; without it, Hugging Face is asked. The cross-encoder is
made from the same weights with a head of random numbers, as in throughput.py: it costs what a trained one costs. Each
document, a docstring of the standard library, is one chunk on every side; a question takes 25 candidates. Each side
as its documentation has it: int8 on ONNX Runtime here, fp32 on torch there. All open in one process and take turns
with the questions; figures are medians, `same` the share of the hand-written script's three chunks that a side finds.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Protocol

import numpy as np
from evaluation import write
from statement import QUESTIONS as ALL_QUESTIONS
from statement import timed

import sqlrag
from sqlrag.demo import harvest
from sqlrag.models.export import export_onnx
from sqlrag.text import Document

RESULTS = Path(__file__).with_suffix(".md")
TOP_K, TOP_N = 25, 3
QUESTIONS = ALL_QUESTIONS[::2]
PACKAGES = ("onnxruntime", "sentence-transformers", "torch", "txtai")


class Side(Protocol):
    """A way from documents to reranked chunks; a chunk is known by its text."""

    def ingest(self, documents: Sequence[Document]) -> object:
        """Embed and index the documents."""

    def search(self, question: str) -> list[str]:
        """Return the best chunks of the candidates, best first."""


class SQLRag:
    """One SQLite file."""

    name = "sqlrag"

    def __init__(self, path: Path, reranker: Path) -> None:
        self._db = sqlrag.connect(path, reranker=str(reranker))

    def ingest(self, documents: Sequence[Document]) -> object:
        return self._db.ingest(documents)

    def search(self, question: str) -> list[str]:
        return [hit.text for hit in self._db.search(question, top_k=TOP_K, top_n=TOP_N)]


class ByHand:
    """sentence-transformers and numpy, the vectors in memory."""

    name = "sentence-transformers + numpy"

    def __init__(self, folder: str, cross_encoder: str) -> None:
        from sentence_transformers import CrossEncoder, SentenceTransformer

        self._embedder = SentenceTransformer(folder, device="cpu")
        self._reranker = CrossEncoder(cross_encoder, device="cpu")

    def ingest(self, documents: Sequence[Document]) -> object:
        self._texts = [document.text for document in documents]
        self._vectors = self._embedder.encode(self._texts, normalize_embeddings=True)
        return self._vectors

    def search(self, question: str) -> list[str]:
        products = self._vectors @ self._embedder.encode(question, normalize_embeddings=True)
        texts = [self._texts[place] for place in np.argsort(-products)[:TOP_K]]
        scores = self._reranker.predict([(question, text) for text in texts])
        return [texts[place] for place in np.argsort(-scores)[:TOP_N]]


class Txtai:
    """txtai's embeddings database with its reranking pipeline."""

    name = "txtai"

    def __init__(self, folder: str, cross_encoder: str) -> None:
        from txtai import Embeddings
        from txtai.pipeline import Reranker, Similarity

        self._embeddings = Embeddings(path=folder, content=True, gpu=False)
        similarity = Similarity(path=cross_encoder, crossencode=True, gpu=False)
        self._reranker = Reranker(self._embeddings, similarity)

    def ingest(self, documents: Sequence[Document]) -> object:
        return self._embeddings.index(document.text for document in documents)

    def search(self, question: str) -> list[str]:
        return [row["text"] for row in self._reranker(question, limit=TOP_K, factor=1)[:TOP_N]]


def cross_encoder_of(folder: str, made: Path) -> tuple[str, Path]:
    """Save a cross-encoder with a random head for torch, and as int8 ONNX; return both folders."""
    from sentence_transformers import CrossEncoder

    CrossEncoder(folder, num_labels=1, max_length=512, device="cpu").save_pretrained(str(made / "saved"))
    export_onnx(str(made / "saved"), str(made / "int8"), kind="cross-encoder", name="int8", precision="int8")
    return str(made / "saved"), made / "int8"


def measure(sides: Sequence[Side], documents: Sequence[Document], questions: Sequence[str]) -> list[dict]:
    """Return a row for each side: seconds of the ingestion, milliseconds of a question, how many answers are alike."""
    ingested = [timed(side.ingest, documents)[0] / 1000 for side in sides]
    for side in sides:
        side.search("warm up")
    asked = [[timed(side.search, question) for side in sides] for question in questions]
    rows = []
    for place, side in enumerate(sides):
        alike = [len(set(answers[place][1]) & set(answers[1][1])) / TOP_N for answers in asked]
        rows.append({
            "side": side.name,
            "ingest_seconds": ingested[place],
            "question_ms": median(answers[place][0] for answers in asked),
            "same": fmean(alike),
        })  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--documents", type=int, default=300)
    parser.add_argument("--write", action="store_true", help=f"put the results into {RESULTS.name} and .json")
    arguments = parser.parse_args()
    documents = [document for document in harvest() if 400 < len(document.text) < 700][: arguments.documents]
    with tempfile.TemporaryDirectory() as temporary:
        saved, int8 = cross_encoder_of(arguments.folder, Path(temporary))
        own = SQLRag(Path(temporary) / "end.db", int8)
        rows = measure([own, ByHand(arguments.folder, saved), Txtai(arguments.folder, saved)], documents, QUESTIONS)
    first = rows[0]
    table = [
        f"| | ingest {len(documents)} documents, s | times sqlrag's "
        f"| question to {TOP_N} chunks, ms | times sqlrag's | same |",
        "| --- | --: | --: | --: | --: | --: |",
    ]
    for row in rows:
        ingest, question = row["ingest_seconds"], row["question_ms"]
        table.append(
            f"| {row['side']} | {ingest:.1f} | {ingest / first['ingest_seconds']:.1f} "
            f"| {question:.0f} | {question / first['question_ms']:.1f} | {row['same']:.0%} |"
        )
    versions = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in PACKAGES)
    table += ["", f"{versions}; Python {platform.python_version()}, {len(os.sched_getaffinity(0))} CPUs "
                  f"({platform.machine()}). {len(QUESTIONS)} questions, {TOP_K} candidates each."]  # fmt: skip
    print(*table, sep="\n")
    if arguments.write:
        write(RESULTS, table, rows)


if __name__ == "__main__":
    main()
