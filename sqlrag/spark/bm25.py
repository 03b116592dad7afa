"""BM25 with the statistics of all shards, so that a score is the one that a single index would give.

FTS5's own bm25() takes the number of rows, their mean length and the frequency of each term from its table
(https://www.sqlite.org/fts5.html#the_bm25_function). Here they are given, and the rest is the same calculation in the
same order.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from sqlrag.store.full_text import match_expression
from sqlrag.store.names import in_main, quote

if TYPE_CHECKING:
    import apsw

    from sqlrag.store.registry import IndexRecord

__all__ = ["FUNCTION", "ROWS", "TOKENS", "counts", "register_bm25"]

FUNCTION = "sqlrag_bm25"

K1, B = 1.2, 0.75
LEAST = 1e-6
"""FTS5's weight of a term that more than half of the rows have."""

ROWS, TOKENS = -1, -2
"""In place of the number of a term: how many rows there are, and how many tokens they have."""

_AVERAGES = 1
"""The row of `%_data` in which FTS5 keeps the number of rows and the tokens of each column."""


def counts(connection: apsw.Connection, record: IndexRecord, query: str) -> Iterator[tuple[int, int]]:
    """Yield what BM25 needs to know of one shard: its rows, their tokens, and how many rows have each term."""
    words = in_main(f"{record.name}_fts")
    averages = list(
        connection.execute(f"SELECT block FROM {in_main(f'{record.name}_fts_data')} WHERE id = {_AVERAGES}")
    )
    numbers = _varints(averages[0][0]) if averages else []
    yield ROWS, numbers[0] if numbers else 0
    yield TOKENS, sum(numbers[1:])
    for number, term in enumerate(match_expression(query, record.tokenizer).split(" OR ")):
        sql = f"SELECT count(*) FROM {words} WHERE {quote(f'{record.name}_fts')} MATCH ?"
        ((rows,),) = connection.execute(sql, (term,))
        yield number, rows


def register_bm25(connection: apsw.Connection) -> None:
    """Give a connection the function `sqlrag_bm25(<table>, statistics)`, for full-text queries."""
    connection.register_fts5_function(FUNCTION, _bm25)


def _bm25(api: apsw.FTS5ExtensionApi, /, *arguments: object) -> float:
    weights, mean = _weights(str(arguments[0]))
    ratio = K1 * (1 - B + B * api.column_size(-1) / mean)
    score = 0.0
    for phrase, weight in enumerate(weights):
        found = float(sum(map(len, api.phrase_locations(phrase))))
        score += weight * ((found * (K1 + 1.0)) / (found + ratio))
    return -1.0 * score


@lru_cache(maxsize=256)
def _weights(statistics: str) -> tuple[Sequence[float], float]:
    """Return the weight of each term, and the mean length of a row; `statistics`: the sums of `counts`, as JSON."""
    sums = {int(number): int(count) for number, count in json.loads(statistics).items()}
    rows = sums[ROWS]
    weights = []
    for number in range(len(sums) - 2):
        weight = math.log((rows - sums[number] + 0.5) / (sums[number] + 0.5))
        weights.append(weight if weight > 0 else LEAST)
    return weights, sums[TOKENS] / rows


def _varints(block: bytes) -> list[int]:
    """Return the numbers of a record of FTS5's, each in SQLite's variable-length form of up to nine bytes."""
    numbers, value, length = [], 0, 0
    for byte in block:
        length += 1
        value = value << 8 | byte if length == 9 else value << 7 | byte & 0x7F
        if length == 9 or byte < 0x80:
            numbers.append(value)
            value, length = 0, 0
    return numbers
