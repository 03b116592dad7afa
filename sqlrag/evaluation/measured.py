"""Computing the figures of an evaluation: measures, intervals, verdicts, and recall against context."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlrag.evaluation.bootstrap import Bootstrap
from sqlrag.evaluation.report import ContextPoint, Estimate, Row, Verdict
from sqlrag.evaluation.verdict import Column, verdict_of
from sqlrag.store.statements import fused_score, statement
from sqlrag.values.arguments import DEFAULT_CUTOFF

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlrag.database import Database
    from sqlrag.evaluation.stages import Times

__all__ = ["BUDGETS", "Measured", "measured"]

BUDGETS = (250, 500, 1_000, 1_500, 2_000, 3_000, 4_000, 8_000)
"""Numbers of tokens of context, from one long passage to more than most people give an LLM."""

_MEASURES = ("ndcg", "mrr", "recall", "recall_top_k")


@dataclass(frozen=True)
class Measured:
    """The figures of an evaluation."""

    rows: list[Row]
    context: list[ContextPoint]
    verdicts: list[Verdict]


def measured(
    db: Database,
    *,
    first_stages: Sequence[str],
    top_ks: Sequence[int],
    times: Times,
    bootstrap: tuple[int, int],
    first_stage_weight: float,
    report: Callable[[int, str], None],
    queries: int,
) -> Measured:
    """Return the figures for the content of the tables. `bootstrap` is the number of resamples and the seed.

    `first_stage_weight`: how much hybrid's score counts after reranking.
    """
    done = queries
    fused = fused_score("scored.score", "candidate.score", first_stage_weight, "PARTITION BY candidate.query_id")
    context = []
    for name in first_stages:
        for top_k in top_ks:
            report(done, f"measuring {name}, top_k {top_k}")
            params = {"first_stage": name, "top_k": top_k, "cutoff": DEFAULT_CUTOFF}
            db.execute(statement("evaluation/measures", fused=fused), params).fetchall()
            done += 1
        report(done, f"measuring {name}, context")
        params = {"first_stage": name, "top_k": top_ks[-1], "budgets": json.dumps(BUDGETS)}
        found = db.execute(statement("evaluation/context", fused=fused), params).fetchall()
        context += [ContextPoint(name, bool(reranked), int(tokens), recall) for reranked, tokens, recall in found]
        done += 1
    values = Bootstrap(_columns(db), *bootstrap)
    candidates = _candidates(db, first_stages, top_ks, queries)
    rows = []
    for name in first_stages:
        for top_k in top_ks:
            first = times.first[name] / queries
            second = None if times.of_a_pair is None else first + times.of_a_pair * candidates[name, top_k]
            rows.append(_row(values, name, top_k, False, first))
            rows.append(_row(values, name, top_k, True, second))
    verdicts = [verdict_of(name, top_ks, values, DEFAULT_CUTOFF, queries) for name in first_stages]
    report(done, "")
    return Measured(rows, context, verdicts)


def _columns(db: Database) -> dict[Column, list[float]]:
    """Return the values of each measure, one for each query, in the order of the queries."""
    columns: dict[Column, list[float]] = defaultdict(list)
    sql = "SELECT * FROM temp.evaluation_measures ORDER BY query_id"
    for first_stage, top_k, reranked, _, *values in db.execute(sql):
        for measure, value in zip(_MEASURES, values, strict=True):
            columns[first_stage, top_k, bool(reranked), measure].append(value)
    return columns


def _candidates(
    db: Database, first_stages: Sequence[str], top_ks: Sequence[int], queries: int
) -> dict[tuple[str, int], float]:
    """Return the mean number of candidates of a query, which is less than top_k if the index returns fewer."""
    sql = "SELECT count(*) FROM temp.evaluation_candidates WHERE first_stage = ? AND rank <= ?"
    return {
        (name, top_k): db.execute(sql, (name, top_k)).fetchall()[0][0] / queries
        for name in first_stages
        for top_k in top_ks
    }


def _row(values: Bootstrap[Column], name: str, top_k: int, reranked: bool, seconds: float | None) -> Row:
    def mean(measure: str) -> Estimate:
        return values.mean((name, top_k, reranked, measure))

    def gain(measure: str) -> Estimate | None:
        return values.difference((name, top_k, True, measure), (name, top_k, False, measure)) if reranked else None

    return Row(
        name,
        top_k,
        reranked,
        ndcg=mean("ndcg"),
        mrr=mean("mrr"),
        recall=mean("recall"),
        recall_top_k=mean("recall_top_k"),
        milliseconds=None if seconds is None else seconds * 1000,
        ndcg_gain=gain("ndcg"),
        mrr_gain=gain("mrr"),
    )
