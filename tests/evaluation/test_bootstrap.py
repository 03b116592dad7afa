"""Intervals and verdicts: pure functions of the values per query."""

from __future__ import annotations

import math
import random

import pytest

from sqlrag.evaluation.bootstrap import Bootstrap
from sqlrag.evaluation.verdict import verdict_of

RESAMPLES = 2_000


def drawn(count: int, mean: float, spread: float, seed: int) -> list[float]:
    """Values of a normal distribution."""
    chance = random.Random(seed)
    return [chance.gauss(mean, spread) for _ in range(count)]


def test_an_interval_is_that_of_the_normal_approximation():
    """Of many values the interval is mean ± 1.96 standard errors, but for the resamples' own noise."""
    values = drawn(400, 0.5, 0.2, seed=1)
    estimate = Bootstrap({"a": values}, RESAMPLES, 0).mean("a")
    mean = sum(values) / len(values)
    error = math.sqrt(sum((value - mean) ** 2 for value in values)) / len(values)
    assert estimate.mean == pytest.approx(mean, abs=1e-12)
    assert estimate.low == pytest.approx(mean - 1.96 * error, abs=0.2 * error)
    assert estimate.high == pytest.approx(mean + 1.96 * error, abs=0.2 * error)


def test_intervals_cover_the_truth():
    """About 95 of 100 intervals hold the mean that the values were drawn from."""
    held = 0
    for seed in range(200):
        estimate = Bootstrap({"a": drawn(60, 0.0, 1.0, seed)}, 500, seed).mean("a")
        held += estimate.low <= 0 <= estimate.high
    assert 178 <= held <= 199


def test_a_difference_is_paired():
    """Where every query gains the same, the interval of the gain has no width, however wide those of the means are."""
    before = drawn(50, 0.5, 0.3, seed=2)
    values = Bootstrap({"before": before, "after": [value + 0.1 for value in before]}, RESAMPLES, 0)
    gain = values.difference("after", "before")
    assert (gain.low, gain.mean, gain.high) == pytest.approx((0.1, 0.1, 0.1), abs=1e-12)
    assert values.mean("before").high - values.mean("before").low > 0.1


def test_the_seed_decides():
    """The same seed gives the same interval, another one another; many queries go through in blocks."""
    values = {"a": drawn(5_000, 0.5, 0.3, seed=3)}
    first, again, other = (Bootstrap(values, RESAMPLES, seed).mean("a") for seed in (0, 0, 1))
    assert first == again
    assert first.mean == other.mean
    assert first.low != other.low


def test_one_query():
    """One query has an interval without width."""
    estimate = Bootstrap({"a": [0.25]}, RESAMPLES, 0).mean("a")
    assert (estimate.low, estimate.mean, estimate.high) == (0.25, 0.25, 0.25)


def verdict(gains: dict[int, float], *, spread: float = 0.02, queries: int = 60):
    """Return the verdict where reranking changes each query by about so much at each top_k."""
    columns = {}
    before = drawn(queries, 0.5, 0.2, seed=4)
    for place, (top_k, gain) in enumerate(gains.items()):
        noise = drawn(queries, 0.0, spread, seed=5 + place)
        columns["vector", top_k, False, "ndcg"] = before
        columns["vector", top_k, True, "ndcg"] = [a + gain + b for a, b in zip(before, noise, strict=True)]
    return verdict_of("vector", list(gains), Bootstrap(columns, RESAMPLES, 0), 10, queries)


def test_it_pays_and_stops():
    """The climb ends where the next step has no interval above 0."""
    found = verdict({10: 0.03, 25: 0.08, 50: 0.08, 100: 0.07})
    assert (found.pays, found.best_top_k) == (True, 25)
    assert "reranking pays: nDCG@10 0." in found.text
    assert "at top_k 25. It stops paying there: beyond it no gain can be shown (25 → 50: " in found.text
    assert "25 → 100: -0.0" in found.text


def test_it_pays_to_the_end():
    """Where every step gains, the largest top_k is not called the end."""
    found = verdict({10: 0.02, 25: 0.05, 100: 0.1})
    assert (found.pays, found.best_top_k) == (True, 100)
    assert "It had not stopped paying at 100, the largest top_k tried." in found.text


def test_a_small_top_k_that_hurts_is_said():
    """It pays at one top_k and hurts at another: both are said."""
    found = verdict({10: -0.05, 25: 0.08})
    assert (found.pays, found.best_top_k) == (True, 25)
    assert "It hurts at top_k 10 (-0.0" in found.text


def test_it_hurts():
    """An interval below 0 is said to hurt."""
    found = verdict({10: -0.05, 25: -0.04})
    assert (found.pays, found.best_top_k) == (False, None)
    assert found.text.startswith("reranking hurts here: nDCG@10 changes by top_k 10: -0.0")


def test_it_cannot_be_told():
    """Intervals with 0 inside allow no verdict, and the number of queries is named."""
    found = verdict({10: 0.0, 25: 0.001}, spread=0.2, queries=12)
    assert (found.pays, found.best_top_k) == (None, None)
    assert found.text.startswith("with 12 queries no gain from reranking can be shown")
