"""An evaluation on the terminal: its table, its verdicts, and its two plots as bars."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from sqlrag.cli.rows import write_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlrag.cli.render import Styled
    from sqlrag.evaluation.report import Estimate, Evaluation, Row

__all__ = ["print_charts", "print_evaluation"]

_BAR = 40

RULE = (
    "Reranking pays where the 95 % interval of its gain, paired by query, lies above 0; it stops paying at the top_k "
    "beyond which no step to a larger one has such an interval."
)


def print_evaluation(evaluation: Evaluation) -> None:
    """Print the table, then in words what follows from it and what it rests on."""
    cut = evaluation.cutoff
    columns = ["first stage", "top_k", f"nDCG@{cut}", f"MRR@{cut}", f"recall@{cut}", "recall@top_k", "ms/query"]
    lines = [line for row in evaluation.rows for line in _lines(row)]
    write_rows(columns, [lines], "table")
    click.echo()
    for verdict in evaluation.verdicts:
        click.echo(f"{verdict.first_stage}: {verdict.text}")
    click.echo(f"\n{RULE}")
    click.echo(_basis(evaluation))
    for note in evaluation.notes:
        click.echo(note)


def _lines(row: Row) -> list[tuple[str, ...]]:
    """Return the line of a row, and below a reranked one that of its gains."""
    figures = (_interval(row.ndcg), _interval(row.mrr), _interval(row.recall), f"{row.recall_top_k.mean:.3f}")
    time = "" if row.milliseconds is None else f"{row.milliseconds:,.0f}"
    line = (f"{row.first_stage}{' + rerank' * row.reranked}", str(row.top_k), *figures, time)
    if row.ndcg_gain is None or row.mrr_gain is None:
        return [line]
    return [line, ("  gain", "", _interval(row.ndcg_gain, "+"), _interval(row.mrr_gain, "+"), "", "", "")]


def _interval(estimate: Estimate, sign: str = "") -> str:
    mean, low, high = (f"{value:{sign}.3f}" for value in (estimate.mean, estimate.low, estimate.high))
    return f"{mean} [{low}, {high}]"


def _basis(evaluation: Evaluation) -> str:
    return (
        f"{evaluation.queries:,} queries, {evaluation.judged_documents:,} judged documents; "
        f"{evaluation.embedder}, {evaluation.reranker}. Intervals: {evaluation.resamples:,} bootstrap resamples, "
        f"seed {evaluation.seed}. A document counts as its best chunk. Time: the first stage at the largest top_k, "
        f"plus its candidates times the mean of a pair; {evaluation.pairs:,} pairs were scored, each once; "
        f"{evaluation.seconds:,.1f} s in all."
    )


def print_charts(evaluation: Evaluation) -> None:
    """Draw quality against top_k, and recall against context for the best first stage, on a terminal only."""
    if not sys.stdout.isatty():
        return
    quality = []
    for before in evaluation.rows:
        if not before.reranked:
            after = evaluation.row(before.first_stage, before.top_k, reranked=True)
            quality.append((f"{before.first_stage} {before.top_k:>4}", before.ndcg.mean, after.ndcg.mean))
    _print_bars(f"nDCG@{evaluation.cutoff} against top_k, first stage → reranked", quality)
    best = max((row for row in evaluation.rows if row.reranked), key=lambda row: row.ndcg.mean).first_stage
    recall: dict[int, list[float]] = {}
    for point in evaluation.context:  # in the order before, after
        if point.first_stage == best:
            recall.setdefault(point.tokens, []).append(point.recall)
    bars = [(f"{tokens:,}", before, after) for tokens, (before, after) in recall.items()]
    _print_bars(f"Recall against context tokens, {best} → reranked", bars)


def _print_bars(title: str, bars: Sequence[tuple[str, float, float]]) -> None:
    from sqlrag.cli.render import print_line

    print_line("\n", (title, "bold"))
    longest = max(max(before, after) for _, before, after in bars) or 1.0
    width = max(len(label) for label, _, _ in bars)
    for label, before, after in bars:
        bar = _bar(before / longest, after / longest)
        print_line(f"  {label:>{width}} ", *bar, f" {before:.3f} → {after:.3f}")


def _bar(before: float, after: float) -> tuple[str | Styled, ...]:
    """Return a bar: what both orders have, then what reranking gains (green) or loses (red)."""
    both, either = round(min(before, after) * _BAR), round(max(before, after) * _BAR)
    change = ("▒", "green") if after >= before else ("░", "red")
    return "█" * both, (change[0] * (either - both), change[1]), " " * (_BAR - either)
