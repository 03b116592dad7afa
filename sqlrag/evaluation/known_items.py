"""Making queries for a corpus without judgements: known items, from its own chunks.

Some words of a chunk are a query that should find the chunk. They are drawn with a probability in proportion to their
count in the chunk times their inverse document frequency, which prefers the words that distinguish the chunk from
others. These are simulated known-item queries (Azzopardi, de Rijke, Balog: Building simulated queries for known-item
topics, SIGIR 2007).
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
"""A note for the user about what known items can and cannot show."""

_WORD = re.compile(r"[^\W_]{2,}")
_TERMS = (4, 7)
_FEWEST_WORDS = 12
_SAMPLE = 20_000
"""Document frequencies are counted in this many chunks. More would hardly change them."""


def known_items(db: Database, index: str, number: int, seed: int) -> tuple[Queries, Qrels]:
    """Return `number` queries, and the id of the chunk that each should find; fewer if there are fewer usable chunks.

    The same database and seed give the same queries. Raises InputError if all chunks of the index are too short.
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
    """Draw some words by their weights, without replacement, and return them in the order of the text.

    The words with the largest u ** (1 / weight) are drawn (Efraimidis and Spirakis, Weighted random sampling with a
    reservoir, 2006).
    """
    keys = [chance.random() ** (1 / weight) for weight in weights]
    count = chance.randint(*_TERMS)
    best = sorted(range(len(words)), key=lambda place: -keys[place])[:count]
    return [words[place] for place in sorted(best)]
