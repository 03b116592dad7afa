"""Checks of arguments, and their defaults."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable
from decimal import Decimal
from functools import wraps
from numbers import Real
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from sqlrag.errors import InputError

if TYPE_CHECKING:
    from sqlrag.store.registry import IndexRecord

__all__ = [
    "COPIES",
    "DEFAULT_CUTOFF",
    "DEFAULT_FIRST_STAGE_WEIGHT",
    "DEFAULT_IDLE_SECONDS",
    "DEFAULT_INDEX",
    "DEFAULT_KNOWN_ITEMS",
    "DEFAULT_MAX_CONTEXT",
    "DEFAULT_MIN_RELEVANCE",
    "DEFAULT_RESAMPLES",
    "DEFAULT_SEED",
    "DEFAULT_SPLIT",
    "DEFAULT_SYNC_ROWS",
    "DEFAULT_TOKENIZER",
    "DEFAULT_TOP_K",
    "DEFAULT_TOP_KS",
    "DEFAULT_TOP_N",
    "DEFAULT_VECTORS",
    "DEFAULT_VECTOR_WEIGHT",
    "check_budget",
    "check_candidates",
    "check_count",
    "check_flag",
    "check_k",
    "check_no_nprobe",
    "check_score_cache",
    "check_share",
    "check_text",
    "check_top_n",
    "check_vector",
    "number",
    "several",
    "shown",
    "whole",
    "without_nprobe",
]

Arguments = ParamSpec("Arguments")
Returned = TypeVar("Returned")

DEFAULT_INDEX = "chunks"
"""The index that `ingest` fills unless another is named."""

DEFAULT_TOP_K = 25
"""How many candidates the first stage finds."""

DEFAULT_VECTORS = "float32"
"""How a new index stores its vectors."""

DEFAULT_TOP_N = 3
"""How many results the second stage returns."""

COPIES = 4
"""Where copies of a passage fill the candidates, so many times as many are looked at."""

DEFAULT_MAX_CONTEXT = 2_000
"""How many tokens of passages a prompt gets."""

DEFAULT_SYNC_ROWS = 64
"""How many changed rows a query indexes before it runs, within a time limit (sqlrag/indexing/freshness.py)."""

DEFAULT_IDLE_SECONDS = 600.0
"""A model server ends after this long without a message from any client."""

DEFAULT_TOKENIZER = "porter"
"""The tokenizer of a new index's full text: the best one on the English collections of benchmarks/hybrid.md."""

DEFAULT_VECTOR_WEIGHT = 0.5
"""The vectors' share in hybrid_top_k(). The paper uses equal weights, and no others are better on all collections of
benchmarks/hybrid.md."""

DEFAULT_FIRST_STAGE_WEIGHT = 0.3
"""How much hybrid_top_k()'s score counts beside the reranker's: chosen in benchmarks/evaluation.md."""

DEFAULT_MIN_RELEVANCE = 1
"""The lowest grade at which recall_at_k(), mrr() and others count a document as relevant, as in trec_eval."""

DEFAULT_TOP_KS = (10, 25, 50, 100)
"""The numbers of candidates that an evaluation compares."""

DEFAULT_CUTOFF = 10
"""The rank at which an evaluation cuts nDCG, MRR and recall."""

DEFAULT_KNOWN_ITEMS = 100
"""How many queries an evaluation without judgements makes."""

DEFAULT_SPLIT = "test"
"""Which judgements of a BEIR folder an evaluation uses."""

DEFAULT_RESAMPLES = 2_000
"""Resamples of a bootstrap interval: they place the ends of a 95 % interval to about a twentieth of its width."""

DEFAULT_SEED = 0
"""Seed of an evaluation's random choices: the same seed gives the same figures."""

_MAX_K = 1_000_000_000


def shown(value: object) -> str:
    """Return a value as error messages show it: shortened, and a BLOB by its length."""
    if isinstance(value, bytes):
        return f"a BLOB of {len(value)} bytes"
    if isinstance(value, str) and len(value) > 60:
        return repr(value[:57] + "...")
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - repr() of a foreign class may raise anything
        text = f"a {type(value).__name__}"
    return text if len(text) <= 200 else text[:197] + "..."


def whole(value: object) -> int | None:
    """Return a whole number as an int, also one of numpy or an IntEnum; None for anything else, such as True."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]  # it raises for other types
    except TypeError:
        return None


def number(value: object) -> float | None:
    """Return a number of any type as a float, including NaN; None for anything else, such as True."""
    if isinstance(value, bool) or not isinstance(value, (Real, Decimal)):
        return None
    try:
        return float(value)
    except (OverflowError, ValueError):  # too large for a float; a signalling NaN
        return math.inf


def several(argument: str, value: object, of: str) -> list[Any]:
    """Return the members of an iterable. Raises InputError for anything else; a text counts as one value, not many."""
    if isinstance(value, (str, bytes, bytearray, memoryview)) or not isinstance(value, Iterable):
        raise InputError(f"{argument} is {shown(value)}: it takes a list of {of}")
    return list(value)


def check_flag(function: str, argument: str, value: object) -> bool:
    """Return a flag as a bool. Accepts True, False, 1 and 0, and numpy's booleans; otherwise raises InputError."""
    if type(value).__name__ in ("bool", "bool_"):
        return bool(value)
    if (number := whole(value)) in (0, 1):
        return bool(number)
    raise InputError(f"{function}(): {argument} is {shown(value)}: it takes True or False")


def check_text(function: str, argument: str, value: object) -> str:
    """Return a text. Raises InputError for anything else."""
    if not isinstance(value, str):
        raise InputError(f"{function}(): {argument} is {shown(value)}: it takes a text (CAST({argument} AS TEXT))")
    return value


def check_k(function: str, argument: str, value: object) -> int:
    """Return a whole number from 1. Raises InputError for anything else."""
    count = whole(value)
    if count is None or not 1 <= count <= _MAX_K:
        raise InputError(f"{function}(): {argument} is {shown(value)}: it takes a whole number from 1{_most(count)}")
    return count


def check_count(function: str, argument: str, value: object) -> int:
    """Return a whole number from 0. Raises InputError for anything else."""
    count = whole(value)
    if count is None or not 0 <= count <= _MAX_K:
        raise InputError(f"{function}(): {argument} is {shown(value)}: it takes a whole number from 0{_most(count)}")
    return count


def _most(count: int | None) -> str:
    """Return the end of an error message: the greatest number, for a count that exceeds it."""
    return f" to {_MAX_K:,}" if count is not None and count > _MAX_K else ""


def check_candidates(function: str, value: object, k: int = 1) -> int | None:
    """Return how many chunks a search compares in full, or None for the number that the index has measured.

    Raises InputError for fewer than `k`. An older statement may have an nprobe in this place.
    """
    candidates = None if value is None else check_k(function, "candidates", value)
    if candidates is not None and candidates < k:
        raise InputError(
            f"{function}(): candidates is {candidates}, fewer than k = {k}: it is how many chunks are compared in full "
            "(and has taken the place of nprobe, which counted cells): give k or more"
        )
    return candidates


def check_no_nprobe(function: str, value: object) -> None:
    """Raise InputError for an nprobe of an older statement or call, unless it is None."""
    if value is not None:
        raise InputError(
            f"{function}(): nprobe is {shown(value)}: indexes have no cells any more. Use candidates instead: how many "
            "chunks a search compares in full, such as candidates = 500"
        )


def without_nprobe(function: Callable[Arguments, Returned]) -> Callable[Arguments, Returned]:
    """Let a call that still gives `nprobe` fail with an InputError that names `candidates`."""

    @wraps(function)
    def checked(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Returned:
        check_no_nprobe(function.__name__, kwargs.pop("nprobe", None))
        return function(*args, **kwargs)

    return checked


def check_share(function: str, argument: str, value: object) -> float:
    """Return a number from 0 to 1. Raises InputError for anything else."""
    share = number(value)
    if share is None or not 0 <= share <= 1:
        raise InputError(f"{function}(): {argument} is {shown(value)}: it takes a number from 0 to 1")
    return share


def check_top_n(value: object, top_k: int) -> int:
    """Return the number of results. Raises InputError if it is not from 1 to `top_k`."""
    top_n = check_k("search", "top_n", value)
    if top_n > top_k:
        raise InputError(
            f"search(): top_n is {top_n}, more than top_k = {top_k}: "
            "the second stage chooses among the candidates of the first, so raise top_k"
        )
    return top_n


def check_budget(value: object) -> float:
    """Return the milliseconds for reranking. Raises InputError unless they are a finite number from 0."""
    milliseconds = number(value)
    if milliseconds is None or not 0 <= milliseconds < math.inf:  # also false for NaN
        raise InputError(
            f"search(): budget_ms is {shown(value)}: it takes milliseconds for reranking, from 0; leave it out for "
            "as many as it needs"
        )
    return milliseconds


def check_score_cache(value: object) -> int | None:
    """Return the size of a score cache, or None for no cache. Raises InputError for anything else."""
    if value is None:
        return None
    scores = whole(value)
    if scores is None or not 1 <= scores <= _MAX_K:
        raise InputError(
            f"score_cache is {shown(value)}: it takes how many scores to keep, from 1 (100,000 take 10 MB); "
            "leave it out to keep none"
        )
    return scores


def check_vector(value: object, record: IndexRecord) -> bytes:
    """Return a float32 query vector for an index. Raises InputError for a wrong length, for NaN and for infinity."""
    if not isinstance(value, bytes):
        raise InputError(f"query is {shown(value)}: it takes a text, or a vector as embed() returns it")
    if len(value) != 4 * record.dimension:
        found = (
            f"{len(value) // 4} dimensions"
            if len(value) % 4 == 0
            else f"{len(value)} bytes, which is no float32 vector"
        )
        raise InputError(
            f"query is a vector of {found}, but index {record.name!r} has {record.dimension} ({record.embedder}): "
            "give the text itself, or embed() it with that model"
        )
    if not all(map(math.isfinite, memoryview(value).cast("f"))):
        raise InputError("query is a vector with NaN or infinity in it: nothing is near to that")
    return value
