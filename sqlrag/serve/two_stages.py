"""What the page shows of a question: both orders, the time of each part, and why a passage came."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from sqlrag.errors import InputError
from sqlrag.results import Comparison
from sqlrag.results.hits import distinct_hits, hits_of
from sqlrag.store.highlight import matching_words
from sqlrag.store.names import literal, quote
from sqlrag.store.statements import filled, fused_score, statement
from sqlrag.values.arguments import DEFAULT_FIRST_STAGE_WEIGHT, check_budget, shown
from sqlrag.values.json_values import json_value

if TYPE_CHECKING:
    from sqlrag.database import Database
    from sqlrag.results import Hit, IndexInfo

__all__ = ["FIRST_STAGES", "Asked", "answered", "marked"]

FIRST_STAGES = ("vector", "text", "hybrid")

ANSWER_BYTES = 60_000
"""Bytes of the texts of an answer, of which each hit gets an equal share."""

_MOST_BYTES = 8_000
"""Bytes of one text: more than any chunk that a model reads whole."""

_MOST_RANKS = 50
"""Candidates whose rank before or after is beyond this are counted, not sent."""

_MOST_COPIES = 5
"""Documents with the same passage that are named; others are counted."""

_MOST_MARKED = 25
"""Hits whose best sentence is looked for."""

_MOST_SENTENCES = 20
"""Sentences of a hit that are compared with the question."""

# Escaped are the closing quotation marks, and the full stops of Chinese and Japanese, which no blank follows.
_SENTENCE_END = re.compile("(?<=[.!?])[\"'\u201d\u2019)\\]]*\\s+|(?<=[\u3002\uff01\uff1f])|\\n\\s*\\n")

WORD, SENTENCE = 1, 2
"""How a piece of a text is marked: as a word of the question, as the nearest sentence, or as both."""


@dataclass(frozen=True)
class Asked:
    """A question with the settings of both stages. Raises InputError for those that do not go together."""

    question: str
    index: str
    first_stage: str
    top_k: int
    top_n: int
    filter: str | None
    reranker: str | None
    budget_ms: float | None

    def __post_init__(self) -> None:
        if self.first_stage not in FIRST_STAGES:
            raise InputError(f"first_stage is {shown(self.first_stage)}: it is one of {', '.join(FIRST_STAGES)}")
        if self.budget_ms is not None:
            check_budget(self.budget_ms)
            if not self.is_search:
                raise InputError(
                    "budget_ms goes with the first stage 'hybrid' and the default reranker: leave it out, or these"
                )

    @property
    def is_search(self) -> bool:
        """Whether the SQL function search() gives this answer."""
        return self.first_stage == "hybrid" and self.reranker is None

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of the statements."""
        return {"index": self.index, "question": self.question, "top_k": self.top_k, "filter": self.filter}


def answered(database: Database, asked: Asked, info: IndexInfo) -> dict[str, Any]:
    """Return the candidates in both orders, the time of each part in milliseconds, and statements that do the same."""
    clock = [time.perf_counter()]
    if asked.first_stage != "text":
        database.execute("SELECT embed(?, ?)", (asked.question, info.embedder)).fetchall()
    clock.append(time.perf_counter())
    function = f"{asked.first_stage}_top_k"
    database.execute(statement("page/first_stage", function=function), asked.parameters).fetchall()
    clock.append(time.perf_counter())
    if asked.is_search:
        found = database.compare(
            asked.question,
            asked.index,
            top_k=asked.top_k,
            top_n=asked.top_n,
            filter=asked.filter,
            budget_ms=asked.budget_ms,
        )
    else:
        found = _by_statement(database, asked, info, function)
    clock.append(time.perf_counter())
    embed, index, both = (1000 * (after - before) for before, after in pairwise(clock))
    most = max(_MOST_RANKS, asked.top_n)
    sql = _sql(database, asked, found)
    return {
        "hits": json_value(
            [_cut(hit, asked.top_n) for hit in found.candidates if min(hit.rank_before, hit.rank_after) <= most]
        ),
        "candidates": len(found.candidates),
        "milliseconds": {"embed": embed, "index": index, "rerank": max(both - index, 0.0)},
        "code": {"sql": sql, "python": _python(database, asked, sql)},
    }


def _by_statement(database: Database, asked: Asked, info: IndexInfo, function: str) -> Comparison:
    """Ask with a first stage or a reranker that search() does not have. Rows of tables come without their columns."""
    main = database.schema
    is_document = info.source == "documents"
    columns = {name: f"document.{name}" if is_document else "NULL" for name in ("uri", "title", "metadata")}
    first = "hit.score" if asked.first_stage == "hybrid" else "0"
    sql = statement(
        "page/two_stages",
        index=info.index,
        main=main,
        passage=_passage(database, info.index, "chunk"),
        function=function,
        document=", ".join(f"{source} AS {name}" for name, source in columns.items()),
        first=first,
        fused=fused_score("score", "first", DEFAULT_FIRST_STAGE_WEIGHT),
        join=f"LEFT JOIN {main}.documents AS document ON document.id = chunk.source_id" if is_document else "",
    )

    def ask(top_k: int) -> list[Hit]:
        parameters = {**asked.parameters, "reranker": asked.reranker, "top_k": top_k}
        rows = database.execute(sql, parameters).fetchall()
        return hits_of((*row, place, len(rows)) for place, row in enumerate(rows, start=1))

    hits, top_k = distinct_hits(ask, asked.top_k, asked.top_n) if is_document else (ask(asked.top_k), asked.top_k)
    return Comparison(asked.question, top_k, asked.top_n, hits)


def _cut(hit: Hit, top_n: int) -> dict[str, Any]:
    """Return a candidate in few bytes: the text of a hit as far as its share allows, that of others not at all."""
    is_hit = hit.rank_after <= top_n
    text = _share(hit.text, top_n) if is_hit else ""
    there = [(name, value) for name, value in hit.metadata.items() if value is not None] if is_hit else []
    return {
        "id": hit.id,
        "source_id": None if hit.source_id is None else _first_bytes(str(hit.source_id), 100),
        "uri": None if hit.uri is None else _first_bytes(hit.uri, 300),
        "title": None if hit.title is None else _first_bytes(hit.title, 120),
        "metadata": {_first_bytes(name, 40): _first_bytes(_plain(value), 80) for name, value in there[:6]},
        "text": text,
        "is_cut": len(text) < len(hit.text),
        "ordinal": hit.ordinal,
        "score": hit.score,
        "rank_before": hit.rank_before,
        "rank_after": hit.rank_after,
        "copies": [_first_bytes(uri, 100) for uri in hit.copies[:_MOST_COPIES]] if is_hit else [],
        "more_copies": max(len(hit.copies) - _MOST_COPIES, 0),
    }


def _plain(value: Any) -> str:
    """Return a value of the metadata as people read it: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(json_value(value), ensure_ascii=False, default=str)


def _share(text: str, top_n: int) -> str:
    return _first_bytes(text, min(_MOST_BYTES, ANSWER_BYTES // top_n))


def _first_bytes(text: str, most: int) -> str:
    """Return the beginning of a text that has so many bytes as UTF-8, at most."""
    return text[:most].encode(errors="replace")[:most].decode(errors="ignore")


def _passage(database: Database, index: str, chunk: str) -> str:
    """Return what is reranked, as SQL: a text behind its context, which an index made before schema 4 has not."""
    columns = database.describe(f"SELECT * FROM {database.schema}.{quote(index)}")
    has_context = any(name == "context" for name, _ in columns)
    return f"{chunk}.context || {chunk}.text" if has_context else f"{chunk}.text"


def _sql(database: Database, asked: Asked, found: Comparison) -> str:
    """Return the statement that gives this answer, ready to be copied. It drops copies only where there are some."""
    is_fused = asked.first_stage == "hybrid"
    parts = {
        "question": literal(asked.question),
        "reranker": "" if asked.reranker is None else f", {literal(asked.reranker)}",
        "passage": _passage(database, asked.index, "c"),
        "function": f"{asked.first_stage}_top_k",
        "top_n": str(asked.top_n),
        "first": ", hit.score AS first" if is_fused else "",
        "fused": fused_score("score", "first", DEFAULT_FIRST_STAGE_WEIGHT) if is_fused else "score",
    }
    arguments = [literal(asked.index), literal(asked.question), str(found.top_k)]
    if asked.filter is not None:
        arguments.append(literal(asked.filter))
    if asked.is_search:
        name = "page/search"  # which gives each passage once, and looks further for more only if some are missing
        arguments.insert(3, str(min(asked.top_n, len(found.hits) or 1)))
        if asked.budget_ms is not None:
            arguments += [*([] if asked.filter is not None else ["NULL"]), f"{asked.budget_ms:g}"]
    else:
        name = "page/answer_once" if is_fused or any(hit.copies for hit in found.hits) else "page/answer"
    return filled(statement(name, index=asked.index), {**parts, "arguments": ", ".join(arguments)}).strip()


def _python(database: Database, asked: Asked, sql: str) -> str:
    """Return the Python program that gives this answer."""
    path = database.path
    if not asked.is_search:
        lines = "\n".join(f"    {line!r}" for line in sql.splitlines(keepends=True))
        return (
            f"import sqlrag\n\nsql = (\n{lines}\n)\nwith sqlrag.connect({path!r}) as db:\n"
            "    for id, text, score in db.execute(sql):\n        print(score, text)"
        )
    given = [repr(asked.question), repr(asked.index), f"top_k={asked.top_k}", f"top_n={asked.top_n}"]
    if asked.filter is not None:
        given.append(f"filter={asked.filter!r}")
    if asked.budget_ms is not None:
        given.append(f"budget_ms={asked.budget_ms:g}")
    return (
        f"import sqlrag\n\nwith sqlrag.connect({path!r}) as db:\n"
        f"    for hit in db.search({', '.join(given)}):\n"
        "        print(hit.score, hit.rank_before, hit.rank_after, hit.text)"
    )


def marked(database: Database, question: str, info: IndexInfo, ids: Sequence[int], top_n: int) -> dict[str, Any]:
    """Return the texts of hits in pieces, each with its marks: words of the question, and the nearest sentence.

    The nearest sentence is the one whose vector is nearest to the question's. A text of one sentence has none.
    """
    ids = list(dict.fromkeys(ids))[:_MOST_MARKED]
    places = ", ".join("?" * len(ids))
    sql = f"SELECT id, text FROM {database.schema}.{info.index} WHERE id IN ({places})"
    texts = {id_: _share(text, top_n) for id_, text in database.execute(sql, ids)} if ids else {}
    words = matching_words(question, list(texts.values()), info.tokenizer)
    nearest = _nearest_sentences(database, question, list(texts.values()))
    return {
        "texts": [
            {"id": id_, "pieces": _pieces(text, spans, sentence)}
            for (id_, text), spans, sentence in zip(texts.items(), words, nearest, strict=True)
        ]
    }


def _sentences(text: str) -> list[tuple[int, int]]:
    """Return where the sentences of a text are, without the blanks between them."""
    ends = [0, *(found.end() for found in _SENTENCE_END.finditer(text)), len(text)]
    spans = []
    for start, end in pairwise(ends):
        piece = text[start:end]
        if piece.strip():
            left = start + len(piece) - len(piece.lstrip())
            spans.append((left, start + len(piece.rstrip())))
    return spans[:_MOST_SENTENCES]


def _nearest_sentences(database: Database, question: str, texts: Sequence[str]) -> list[tuple[int, int]]:
    found = [_sentences(text) for text in texts]
    every = [text[start:end][:1000] for text, spans in zip(texts, found, strict=True) for start, end in spans]
    if not every:
        return [(0, 0)] * len(texts)
    similar = (database.embedder.encode_document(every) @ database.embedder.encode_query(question)).tolist()
    nearest = []
    for spans in found:
        own, similar = similar[: len(spans)], similar[len(spans) :]
        nearest.append(spans[own.index(max(own))] if len(spans) > 1 else (0, 0))
    return nearest


def _pieces(text: str, words: Sequence[tuple[int, int]], sentence: tuple[int, int]) -> list[list[Any]]:
    """Return a text in pieces: `[piece, marks]`."""
    cuts = sorted({0, len(text), *sentence, *(place for span in words for place in span)})
    pieces = []
    for start, end in pairwise(cuts):
        marks = WORD * any(span[0] <= start < span[1] for span in words)
        marks += SENTENCE * (sentence[0] <= start < sentence[1])
        pieces.append([text[start:end], marks])
    return pieces
