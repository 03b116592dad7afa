"""Measuring how good a database's answers are: each first stage, without and with reranking, at several `top_k`.

Public are the names in `__all__`. `Database.evaluate` and `sqlrag eval` call this module's `evaluate`. Judgements and
rankings are tables, the measures are the SQL aggregates of `sqlrag.engines.measures`, and the statements are the files
of `sql/evaluation/`.
"""

from __future__ import annotations

from sqlrag.evaluation.files import read_qrels, read_queries, read_run
from sqlrag.evaluation.procedure import FIRST_STAGES, Options, evaluate
from sqlrag.evaluation.report import ContextPoint, Estimate, Evaluation, Progress, Row, Verdict
from sqlrag.evaluation.task import load_qrels, load_queries, load_run

__all__ = [
    "FIRST_STAGES",
    "ContextPoint",
    "Estimate",
    "Evaluation",
    "Options",
    "Progress",
    "Row",
    "Verdict",
    "evaluate",
    "load_qrels",
    "load_queries",
    "load_run",
    "read_qrels",
    "read_queries",
    "read_run",
]
