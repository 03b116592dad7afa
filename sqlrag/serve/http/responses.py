"""Answers as JSON, and models of them for the schemas of openapi.json; the tests compare answers with them."""

from __future__ import annotations

import json
from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Answer", "Context", "Described", "Found", "Passage", "Problem", "Rows"]


class Answer(JSONResponse):  # type: ignore[misc]  # checked without the extra, too
    """An answer as JSON. Half of a surrogate pair, which a text of a database can hold, is sent as `?`."""

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return json.dumps(content, ensure_ascii=False, allow_nan=False, default=str).encode(errors="replace")


class _Answer(BaseModel):  # type: ignore[misc]  # checked without the extra, too
    model_config = ConfigDict(extra="forbid")


class Source(_Answer):
    """The source of a chunk: a document, or a row of an indexed table."""

    id: Any = Field(description="documents.id, or the row's key.")
    uri: str | None
    title: str | None
    metadata: dict[str, Any] = Field(description="The document's, or the row's filter columns.")


class Hit(_Answer):
    """A passage that answers the question."""

    id: int = Field(description="Of the chunk, for /chunks/{id}.")
    text: str
    score: float | None = Field(description="Higher is more relevant; above 0.5 more likely relevant than not.")
    rank_before: int = Field(description="Among the candidates of the first stage, from 1.")
    rank_after: int = Field(description="After reranking, from 1.")
    source: Source


class FoundHit(Hit):
    """A chunk; other documents may have the same text."""

    copies: list[str] = Field(description="The uris of other documents that have the same passage.")


class Found(_Answer):
    """The best hits first."""

    hits: list[FoundHit]
    note: str | None = Field(description="Which indexes lack changed rows.")


class CitedPassage(Hit):
    """A chunk, or neighbouring chunks as one text."""

    number: int = Field(description="To cite it by, from 1.")
    chunks: list[int] = Field(description="Ids of its chunks, in the order of the text.")


class Context(_Answer):
    """The passages that fit, in the order that was asked for."""

    hits: list[CitedPassage]
    tokens: int = Field(description="Of all passages with their sources, as Markdown.")
    note: str | None = Field(description="Which indexes lack changed rows.")


class Chunk(_Answer):
    """A part of a document or row; characters count from 0."""

    id: int
    ordinal: int
    start_char: int
    end_char: int
    text: str


class Passage(_Answer):
    """A chunk and its neighbours, in the order of their source."""

    source: Source
    chunks: list[Chunk]


class Rows(_Answer):
    """Rows as objects; of two columns of one name the second is called name_2."""

    columns: list[str]
    rows: list[dict[str, Any]]
    note: str | None = Field(description="What was cut, and why; which indexes lack changed rows.")


class Index(_Answer):
    """An index. `source` is "documents" or the name of the indexed table."""

    index: str
    source: str
    documents: int
    chunks: int
    tokens: int
    max_tokens: int
    embedder: str
    reranker: str
    tokenizer: str
    backlog: int | None


class Column(_Answer):
    """A column, as it was declared."""

    name: str
    type: str | None


class Table(_Answer):
    """A table or view."""

    name: str
    kind: str
    rows: int | None = Field(description="null for a view, and where counting takes too long.")
    columns: list[Column]


class Limits(_Answer):
    """The limits of one question."""

    seconds: float
    rows: int
    bytes: int
    reranked_pairs: int = Field(alias="reranked pairs")


class Described(_Answer):
    """The contents of the database."""

    database: str
    engine: str
    indexes: list[Index]
    tables: list[Table]
    functions: str = Field(description="The SQL functions, beside the engine's own.")
    limits: Limits


class Problem(_Answer):
    """An error (RFC 9457): `detail` says what is wrong, and what would be right."""

    type: str
    title: str
    status: int
    detail: str
