"""Measures of a ranking against judgements, as SQL aggregates.

`ndcg`, `recall_at_k`, `precision_at_k`, `mrr`, `average_precision`.

Each aggregates the documents of one query: `rank` counts from 1 and is NULL for a judged document that was not
retrieved, `relevance` is its grade and NULL for a retrieved document that nobody judged (it counts as 0). That is what
a FULL JOIN of a run with its judgements gives. The value is NULL where nothing was judged, so that avg() over queries
leaves such a query out, as trec_eval does; it is 0 where nothing relevant was found, or there was nothing to find.

The definitions are those of trec_eval (https://github.com/usnistgov/trec_eval), and of ir-measures; nDCG is that of
Järvelin and Kekäläinen (2002).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal

from sqlrag.errors import InputError
from sqlrag.values.arguments import DEFAULT_MIN_RELEVANCE, check_k, shown

__all__ = ["MEASURES", "Aggregate", "Judged", "Measure"]


class Judged:
    """The documents of one query: grades by rank of those that were retrieved, and all grades that were given."""

    def __init__(self) -> None:
        self.retrieved: dict[int, float] = {}
        self.grades: list[float] = []

    def relevant(self, k: int | None, least: float) -> list[int]:
        """Return the ranks of the relevant documents, at most `k`, in order."""
        return sorted(rank for rank, grade in self.retrieved.items() if grade >= least and (k is None or rank <= k))

    def count(self, least: float) -> int:
        """Return how many documents are relevant, retrieved or not."""
        return sum(grade >= least for grade in self.grades)


def _ndcg(judged: Judged, k: int | None, _least: float) -> float:
    """Return the normalised discounted cumulative gain. The gain is the grade, the discount log2(rank + 1)."""
    gained = sum(
        max(grade, 0.0) / math.log2(rank + 1)
        for rank, grade in sorted(judged.retrieved.items())
        if k is None or rank <= k
    )
    best = sorted((grade for grade in judged.grades if grade > 0), reverse=True)[:k]
    ideal = sum(grade / math.log2(rank + 1) for rank, grade in enumerate(best, start=1))
    return gained / ideal if ideal else 0.0


def _recall(judged: Judged, k: int | None, least: float) -> float:
    """Return the share of all relevant documents that have a rank up to k."""
    count = judged.count(least)
    return len(judged.relevant(k, least)) / count if count else 0.0


def _precision(judged: Judged, k: int | None, least: float) -> float:
    """Return the number of relevant documents up to rank k, divided by k, even if fewer were retrieved."""
    assert k is not None
    return len(judged.relevant(k, least)) / k


def _reciprocal_rank(judged: Judged, k: int | None, least: float) -> float:
    """Return 1 divided by the rank of the first relevant document; 0 if none was retrieved."""
    ranks = judged.relevant(k, least)
    return 1.0 / ranks[0] if ranks else 0.0


def _average_precision(judged: Judged, k: int | None, least: float) -> float:
    """Return the sum of the precisions at the relevant documents up to rank k, divided by the number of all of them."""
    count = judged.count(least)
    ranks = judged.relevant(k, least)
    return sum(found / rank for found, rank in enumerate(ranks, start=1)) / count if count else 0.0


@dataclass(frozen=True)
class Measure:
    """An aggregate of the contract: `name(rank, relevance, parameters)`, the first `required` of which must stand."""

    name: str
    parameters: tuple[str, ...]
    required: int
    compute: Callable[[Judged, int | None, float], float]

    def arities(self) -> range:
        """Return the numbers of arguments that it takes."""
        return range(2 + self.required, 3 + len(self.parameters))

    def of(self, rows: Iterable[tuple[object, object]] | None, *settings: object) -> float | None:
        """Return the value for the rows `(rank, relevance)` of one query; of no rows, NULL."""
        aggregate = Aggregate(self)
        for rank, relevance in rows or ():
            aggregate.step(rank, relevance, *settings)
        return aggregate.final()


_CUT = ("k", "min_relevance")

MEASURES = {
    measure.name: measure
    for measure in (
        Measure("ndcg", ("k",), 0, _ndcg),
        Measure("recall_at_k", _CUT, 1, _recall),
        Measure("precision_at_k", _CUT, 1, _precision),
        Measure("mrr", _CUT, 0, _reciprocal_rank),
        Measure("average_precision", _CUT, 0, _average_precision),
    )
}
"""The aggregates by name. `k`: the ranks that count, NULL for all; where it is required, NULL gives NULL."""


class Aggregate:
    """One aggregation, as an engine runs it: `step` for each row, then `final`."""

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        self._judged = Judged()
        self._settings: tuple[object, ...] | None = None

    def step(self, *values: object) -> None:
        """Take a row: `rank, relevance, *settings`.

        Raises InputError for what is no rank or grade, and for a rank that was there before.
        """
        rank, relevance, *rest = values
        settings = tuple(rest)
        if settings != self._settings:
            self._check_settings(settings)
        grade = None if relevance is None else self._grade("relevance", relevance)
        if grade is not None:
            self._judged.grades.append(grade)
        if rank is None:
            return
        place = self._rank(rank)
        if place in self._judged.retrieved:
            raise InputError(
                f"{self._measure.name}(): rank is {place} in two rows: it takes the documents of one query "
                "(GROUP BY the query's id), each with a rank of its own (row_number(), not rank())"
            )
        self._judged.retrieved[place] = grade or 0.0

    def final(self) -> float | None:
        """Return the value, None where nothing was judged."""
        values = dict(zip(self._measure.parameters, self._settings or (), strict=False))
        k, least = values.get("k"), values.get("min_relevance")
        if not self._judged.grades or (self._measure.required and k is None):
            return None
        name = self._measure.name
        return self._measure.compute(
            self._judged,
            None if k is None else check_k(name, "k", k),
            float(DEFAULT_MIN_RELEVANCE) if least is None else self._grade("min_relevance", least),
        )

    def _check_settings(self, settings: tuple[object, ...]) -> None:
        """Check k and min_relevance, which are the same in all rows."""
        name = self._measure.name
        for parameter, value in zip(self._measure.parameters, settings, strict=False):
            if value is None:
                continue
            if parameter == "k":
                check_k(name, "k", value)
            elif self._grade(parameter, value) <= 0:
                raise InputError(f"{name}(): min_relevance is {shown(value)}: it takes a grade above 0")
        if self._settings is not None:
            before, now = (", ".join(map(shown, values)) for values in (self._settings, settings))
            raise InputError(
                f"{name}(): {', '.join(self._measure.parameters[: len(settings)])} is {before} in one row and {now} "
                "in another: it takes the same in all rows of a group (GROUP BY it, too)"
            )
        self._settings = settings

    def _rank(self, value: object) -> int:
        number = value if isinstance(value, int) else _whole(value)
        if isinstance(value, bool) or number is None or number < 1:
            raise InputError(
                f"{self._measure.name}(): rank is {shown(value)}: it takes a whole number from 1, "
                "or NULL for a judged document that was not retrieved"
            )
        return number

    def _grade(self, argument: str, value: object) -> float:
        if not isinstance(value, (int, float, Decimal)) or not math.isfinite(value):
            raise InputError(
                f"{self._measure.name}(): {argument} is {shown(value)}: it takes a number"
                + (", or NULL for a document that was not judged" if argument == "relevance" else "")
            )
        return float(value)


def _whole(value: object) -> int | None:
    """Return a REAL or DECIMAL that is a whole number as an int; DuckDB's sum() over whole numbers is one."""
    if isinstance(value, (float, Decimal)) and math.isfinite(value) and value == int(value):
        return int(value)
    return None
