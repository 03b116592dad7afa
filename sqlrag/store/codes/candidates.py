"""How many chunks with the nearest codes must be compared in full: as the index itself has measured it."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from sqlrag.errors import NotADatabaseError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlrag.store.registry import Connection, IndexRecord

__all__ = ["FEWEST", "Measured", "candidates_for", "has_measured", "measured_candidates"]

FEWEST = 300
"""Candidates for the 25 nearest, where no more are measured: benchmarks/index_questions.py says what they find."""

_AT, _POWER = 25, 0.9
"""The k that FEWEST is for, and with which power of k the number grows: 3.4 times as many for four times the k."""


_STEEPEST = 2
"""A greater power of k was not measured on any index."""


class Measured(NamedTuple):
    """A row of `sqlrag_candidates`: see sql/index/schema.sql."""

    k: int
    candidates: int
    recall: float
    chunks: int


def has_measured(connection: Connection) -> bool:
    """Tell whether a file has the table of what was measured, which earlier schemas did not have."""
    sql = "SELECT EXISTS (SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND name = 'sqlrag_candidates')"
    ((found,),) = connection.execute(sql)
    return bool(found)


def measured_candidates(connection: Connection, record: IndexRecord) -> list[Measured]:
    """Return what was measured on an index, in the order of k; nothing before it was."""
    sql = "SELECT k, candidates, recall, chunks FROM main.sqlrag_candidates WHERE index_name = ? ORDER BY k"
    found = [Measured(*row) for row in connection.execute(sql, (record.name,))]
    for one in found:
        if (
            not all(isinstance(value, int) for value in (one.k, one.candidates, one.chunks))
            or min(one.k, one.candidates) < 1
        ):
            raise NotADatabaseError(f"this database is damaged: its table sqlrag_candidates has {tuple(one)!r}")
    return found


def candidates_for(k: int, measured: Sequence[Measured]) -> int:
    """Return how many chunks to compare in full for the k nearest, between and beyond what was measured.

    The number grows with a power of k, which two neighbouring measurements give.
    """
    least = max(k, round(FEWEST * math.pow(k / _AT, _POWER)))
    if len(measured) < 2:
        return max(least, *(one.candidates for one in measured if one.k >= k), 0)
    pairs = list(pairwise(measured))
    low, high = next((pair for pair in pairs if k <= pair[1].k), pairs[-1])
    power = min(math.log(max(high.candidates / low.candidates, 1)) / math.log(high.k / low.k), _STEEPEST)
    return max(least, round(low.candidates * math.pow(k / low.k, power)))
