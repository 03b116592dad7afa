"""Retrieval quality of both stages on the evaluation sets, as `sqlrag eval` measures it.

    python benchmarks/evaluation.py ../shared/data/eval/{nfcorpus,cacm,cranfield,trec-dl-2019} [--engine sqlite duckdb]
                                    [--top-k 25] [--most 50] [--first-stage vector] [--reranker MODEL]
                                    [--databases FOLDER] [--first-stage-weight 0 0.3] [--write]

The corpus is ingested with the defaults (title and text joined, chunks, the bundled pair). The candidates of
vector_top_k, text_top_k (BM25) and hybrid_top_k are reranked, and where the folder has a `bm25.run.tsv`, that run's,
too. nDCG@10, MRR@10 and recall with 95 % intervals; all is measured by Database.evaluate (sqlrag/evaluation).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import sqlrag
from sqlrag.evaluation import Estimate, Evaluation
from sqlrag.evaluation.stages import FIRST_STAGES
from sqlrag.results import IngestReport
from sqlrag.values.arguments import DEFAULT_FIRST_STAGE_WEIGHT

RESULTS = Path(__file__).with_suffix(".md")
MARK = "<!-- results -->"
TOP_KS = (25,)
COLUMNS = (
    "collection", "engine", "queries", "first stage", "top_k", "nDCG@10", "reranked", "gain, 95 % interval", "MRR@10",
    "reranked", "recall@10", "reranked", "recall@top_k", "ms/query", "reranked",
)  # fmt: skip


def ingest(path: Path, folder: Path) -> IngestReport:
    """Ingest a collection's corpus into a new database."""
    with sqlrag.connect(path) as db:
        return db.ingest(folder / "corpus.jsonl.gz", text=["title", "text"], id="_id")


def evaluate(
    path: Path,
    folder: Path,
    top_ks: Sequence[int] = TOP_KS,
    *,
    most: int | None = None,
    reranker: str | None = None,
    first_stages: Sequence[str] = tuple(FIRST_STAGES),
    weight: float = DEFAULT_FIRST_STAGE_WEIGHT,
) -> Evaluation:
    """Return the evaluation of a database that holds a collection; the collection's own run is one first stage more."""
    run = folder / "bm25.run.tsv"
    with sqlrag.connect(path, read_only=True, reranker=reranker) as db:
        return db.evaluate(
            folder,
            folder,
            first_stages=first_stages,
            run=run if run.exists() else None,
            top_k=top_ks,
            most=most,
            first_stage_weight=weight,
        )


def lines(collection: str, engine: str, evaluation: Evaluation) -> list[str]:
    """Return the lines of the table, one for each first stage and top_k."""
    table = []
    for before in evaluation.rows:
        if before.reranked:
            continue
        after = evaluation.row(before.first_stage, before.top_k, reranked=True)
        cells = [collection, engine, evaluation.queries, before.first_stage, before.top_k]
        cells += [f"{before.ndcg.mean:.4f}", f"{after.ndcg.mean:.4f}", gain(after.ndcg_gain)]
        cells += [f"{row.mrr.mean:.4f}" for row in (before, after)]
        cells += [f"{row.recall.mean:.4f}" for row in (before, after)] + [f"{before.recall_top_k.mean:.4f}"]
        cells += ["" if row.milliseconds is None else f"{row.milliseconds:.0f}" for row in (before, after)]
        table.append("| " + " | ".join(map(str, cells)) + " |")
    return table


def records(collection: str, engine: str, evaluation: Evaluation) -> list[dict[str, object]]:
    """Return the same rows as JSON has them, each with the models that it was measured with."""
    models = {"embedder": evaluation.embedder, "reranker": evaluation.reranker}
    return [
        {"collection": collection, "engine": engine, "queries": evaluation.queries, **models, **asdict(row)}
        for row in evaluation.rows
    ]


def gain(estimate: Estimate | None) -> str:
    return "" if estimate is None else f"{estimate.mean:+.4f} [{estimate.low:+.4f}, {estimate.high:+.4f}]"


def write(results: Path, table: Sequence[str], rows: Sequence[object]) -> None:
    """Put a table below the mark of a Markdown file, and its rows as JSON beside it, one a line."""
    head = results.read_text(encoding="utf-8").partition(MARK)[0]
    results.write_text(head + MARK + "\n\n" + "\n".join(table) + "\n", encoding="utf-8")
    lines_of_json = ",\n".join(json.dumps(row) for row in rows)
    results.with_suffix(".json").write_text(f"[\n{lines_of_json}\n]\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--engine", nargs="+", default=["sqlite"], choices=["sqlite", "duckdb"])
    parser.add_argument("--top-k", nargs="+", type=int, default=list(TOP_KS))
    parser.add_argument("--most", type=int, help="ask the first so many queries of each collection only")
    parser.add_argument("--first-stage", nargs="+", default=list(FIRST_STAGES), choices=list(FIRST_STAGES))
    parser.add_argument("--reranker", help="another model than the bundled one")
    parser.add_argument("--first-stage-weight", nargs="+", type=float, default=[DEFAULT_FIRST_STAGE_WEIGHT])
    parser.add_argument("--databases", type=Path, metavar="FOLDER", help="make them there, or go on with those there")
    parser.add_argument("--write", action="store_true", help=f"put the results into {RESULTS.name} and .json")
    arguments = parser.parse_args()
    table = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    print(*table, sep="\n")
    found_records = []
    with tempfile.TemporaryDirectory() as temporary:
        for folder in arguments.folders:
            for engine in arguments.engine:
                databases = arguments.databases or Path(temporary)
                path = databases / f"{folder.name}.{'duckdb' if engine == 'duckdb' else 'db'}"
                ingest(path, folder)
                for weight in arguments.first_stage_weight:
                    found = evaluate(
                        path,
                        folder,
                        arguments.top_k,
                        most=arguments.most,
                        reranker=arguments.reranker,
                        first_stages=arguments.first_stage,
                        weight=weight,
                    )
                    table += (new := lines(folder.name, engine, found))
                    found_records += records(folder.name, engine, found)
                    print(*new, sep="\n", flush=True)
                    print(*found.notes, *(one.text for one in found.verdicts), sep="\n", file=sys.stderr)
    if arguments.write:
        write(RESULTS, table, found_records)


if __name__ == "__main__":
    main()
