"""Deciding from the intervals whether reranking pays, and up to which top_k.

Reranking pays at a top_k if the 95 % interval of its gain in nDCG, paired by query, is above 0, and it hurts if the
interval is below 0. It stops paying at the last top_k of this climb: begin at the smallest top_k that pays, and go on
to a larger one if the interval of the difference between the two reranked orders is above 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from sqlrag.evaluation.report import Estimate, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlrag.evaluation.bootstrap import Bootstrap

__all__ = ["Column", "verdict_of"]

Column: TypeAlias = tuple[str, int, bool, str]
"""First stage, top_k, reranked, measure."""


def verdict_of(
    first_stage: str, top_ks: Sequence[int], values: Bootstrap[Column], cutoff: int, queries: int
) -> Verdict:
    """Return whether reranking pays after a first stage."""
    gains = {
        top_k: values.difference((first_stage, top_k, True, "ndcg"), (first_stage, top_k, False, "ndcg"))
        for top_k in top_ks
    }
    paying = [top_k for top_k in top_ks if gains[top_k].low > 0]
    measure = f"nDCG@{cutoff}"
    if not paying:
        hurts = any(gain.high < 0 for gain in gains.values())
        gained = "; ".join(f"top_k {top_k}: {_signed(gain)}" for top_k, gain in gains.items())
        if hurts:
            return Verdict(first_stage, False, None, f"reranking hurts here: {measure} changes by {gained}.")
        return Verdict(
            first_stage,
            None,
            None,
            f"with {queries} queries no gain from reranking can be shown: {measure} changes by {gained}. "
            "More queries would narrow the intervals.",
        )
    best, steps = _climb(first_stage, top_ks, paying[0], values)
    before, after = (values.mean((first_stage, best, reranked, "ndcg")).mean for reranked in (False, True))
    text = f"reranking pays: {measure} {before:.3f} → {after:.3f} ({_signed(gains[best])}) at top_k {best}. "
    text += _stop(best, top_ks, steps)
    hurting = [f"top_k {top_k} ({_signed(gain)})" for top_k, gain in gains.items() if gain.high < 0]
    return Verdict(first_stage, True, best, text + (f" It hurts at {', '.join(hurting)}." if hurting else ""))


def _climb(
    first_stage: str, top_ks: Sequence[int], start: int, values: Bootstrap[Column]
) -> tuple[int, list[tuple[int, int, Estimate]]]:
    """Return the last top_k of the climb, and the steps that were tried as (from, to, difference)."""
    best = start
    steps = []
    for top_k in top_ks:
        if top_k > start:
            more = values.difference((first_stage, top_k, True, "ndcg"), (first_stage, best, True, "ndcg"))
            steps.append((best, top_k, more))
            best = top_k if more.low > 0 else best
    return best, steps


def _stop(best: int, top_ks: Sequence[int], steps: list[tuple[int, int, Estimate]]) -> str:
    beyond = [f"{before} → {after}: {_signed(more)}" for before, after, more in steps if before == best]
    if not beyond:
        return f"It had not stopped paying at {best}, the largest top_k" + (" tried." if len(top_ks) > 1 else ".")
    return f"It stops paying there: beyond it no gain can be shown ({'; '.join(beyond)})."


def _signed(estimate: Estimate) -> str:
    return f"{estimate.mean:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}]"
