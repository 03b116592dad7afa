"""Queries for a corpus that nobody judged: known items, made from its own chunks.

For each of some chunks, a few of its words are drawn, the likelier the more they tell it from the others (their number
in the chunk times their inverse document frequency), and the chunk is what a search for them should find: simulated
known-item queries (Azzopardi, de Rijke, Balog: Building simulated queries for known-item topics, SIGIR 2007).
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from typing import TYPE_CHECKING

from sqlrag.errors import InputError
from sqlrag.values.arguments import check_k

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlrag.database import Database
    from sqlrag.evaluation.files import Qrels, Queries

__all__ = ["CAVEAT", "known_items"]

CAVEAT = (
    "These queries are words of the chunk that each is to find again. That shows whether the parts work together, how "
    "fast they are, and which first stage and top_k lose a chunk that is certainly there. It cannot show how questions "
    "in other words are answered: it flatters BM25 and exact wording, knows one right answer where there may be many, "
    "and a gain or loss of reranking may turn out otherwise on real questions. Judge some of those yourself: 50 tell "
    "more than 1,000 of these."
)
"""What known items can and cannot show."""

_WORD = re.compile(r"[^\W_]{2,}")
_TERMS = (4, 7)
_FEWEST_WORDS = 12
_SAMPLE = 20_000
"""Chunks that the document frequencies are counted in: of so many they hardly change any more."""


def known_items(db: Database, index: str, number: int, seed: int) -> tuple[Queries, Qrels]:
    """Return `number` queries and what each should find, the chunk's id; fewer if there are fewer usable chunks.

    The same database and seed give the same queries. Raises InputError for an index whose chunks are all too short.
    """
    number = check_k("evaluate", "synthetic", number)
    chance = random.Random(seed)  # noqa: S311 - a sample, no secret
    ids = [row[0] for row in db.execute(f'SELECT id FROM {db.schema}."{index}" ORDER BY id')]
    texts = _texts(db, index, sorted(chance.sample(ids, min(len(ids), max(_SAMPLE, number)))))
    words = {id_: Counter(word.casefold() for word in _WORD.findall(text)) for id_, text in texts.items()}
    frequencies = Counter(word for counted in words.values() for word in counted)
    usable = [id_ for id_, counted in words.items() if len(counted) >= _FEWEST_WORDS]
    if not usable:
        raise InputError(
            f"index {index!r} has no chunk of {_FEWEST_WORDS} different words: "
            "queries can't be made from it, give --queries and --qrels"
        )
    queries: Queries = {}
    for id_ in sorted(chance.sample(usable, min(number, len(usable)))):
        idf = {word: math.log(1 + len(words) / frequencies[word]) for word in words[id_]}
        weights = [count * idf[word] for word, count in words[id_].items()]
        queries[str(id_)] = " ".join(_drawn(chance, list(words[id_]), weights))
    return queries, {query: {query: 1} for query in queries}


def _texts(db: Database, index: str, ids: Sequence[int]) -> dict[int, str]:
    if not ids:
        return {}
    wanted = set(ids)
    rows = db.execute(
        f'SELECT id, text FROM {db.schema}."{index}" WHERE id BETWEEN ? AND ? ORDER BY id', (ids[0], ids[-1])
    )
    return {id_: text for id_, text in rows if id_ in wanted}


def _drawn(chance: random.Random, words: list[str], weights: list[float]) -> list[str]:
    """Return some words, drawn by their weights without replacement, in the order of the text.

    The largest of u ** (1 / weight): Efraimidis and Spirakis, Weighted random sampling with a reservoir, 2006.
    """
    keys = [chance.random() ** (1 / weight) for weight in weights]
    count = chance.randint(*_TERMS)
    best = sorted(range(len(words)), key=lambda place: -keys[place])[:count]
    return [words[place] for place in sorted(best)]
