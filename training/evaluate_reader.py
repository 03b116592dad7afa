"""How good a reader is: the evaluation collections, and the graded lists that are held back.

    python training/evaluate_reader.py prepare --data ../shared/data --cache CACHE
    python training/evaluate_reader.py WEIGHTS RUN/model.safetensors --cache CACHE [--most 50]

`prepare` ingests the four collections as benchmarks/evaluation.py does, and keeps what the first stages return for
each query, with the reranker-v1 of the package beside it. Nothing is trained or chosen on these collections but the
two weights of the last order, each on the three others.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from candidates import BM25, vector_top_k
from kept_states import encode
from lists import PASSAGE_TOKENS, QUERY_TOKENS, Lists
from numpy.typing import NDArray
from reader import Reader
from safetensors import safe_open
from torch import Tensor
from train_reader import Data, gathered, read_data, word_vectors

import sqlrag
from sqlrag.engines.measures import MEASURES
from sqlrag.evaluation.files import read_qrels, read_queries
from sqlrag.models.kept import Form

COLLECTIONS = ("nfcorpus", "cacm", "cranfield", "trec-dl-2019")
STAGES = ("vector", "text", "hybrid")
DEEPEST = 200
TOP_KS = (25, 50, 100)
RRF, WEIGHT = 10, 0.5
"""The last order: the logit and WEIGHT times 1/(RRF + rank) in both lists, all standardised over the candidates."""


@dataclass
class Query:
    """A query with the chunks that each first stage returns, best first, and the grades of documents."""

    text: str
    qrels: dict[str, float]
    found: dict[str, list[int]] = field(default_factory=dict)


@dataclass
class Collection:
    """`chunks`: number by id, `documents`: the document that each chunk belongs to."""

    queries: list[Query]
    chunks: dict[int, int]
    documents: list[str]


def prepare(name: str, data: Path, cache: Path) -> None:
    """Write the queries, candidates and chunks of a collection."""
    folder = data / "eval" / name
    queries, qrels = read_queries(folder), read_qrels(folder)
    with sqlrag.connect(cache / f"{name}.db") as db:
        db.ingest(folder / "corpus.jsonl.gz", text=["title", "text"], id="_id")
        rows = db.execute(
            "SELECT chunk.id, chunk.text, document.uri FROM chunks AS chunk "
            "JOIN documents AS document ON document.id = chunk.source_id ORDER BY chunk.id"
        ).fetchall()
        kept = [
            {"text": text, "qrels": qrels[number], "found": {stage: _found(db, stage, text) for stage in STAGES}}
            for number, text in queries.items()
            if number in qrels
        ]
    told = {"queries": kept, "ids": [row[0] for row in rows], "texts": [row[1] for row in rows]}
    told["documents"] = [row[2].rpartition("#")[2] for row in rows]
    (cache / f"{name}.json").write_text(json.dumps(told), encoding="utf-8")
    print(f"{name}: {len(kept)} queries, {len(rows):,} chunks", flush=True)


def _found(db: sqlrag.Database, stage: str, query: str) -> list[int]:
    sql = f"SELECT id FROM {stage}_top_k('chunks', ?, {DEEPEST}) ORDER BY rank"
    return [row[0] for row in db.execute(sql, [query])]


def read_collection(name: str, cache: Path, form: Form, words: Tensor, rare: Tensor) -> tuple[Collection, Data]:
    """Return a collection, and its texts as a reader takes them."""
    told = json.loads((cache / f"{name}.json").read_text(encoding="utf-8"))
    queries = [Query(**query) for query in told["queries"]]
    passages = encode(told["texts"], PASSAGE_TOKENS, cache, name)
    asked = encode([query.text for query in queries], QUERY_TOKENS, cache, f"{name}: queries")
    components = form.basis.shape[1]
    data = Data(
        Lists(),
        gathered(asked, f"{name}-queries", cache, None),
        gathered(passages, f"{name}-{components}", cache, form),
        form,
        words,
        rare,
    )
    chunks = {identifier: number for number, identifier in enumerate(told["ids"])}
    return Collection(queries, chunks, told["documents"]), data


@torch.no_grad()
def logits(model: Reader, data: Data, query: int, candidates: list[int]) -> NDArray[np.float32]:
    """Return a query's logits for passages by their numbers."""
    ordered = sorted(candidates, key=lambda number: int(data.passages.start[number + 1] - data.passages.start[number]))
    found = np.concatenate(
        [model(data.batch([(query, ordered[at : at + 32])])).float().numpy() for at in range(0, len(ordered), 32)]
    )
    by_number = dict(zip(ordered, found, strict=True))
    return np.array([by_number[number] for number in candidates])


def ndcg(collection: Collection, query: Query, chunks: list[int], scores: NDArray[np.floating]) -> float:
    """Return nDCG@10; a document counts as its best chunk."""
    best: dict[str, float] = {}
    for chunk, score in zip(chunks, scores.tolist(), strict=True):
        document = collection.documents[collection.chunks[chunk]]
        best[document] = max(score, best.get(document, -np.inf))
    ranking = sorted(best, key=lambda document: -best[document])
    rows = [(rank, query.qrels.get(document)) for rank, document in enumerate(ranking, start=1)]
    rows += [(None, grade) for document, grade in query.qrels.items() if document not in best]
    return MEASURES["ndcg"].of(rows, 10) or 0.0


def fused(query: Query, chunks: list[int], found: NDArray[np.float32], weight: float) -> NDArray[np.floating]:
    """Return the scores of the last order: the logit, and where both lists have a chunk, standardised and added."""
    total = _standard(found)
    for stage in ("vector", "text"):
        rank = {chunk: place for place, chunk in enumerate(query.found[stage], start=1)}
        given = np.array([1 / (RRF + rank[chunk]) if chunk in rank else 0.0 for chunk in chunks])
        total = total + weight * _standard(given)
    return total


def _standard(values: NDArray[np.floating]) -> NDArray[np.floating]:
    return (values - values.mean()) / (values.std() + 1e-9)


Score = Callable[[int, list[int]], NDArray[np.float32]]


def table(collection: Collection, score: Score, most: int) -> dict[str, float]:
    """Return nDCG@10 of each first stage, alone and reranked, and of the last order, by what the row is called."""
    found = defaultdict(list)
    for number, query in enumerate(collection.queries[:most]):
        known: dict[int, float] = {}
        wanted = list(dict.fromkeys(query.found["vector"][:100] + query.found["hybrid"][:100]))
        if wanted:
            numbers = [collection.chunks[chunk] for chunk in wanted]
            known = dict(zip(wanted, score(number, numbers).tolist(), strict=True))
        for stage in ("vector", "hybrid"):
            whole = query.found[stage]
            found[f"{stage} alone"].append(ndcg(collection, query, whole[:100], -np.arange(len(whole[:100]))))
            for top_k in TOP_KS:
                chunks = whole[:top_k]
                scores = np.array([known[chunk] for chunk in chunks], np.float32)
                found[f"{stage} {top_k} reranked"].append(ndcg(collection, query, chunks, scores))
                if stage == "hybrid" and chunks:
                    last = fused(query, chunks, scores, WEIGHT)
                    found[f"{stage} {top_k} last order"].append(ndcg(collection, query, chunks, last))
    return {name: fmean(values) for name, values in found.items()}


def graded_table(model: Reader, data: Data, cache: Path) -> dict[str, float]:
    """Return nDCG@10 of the graded lists that are held back, by what they are ordered by."""
    lists = data.lists
    texts = json.loads((cache / "texts.json").read_text(encoding="utf-8"))[: lists.searched]
    lexical = BM25(texts)
    numbers = [row for row, kept in enumerate(lists.held_back) if kept and "graded" in lists.collections[row]]
    nearest = vector_top_k(data.queries.vectors[numbers], data.passages.vectors[: lists.searched], DEEPEST)
    found = defaultdict(list)
    for row, number in enumerate(numbers):
        candidates, grades = lists.candidates[number], np.array(lists.grades[number])
        ranks = {"vector": nearest[row].tolist(), "text": lexical.top_k(lists.queries[number], DEEPEST).tolist()}
        query = Query(lists.queries[number], {}, ranks)
        scores = logits(model, data, number, candidates)
        orders = {
            "graded: cosine": data.passages.vectors[candidates] @ data.queries.vectors[number],
            "graded: reranked": scores,
            "graded: last order": fused(query, candidates, scores, WEIGHT),
        }
        for name, order in orders.items():
            rows = enumerate((grades[np.argsort(-order, kind="stable")] * 3).tolist(), start=1)
            found[name].append(MEASURES["ndcg"].of(rows, 10) or 0.0)
    return {name: fmean(values) for name, values in found.items()}


def read_model(path: Path) -> tuple[Reader, Form, Tensor, dict[str, str]]:
    """Return what train_reader.py wrote: reader, form, how rare word pieces are, and what it says of itself."""
    with safe_open(path, "pt") as file:
        told = file.metadata()
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    form = Form(**{name: state.pop(f"form.{name}").numpy() for name in Form.__dataclass_fields__})
    rare = state.pop("rare")
    model = Reader(state["basis"], int(told["blocks"]), int(told["hidden"]))
    model.load_state_dict(state)
    return model.eval(), form, rare, told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, help="sentence-transformers folder with model.safetensors, or: prepare")
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--most", type=int, default=10**9, help="queries of each collection")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.model is None:
        for name in COLLECTIONS:
            prepare(name, arguments.data, arguments.cache)
        return
    model, form, rare, told = read_model(arguments.model)
    words = word_vectors(arguments.weights)
    print(told)
    lists = read_data(arguments.cache, arguments.weights)
    for name, value in graded_table(model, lists, arguments.cache).items():
        print(f"{name}: {value:.4f}", flush=True)
    rows: dict[str, list[float]] = defaultdict(list)
    for name in COLLECTIONS:
        collection, data = read_collection(name, arguments.cache, form, words, rare)
        values = table(collection, lambda query, chunks, data=data: logits(model, data, query, chunks), arguments.most)
        for row, value in values.items():
            rows[row].append(value)
        print(name, {row: round(value, 4) for row, value in values.items()}, file=sys.stderr, flush=True)
    print("| nDCG@10 |", " | ".join(COLLECTIONS), "| mean |")
    print("| --- " * (len(COLLECTIONS) + 2) + "|")
    for row, numbers in rows.items():
        print(f"| {row} |", " | ".join(f"{value:.4f}" for value in numbers), f"| {fmean(numbers):.4f} |")


if __name__ == "__main__":
    main()
