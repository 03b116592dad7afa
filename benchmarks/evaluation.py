"""Retrieval quality of both stages, through SQL, on a BEIR-layout collection.

    python benchmarks/evaluation.py ../shared/data/eval/nfcorpus [--engine sqlite duckdb] [--top-k 100] [--queries 50]

The corpus is ingested with the defaults (title and text joined, chunks, the bundled pair). For each test query one
statement finds the top_k chunks, another one reranks them; a document counts as its best chunk. nDCG@10 is that of
trec_eval: the gain is the grade, the discount log2(rank + 1) (Järvelin and Kekäläinen, 2002).
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import math
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import fmean

import sqlrag

FIRST_STAGE = """
    SELECT   d.uri
    FROM     vector_top_k('chunks', :q, :k) AS hit
    JOIN     chunks AS c ON c.id = hit.id
    JOIN     documents AS d ON d.id = c.source_id
    ORDER BY hit.rank
"""
BOTH_STAGES = """
    SELECT   d.uri, rerank_score(:q, c.text) AS score
    FROM     vector_top_k('chunks', :q, :k) AS hit
    JOIN     chunks AS c ON c.id = hit.id
    JOIN     documents AS d ON d.id = c.source_id
    ORDER BY score DESC, hit.rank
"""

Qrels = dict[str, dict[str, int]]


def read_queries(folder: Path) -> dict[str, str]:
    """Return the text of each query by its id."""
    with gzip.open(folder / "queries.jsonl.gz", "rt", encoding="utf-8") as lines:
        return {row["_id"]: row["text"] for row in map(json.loads, lines)}


def read_qrels(folder: Path, split: str = "test") -> Qrels:
    """Return the grades of the judged documents of each query."""
    qrels: Qrels = defaultdict(dict)
    with (folder / "qrels" / f"{split}.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.reader(file, delimiter="\t"):
            if row[-1].lstrip("-").isdigit():
                qrels[row[0]][row[-2]] = int(row[-1])
    return dict(qrels)


def ndcg_at_10(ranking: list[str], grades: dict[str, int]) -> float:
    """Return nDCG@10 of one query's ranking of documents."""
    gained = sum(grades.get(document, 0) / math.log2(rank + 1) for rank, document in enumerate(ranking[:10], start=1))
    best = sorted(grades.values(), reverse=True)[:10]
    ideal = sum(grade / math.log2(rank + 1) for rank, grade in enumerate(best, start=1))
    return gained / ideal if ideal else 0.0


def documents_of(rows: list[tuple]) -> list[str]:
    """Return the documents' ids in the order of their best chunks; a row's uri ends with `#<id>`."""
    return list(dict.fromkeys(row[0].rpartition("#")[2] for row in rows))


def ingest(path: Path, folder: Path) -> sqlrag.results.IngestReport:
    """Ingest a collection's corpus into a new database."""
    with sqlrag.connect(path) as db:
        return db.ingest(folder / "corpus.jsonl.gz", text=["title", "text"], id="_id")


def evaluate(path: Path, folder: Path, top_k: int, most: int | None = None, rerank_most: int | None = None) -> dict:
    """Return mean nDCG@10 and seconds per query of both stages, and the rankings themselves."""
    queries, qrels = read_queries(folder), read_qrels(folder)
    asked = [query for query in queries if query in qrels][:most]
    result: dict = {"folder": folder, "queries": len(asked), "rankings": {}}
    with sqlrag.connect(path, read_only=True) as db:
        for name, statement, chosen in (
            ("vector_top_k", FIRST_STAGE, asked),
            ("rerank_score", BOTH_STAGES, asked[:rerank_most]),
        ):
            started = time.perf_counter()
            rankings = {
                query: documents_of(db.execute(statement, {"q": queries[query], "k": top_k}).fetchall())
                for query in chosen
            }
            seconds = (time.perf_counter() - started) / len(chosen)
            scores = {query: ndcg_at_10(ranking, qrels[query]) for query, ranking in rankings.items()}
            result[name] = {"ndcg@10": fmean(scores.values()), "seconds": seconds, "queries": len(chosen)}
            result["rankings"][name] = rankings
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--engine", nargs="+", default=["sqlite", "duckdb"])
    parser.add_argument("--top-k", nargs="+", type=int, default=[100])
    parser.add_argument("--queries", type=int)
    arguments = parser.parse_args()
    print("| collection | engine | queries | top_k | vector_top_k | + rerank_score | ms/query | ms/query reranked |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as temporary:
        for folder in arguments.folders:
            for engine in arguments.engine:
                path = Path(temporary) / f"{folder.name}.{'duckdb' if engine == 'duckdb' else 'db'}"
                ingest(path, folder)
                for top_k in arguments.top_k:
                    result = evaluate(path, folder, top_k, arguments.queries)
                    first, both = result["vector_top_k"], result["rerank_score"]
                    print(
                        f"| {folder.name} | {engine} | {result['queries']} | {top_k} "
                        f"| {first['ndcg@10']:.4f} | {both['ndcg@10']:.4f} "
                        f"| {first['seconds'] * 1000:.0f} | {both['seconds'] * 1000:.0f} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
