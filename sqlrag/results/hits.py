"""What a search finds: hits, a comparison of both orders, passages for a prompt."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from sqlrag.values.arguments import COPIES

__all__ = ["Comparison", "Context", "Hit", "Hits", "Passage", "distinct_hits", "hits_of", "without_copies"]


@dataclass(frozen=True)
class Hit:
    """One chunk that a search found. Ranks count from 1.

    Attributes:
        id: Id of the chunk in the table of the index's chunks.
        source_id: Id of the document, or the key of the row in the indexed table (a JSON array if the key has several
            columns).
        uri: Where the document came from; None in an index over a table.
        title: Title of the document; None in an index over a table.
        metadata: Metadata of the document, or the row's columns that are `filters` of the index.
        ordinal: Position of the chunk in its text, from 0.
        start_char: Offset of its first character in the text.
        end_char: Offset after its last character.
        text: The text of the chunk.
        score: The reranker's score; None if the budget of the search left it unscored.
        distance: Euclidean distance of the chunk's vector from the query's; cosine similarity is
            `1 - distance * distance / 2`.
        rank_before: Rank among the candidates of the first stage.
        rank_after: Rank after reranking. Chunks without a score follow those that have one, in the order of the first
            stage.
        reranked: How many candidates were scored: all of them, unless the search had a budget.
        copies: The uris of other documents that have the same passage.

    Examples:
        >>> hit = db.search("how do I undo a migration?")[0]
        >>> hit.title, hit.ordinal, hit.rank_after, hit.reranked
        ('Migrations', 0, 1, 3)
    """

    id: int
    source_id: Any
    uri: str | None
    title: str | None
    metadata: dict[str, Any]
    ordinal: int
    start_char: int
    end_char: int
    text: str
    score: float | None
    distance: float
    rank_before: int
    rank_after: int
    reranked: int
    copies: tuple[str, ...] = ()


_HIT_COLUMNS = tuple(field.name for field in fields(Hit))[:-1]
"""The fields of a hit that a statement fills: all but the copies."""


def hits_of(rows: Iterable[Iterable[Any]]) -> list[Hit]:
    """Return the hits in the rows of a statement that is in search.sql or has its columns."""
    values = [dict(zip(_HIT_COLUMNS, row, strict=True)) for row in rows]
    return [Hit(**value | {"metadata": json.loads(value["metadata"] or "{}")}) for value in values]


_MOST = 1_000
"""Where copies of a passage fill the candidates, no more than these are looked at on that account."""


def distinct_hits(ask: Callable[[int], Sequence[Hit]], top_k: int, top_n: int) -> tuple[list[Hit], int]:
    """Return all candidates after reranking, each passage once, and how many candidates that are.

    `ask` returns so many of them. If copies leave fewer than `top_n` passages, more than `top_k` are looked at.
    """
    hits = ask(top_k)
    found = without_copies(hits)
    more = min(COPIES * top_k, _MOST)
    if len(found) < min(top_n, len(hits)) and len(hits) == top_k < more:
        return without_copies(ask(more)), more
    return found, top_k


def without_copies(hits: Sequence[Hit]) -> list[Hit]:
    """Return hits in their order, each passage once, with the documents that have it, too; ranks count passages."""
    best: dict[str, Hit] = {}
    copies: dict[str, list[str]] = {}
    for hit in hits:
        if best.setdefault(hit.text, hit) is not hit and hit.uri is not None:
            copies.setdefault(hit.text, []).append(hit.uri)
    if len(best) == len(hits):
        return list(hits)
    texts = dict.fromkeys(hit.text for hit in sorted(hits, key=lambda hit: hit.rank_before))
    before = {text: rank for rank, text in enumerate(texts, 1)}
    return [
        replace(hit, rank_before=before[text], rank_after=rank, copies=tuple(dict.fromkeys(copies.get(text, ()))))
        for rank, (text, hit) in enumerate(best.items(), 1)
    ]


class Hits(list[Hit]):
    """The hits of a search, best first: a list that a notebook shows as cards, with a chart of both orders.

    Examples:
        >>> hits = db.search("how do I undo a migration?")
        >>> [hit.title for hit in hits[:1]], "<svg" in hits._repr_html_()
        (['Migrations'], True)
    """

    def __init__(
        self, hits: Iterable[Hit] = (), words: Callable[[Sequence[str]], list[list[tuple[int, int]]]] | None = None
    ) -> None:
        super().__init__(hits)
        self._words = words

    def matching_words(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Return where texts have words of the question.

        Parameters:
            texts: Texts, such as those of the hits.

        Returns:
            For each text the `(start, end)` of each word, in characters.
        """
        return [[] for _ in texts] if self._words is None else self._words(texts)

    def _repr_html_(self) -> str:
        from sqlrag.results.drawing import movement_chart

        return self._cards() + movement_chart(self, len(self))

    def _cards(self) -> str:
        from sqlrag.results.drawing import cards

        return cards(self, self.matching_words([hit.text for hit in self]))


@dataclass(frozen=True)
class Comparison:
    """The order of the candidates before and after reranking.

    Attributes:
        query: The question.
        top_k: How many candidates the first stage was asked for; more than the caller's `top_k` if copies of a passage
            had left fewer than `top_n`.
        top_n: How many of them count as results.
        candidates: All candidates, in their order after reranking. A passage that several documents have is one.

    Examples:
        >>> comparison = db.compare("how do I undo a migration?", top_k=3, top_n=1)
        >>> [hit.rank_after for hit in comparison.candidates]
        [1, 2, 3]
        >>> comparison.pushed_out
        []
    """

    query: str
    top_k: int
    top_n: int
    candidates: list[Hit]

    @property
    def hits(self) -> Hits:
        """The `top_n` after reranking, best first."""
        return Hits(self.candidates[: self.top_n], getattr(self.candidates, "_words", None))

    @property
    def pushed_out(self) -> list[Hit]:
        """The hits that only the first stage had among its `top_n`, in the order of the first stage."""
        out = [hit for hit in self.candidates if hit.rank_before <= self.top_n < hit.rank_after]
        return sorted(out, key=lambda hit: hit.rank_before)

    def _repr_html_(self) -> str:
        """Return the hits as cards and all candidates as a chart, for a notebook."""
        from sqlrag.results.drawing import movement_chart

        return self.hits._cards() + movement_chart(self.candidates, self.top_n)  # noqa: SLF001 - of this module


@dataclass(frozen=True)
class Passage:
    """A passage of a `Context`: a chunk, or several neighbouring chunks as one text.

    Attributes:
        number: The number to cite it by, from 1.
        chunks: Ids of its chunks, in the order of the text.
        source_id: Id of the document, or the key of the row in the indexed table.
        uri: Where the document came from; None in an index over a table.
        title: Title of the document; None in an index over a table.
        metadata: Metadata of the document, or the row's columns that are `filters` of the index.
        start_char: Offset of its first character in the document.
        end_char: Offset after its last character.
        score: The reranker's score of its best chunk.
        rank_before: Rank of that chunk among the candidates of the first stage.
        rank_after: Rank of that chunk after reranking.
        text: The text.
    """

    number: int
    chunks: list[int]
    source_id: Any
    uri: str | None
    title: str | None
    metadata: dict[str, Any]
    start_char: int
    end_char: int
    score: float | None
    rank_before: int
    rank_after: int
    text: str


@dataclass(frozen=True)
class Context:
    """The passages to put into the prompt of a language model. `str()` of it is its text.

    Attributes:
        question: The question.
        text: The numbered passages with their sources, in the format that was asked for.
        tokens: Tokens of `text`, as the index's embedder counts them.
        passages: The passages, in the order of the text.

    Examples:
        >>> context = db.context("how do I undo a migration?", max_tokens=60)
        >>> context.passages[0].title, context.passages[0].number, context.tokens <= 60
        ('Migrations', 1, True)
    """

    question: str
    text: str
    tokens: int
    passages: list[Passage]

    def __str__(self) -> str:
        return self.text
