"""From documents to three reranked chunks, against others that do the same with the same weights, in one run.

    python -m venv .venv-end && .venv-end/bin/pip install torch==2.13.0
    .venv-end/bin/pip install ".[torch]" -r benchmarks/peers_end_to_end.txt
    .venv-end/bin/python benchmarks/end_to_end.py [FOLDER] [--documents 300] [--write]

FOLDER holds all-MiniLM-L6-v2 as sentence-transformers has it; without it, Hugging Face is asked. The cross-encoder is
made from the same weights with a head of random numbers, as in throughput.py: it costs what a trained one costs. Each
document, a docstring of the standard library, is one chunk on every side; a question takes 25 candidates.

Each side as its documentation has it, with its own threads: fp32 on torch, but for sqlrag, int8 on ONNX Runtime. What
somebody would write by hand for such models is there too: both exported to ONNX, and brought to int8 by ONNX Runtime's
`quantize_dynamic`, a scale for each channel, which is what sentence-transformers' export does (it needs optimum, which
does not go with this transformers). All open in one process and take turns with the questions; figures are medians,
`same` the share of the three chunks of sentence-transformers and numpy that a side finds. Overhead: what of sqlrag's
time for a question is spent neither in the models nor in the index, as in statement.py.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import fmean, median
from typing import Protocol

import numpy as np
from evaluation import write
from statement import PARTS, stopwatch, timed
from statement import QUESTIONS as ALL_QUESTIONS

import sqlrag
from sqlrag.cli.standard_library import harvest
from sqlrag.models.export.onnx_export import export_onnx
from sqlrag.text import Document

RESULTS = Path(__file__).with_suffix(".md")
TOP_K, TOP_N = 25, 3
QUESTIONS = ALL_QUESTIONS[::2]
PACKAGES = (
    "onnxruntime", "sentence-transformers", "torch", "txtai", "langchain-classic", "langchain-community", "faiss-cpu",
    "lancedb",
)  # fmt: skip
BATCH = 32  # sentence-transformers' own


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

    def overhead(self, question: str) -> float:
        """Return which share of a question's time is spent neither in the models nor in the index."""
        spent: dict[str, float] = {}
        with ExitStack() as stack:
            for name, (owner, method) in PARTS.items():
                stack.enter_context(stopwatch(owner, method, name, spent))
            whole, _ = timed(self.search, question)
        if spent.keys() != PARTS.keys():
            raise RuntimeError(f"a question went through {sorted(spent)} only: its parts cannot be told from the rest")
        return 1 - sum(spent.values()) / whole


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


class OnnxByHand:
    """ONNX Runtime, tokenizers and numpy, as little as it takes: int8 models, batches, the vectors in memory."""

    name = "onnxruntime int8 + numpy, by hand"

    def __init__(self, folder: str, embedder: Path, reranker: Path) -> None:
        from sentence_transformers import SentenceTransformer

        self._tokenizer = SentenceTransformer(folder, device="cpu").tokenizer
        self._embedder, self._reranker = quantized(embedder), quantized(reranker)

    def _run(self, model, length: int, *texts: Sequence[str]) -> np.ndarray:
        found = self._tokenizer(*texts, padding=True, truncation=True, max_length=length, return_tensors="np")
        inputs = {node.name: found[node.name].astype(np.int64) for node in model.get_inputs()}
        (result,) = model.run(None, inputs)
        if result.ndim == 2:  # a pair's score
            return result[:, 0]
        mask = inputs["attention_mask"][:, :, None]
        means = (result * mask).sum(axis=1) / mask.sum(axis=1)
        return means / np.linalg.norm(means, axis=1, keepdims=True)

    def ingest(self, documents: Sequence[Document]) -> object:
        self._texts = sorted((document.text for document in documents), key=len)  # alike in length: less padding
        batches = [self._texts[start : start + BATCH] for start in range(0, len(self._texts), BATCH)]
        self._vectors = np.concatenate([self._run(self._embedder, 256, batch) for batch in batches])
        return self._vectors

    def search(self, question: str) -> list[str]:
        products = self._vectors @ self._run(self._embedder, 256, [question])[0]
        texts = [self._texts[place] for place in np.argsort(-products)[:TOP_K]]
        scores = self._run(self._reranker, 512, [question] * len(texts), texts)
        return [texts[place] for place in np.argsort(-scores)[:TOP_N]]


class LangChain:
    """LangChain's ContextualCompressionRetriever with its CrossEncoderReranker, over FAISS in memory."""

    name = "LangChain + FAISS"

    def __init__(self, folder: str, cross_encoder: str) -> None:
        from langchain_classic.retrievers.document_compressors import CrossEncoderReranker
        from langchain_community.cross_encoders import HuggingFaceCrossEncoder
        from langchain_huggingface import HuggingFaceEmbeddings

        self._embeddings = HuggingFaceEmbeddings(model_name=folder, model_kwargs={"device": "cpu"})
        model = HuggingFaceCrossEncoder(model_name=cross_encoder, model_kwargs={"device": "cpu"})
        self._compressor = CrossEncoderReranker(model=model, top_n=TOP_N)

    def ingest(self, documents: Sequence[Document]) -> object:
        from langchain_classic.retrievers import ContextualCompressionRetriever
        from langchain_community.vectorstores import FAISS

        store = FAISS.from_texts([document.text for document in documents], self._embeddings)
        retriever = store.as_retriever(search_kwargs={"k": TOP_K})
        self._retriever = ContextualCompressionRetriever(base_compressor=self._compressor, base_retriever=retriever)
        return self._retriever

    def search(self, question: str) -> list[str]:
        return [document.page_content for document in self._retriever.invoke(question)]


class LanceDB:
    """A LanceDB table that embeds its text column, with its CrossEncoderReranker."""

    name = "LanceDB"

    def __init__(self, path: Path, folder: str, cross_encoder: str) -> None:
        import lancedb
        from lancedb.embeddings import get_registry
        from lancedb.pydantic import LanceModel, Vector
        from lancedb.rerankers import CrossEncoderReranker

        embedder = get_registry().get("sentence-transformers").create(name=folder, device="cpu")

        class Chunk(LanceModel):
            text: str = embedder.SourceField()
            vector: Vector(embedder.ndims()) = embedder.VectorField()

        self._table = lancedb.connect(path).create_table("chunks", schema=Chunk)
        self._reranker = CrossEncoderReranker(model_name=cross_encoder, device="cpu")

    def ingest(self, documents: Sequence[Document]) -> object:
        return self._table.add([{"text": document.text} for document in documents])

    def search(self, question: str) -> list[str]:
        found = self._table.search(question).limit(TOP_K).rerank(reranker=self._reranker).to_list()
        return [row["text"] for row in found[:TOP_N]]


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


def models_of(folder: str, made: Path) -> dict[str, Path]:
    """Return model folders: the cross-encoder with a random head for torch, sqlrag's of it, and fp32 ONNX of both."""
    from sentence_transformers import CrossEncoder

    saved = made / "saved"
    CrossEncoder(folder, num_labels=1, max_length=512, device="cpu").save_pretrained(str(saved))
    export_onnx(str(saved), made / "int8", kind="cross-encoder", name="int8", precision="int8")
    export_onnx(str(saved), made / "reranker", kind="cross-encoder", name="fp32", precision="fp32")
    export_onnx(folder, made / "embedder", kind="bi-encoder", name="fp32", precision="fp32")
    return {name: made / name for name in ("saved", "int8", "reranker", "embedder")}


def quantized(folder: Path):
    """Return a session of a model of fp32 ONNX, in int8 and with ONNX Runtime's own threads."""
    from onnxruntime import InferenceSession
    from onnxruntime.quantization import QuantType, quantize_dynamic

    small = folder / "quantized.onnx"
    quantize_dynamic(folder / "model.onnx", small, per_channel=True, weight_type=QuantType.QInt8)
    return InferenceSession(small, providers=["CPUExecutionProvider"])


def measure(sides: Sequence[Side], documents: Sequence[Document], questions: Sequence[str]) -> list[dict]:
    """Return a row for each side: seconds of the ingestion, milliseconds of a question, how many answers are alike."""
    ingested = []
    for side in sides:
        ingested.append(timed(side.ingest, documents)[0] / 1000)
        print(f"{side.name}: {ingested[-1]:.1f} s", file=sys.stderr, flush=True)
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
        folder, models = arguments.folder, models_of(arguments.folder, Path(temporary))
        saved = str(models["saved"])
        own = SQLRag(Path(temporary) / "end.db", models["int8"])
        rows = measure(
            [
                own,
                ByHand(folder, saved),
                OnnxByHand(folder, models["embedder"], models["reranker"]),
                LangChain(folder, saved),
                LanceDB(Path(temporary) / "lance", folder, saved),
                Txtai(folder, saved),
            ],
            documents,
            QUESTIONS,
        )
        overhead = median(map(own.overhead, ALL_QUESTIONS[1::2]))  # others: sqlrag remembers scores
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
                  f"({platform.machine()}), load {os.getloadavg()[1]:.1f}. {len(QUESTIONS)} questions, "
                  f"{TOP_K} candidates each. Overhead of sqlrag beyond models and index: {overhead:.1%}."]  # fmt: skip
    print(*table, sep="\n")
    if arguments.write:
        rows[0]["overhead"] = overhead
        write(RESULTS, table, rows)


if __name__ == "__main__":
    main()
