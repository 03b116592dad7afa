"""Bootstrap intervals of means over queries.

These are percentile intervals: queries are drawn with replacement, many times, and the interval is the middle 95 % of
the means (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13; for retrieval: Sakai, SIGIR 2006).
All columns have the same resamples, so the difference of two columns is paired.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from sqlrag.evaluation.report import Estimate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Bootstrap"]

_LEVEL = 95
_NUMBERS_AT_ONCE = 4_000_000

Column = TypeVar("Column")


class Bootstrap(Generic[Column]):
    """Resampled means of columns. Each column has one value for each query, in the same order."""

    def __init__(self, columns: Mapping[Column, Sequence[float]], resamples: int, seed: int) -> None:
        import numpy as np

        values = np.array(list(columns.values()), dtype=np.float64).T
        means = _resampled(values, resamples, seed)
        self._means = dict(zip(columns, values.mean(axis=0).tolist(), strict=True))
        self._resampled = {column: means[:, place] for place, column in enumerate(columns)}

    def mean(self, column: Column) -> Estimate:
        """Return the mean of a column and its interval."""
        return _estimate(self._means[column], self._resampled[column])

    def difference(self, column: Column, other: Column) -> Estimate:
        """Return the mean of `column` minus that of `other`, paired by query, and its interval."""
        return _estimate(self._means[column] - self._means[other], self._resampled[column] - self._resampled[other])


def _resampled(values: NDArray[np.float64], resamples: int, seed: int) -> NDArray[np.float64]:
    """Return the means of each resample, (resamples, columns), from the number of times each query was drawn."""
    import numpy as np

    queries = len(values)
    random = np.random.default_rng(seed)
    at_once = max(1, _NUMBERS_AT_ONCE // queries)
    blocks = []
    for start in range(0, resamples, at_once):
        drawn = random.integers(queries, size=(min(at_once, resamples - start), queries))
        counts = np.stack([np.bincount(one, minlength=queries) for one in drawn]).astype(np.float64)
        blocks.append(counts @ values / queries)
    return np.concatenate(blocks)


def _estimate(mean: float, resampled: NDArray[np.float64]) -> Estimate:
    import numpy as np

    tail = (100 - _LEVEL) / 2
    low, high = np.percentile(resampled, [tail, 100 - tail]).tolist()
    return Estimate(mean, low, high)
