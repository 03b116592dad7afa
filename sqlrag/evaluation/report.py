"""The results of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["ContextPoint", "Estimate", "Evaluation", "Progress", "Row", "Verdict"]


@dataclass(frozen=True)
class Estimate:
    """A mean over queries and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """A row of the table: a first stage at one top_k, before or after reranking its candidates.

    `ndcg`, `mrr` and `recall` are cut at the evaluation's `cutoff`, `recall_top_k` at top_k. `milliseconds` is per
    query. The gains are those of a reranked row over the first stage's own order, paired by query.
    """

    first_stage: str
    top_k: int
    reranked: bool
    ndcg: Estimate
    mrr: Estimate
    recall: Estimate
    recall_top_k: Estimate
    milliseconds: float | None
    ndcg_gain: Estimate | None = None
    mrr_gain: Estimate | None = None


@dataclass(frozen=True)
class ContextPoint:
    """The mean share of the relevant documents among the passages that fit into `tokens`, in one of the orders."""

    first_stage: str
    reranked: bool
    tokens: int
    recall: float


@dataclass(frozen=True)
class Verdict:
    """Whether reranking pays after a first stage (None: unknown), up to which top_k, and an explanation."""

    first_stage: str
    pays: bool | None
    best_top_k: int | None
    text: str


@dataclass(frozen=True)
class Evaluation:
    """The result: a row for each first stage, top_k and order, the verdicts, and what they are based on."""

    path: str
    index: str
    embedder: str
    reranker: str
    queries: int
    judged_documents: int
    judged_documents_found: int
    cutoff: int
    resamples: int
    seed: int
    pairs: int
    seconds: float
    rows: list[Row]
    context: list[ContextPoint]
    verdicts: list[Verdict]
    notes: list[str] = field(default_factory=list)

    def row(self, first_stage: str, top_k: int, *, reranked: bool) -> Row:
        """Return a row of the table. Raises KeyError if the evaluation has no such row."""
        for row in self.rows:
            if (row.first_stage, row.top_k, row.reranked) == (first_stage, top_k, reranked):
                return row
        raise KeyError((first_stage, top_k, reranked))


@dataclass(frozen=True)
class Progress:
    """How far an evaluation is. `progress` is called with it for each query and each measurement."""

    done: int
    total: int
    what: str
