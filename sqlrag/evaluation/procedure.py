"""The procedure of an evaluation: run both stages for all queries, in SQL, and measure their results."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlrag.errors import InputError
from sqlrag.evaluation.files import read_qrels, read_queries, read_run
from sqlrag.evaluation.known_items import CAVEAT, known_items
from sqlrag.evaluation.measured import measured
from sqlrag.evaluation.report import Evaluation, Progress
from sqlrag.evaluation.stages import FIRST_STAGES, RUN, Stages
from sqlrag.evaluation.task import Task, prepare
from sqlrag.values.arguments import (
    DEFAULT_CUTOFF,
    DEFAULT_KNOWN_ITEMS,
    check_count,
    check_k,
    check_share,
    several,
    shown,
    whole,
)

if TYPE_CHECKING:
    import os

    from sqlrag.database import Database
    from sqlrag.evaluation.files import Qrels, Queries, Run

__all__ = ["FIRST_STAGES", "Options", "evaluate"]

_FEW_QUERIES = 30


@dataclass(frozen=True)
class Options:
    """The arguments of `Database.evaluate` but for the index and the progress; its docstring describes them."""

    queries: str | os.PathLike[str] | Queries | None
    qrels: str | os.PathLike[str] | Qrels | None
    synthetic: int | None
    run: str | os.PathLike[str] | Run | None
    first_stages: Sequence[str] | None
    top_k: Sequence[int]
    most: int | None
    split: str
    document_id: str | None
    resamples: int
    seed: int
    first_stage_weight: float


def evaluate(
    db: Database, index: str, options: Options, progress: Callable[[Progress], None] | None = None
) -> Evaluation:
    """Measure how good the answers of an index are.

    The temporary tables of an evaluation stay in the connection: evaluation_queries, evaluation_qrels,
    evaluation_candidates, evaluation_scores and evaluation_measures (sql/evaluation/tables.sql).
    """
    started = time.perf_counter()
    top_ks = _checked_top_ks(options.top_k)
    for name in ("most", "resamples"):
        if (value := getattr(options, name)) is not None:
            check_k("evaluate", name, value)
    seed = check_count("evaluate", "seed", options.seed)
    weight = check_share("evaluate", "first_stage_weight", options.first_stage_weight)
    names = _checked_stages(options.first_stages, with_run=options.run is not None)
    if options.synthetic is not None or (options.queries is None and options.qrels is None):
        _check_unused(options, "queries", "qrels", "run", "document_id")
        task, notes = _known_items_task(db, index, options.synthetic, seed)
    else:
        task, notes = _judged_task(options), []
    task = replace(task, most=options.most, document_id=options.document_id)
    prepared = prepare(db, index, task)
    notes += prepared.notes
    if len(prepared.queries) < _FEW_QUERIES:
        notes.append(f"So few queries ({len(prepared.queries)}) tell little: the intervals say how little.")
    stages = Stages(db, index, names, top_ks[-1])
    steps = len(prepared.queries) + len(stages.names) * (len(top_ks) + 1)

    def report(done: int, what: str) -> None:
        if progress is not None:
            progress(Progress(done, steps, what))

    times = stages.run(prepared.queries, report)
    result = measured(
        db,
        first_stages=stages.names,
        top_ks=top_ks,
        times=times,
        bootstrap=(options.resamples, seed),
        first_stage_weight=weight,
        report=report,
        queries=len(prepared.queries),
    )
    return Evaluation(
        path=db.path,
        index=index,
        embedder=prepared.embedder,
        reranker=db.reranker.id,
        queries=len(prepared.queries),
        judged_documents=prepared.judged,
        judged_documents_found=prepared.found,
        cutoff=DEFAULT_CUTOFF,
        resamples=options.resamples,
        seed=seed,
        pairs=times.pairs,
        seconds=time.perf_counter() - started,
        rows=result.rows,
        context=result.context,
        verdicts=result.verdicts,
        notes=notes,
    )


def _known_items_task(db: Database, index: str, synthetic: int | None, seed: int) -> tuple[Task, list[str]]:
    """Return a task made from the index's own chunks, and notes about it."""
    number = DEFAULT_KNOWN_ITEMS if synthetic is None else synthetic
    queries, qrels = known_items(db, index, number, seed)
    notes = [CAVEAT]
    if len(queries) < number:
        notes.append(f"The index has chunks for {len(queries)} such queries only.")
    return Task(queries, qrels, own_chunks=True), notes


def _check_unused(options: Options, *names: str) -> None:
    """Raise InputError if one of the options was given."""
    unused = [name for name in names if getattr(options, name) is not None]
    if unused:
        raise InputError(
            f"synthetic makes its own queries and judges its own chunks: leave {' and '.join(unused)} out, "
            "or leave synthetic out"
        )


def _judged_task(options: Options) -> Task:
    queries, qrels, run = options.queries, options.qrels, options.run
    if queries is None or qrels is None:
        raise InputError(
            "queries and qrels go together: give both, or neither and synthetic=100 for queries made from your chunks"
        )
    return Task(
        queries if isinstance(queries, dict) else read_queries(queries),
        qrels if isinstance(qrels, dict) else read_qrels(qrels, options.split),
        run if run is None or isinstance(run, dict) else read_run(run),
    )


def _checked_top_ks(top_k: Sequence[int]) -> list[int]:
    given = [top_k] if whole(top_k) is not None else several("top_k", top_k, "numbers of candidates")
    if not given:
        raise InputError("top_k is empty: give one number of candidates or more, such as [10, 25, 50, 100]")
    return sorted({check_k("evaluate", "top_k", value) for value in given})


def _checked_stages(first_stages: Sequence[str] | None, *, with_run: bool) -> list[str]:
    """Return each requested first stage once; by default all of them, or only the run if there is one."""
    known = [*FIRST_STAGES, *([RUN] if with_run else [])]
    if first_stages is None:
        return [RUN] if with_run else list(FIRST_STAGES)
    first_stages = several("first_stages", first_stages, f"some of {', '.join(known)}")
    unknown = [name for name in first_stages if not isinstance(name, str) or name not in known]
    if unknown or not first_stages:
        raise InputError(f"first_stages is {shown(list(first_stages))}: it takes some of {', '.join(known)}")
    return list(dict.fromkeys([*first_stages, *([RUN] if with_run else [])]))
