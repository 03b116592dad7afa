"""The record of a new index: its settings, checked."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from sqlrag.errors import InputError, ModelMismatchError
from sqlrag.store.encoders import chunker_of
from sqlrag.store.full_text import check_tokenizer
from sqlrag.store.names import check_index_name
from sqlrag.store.precision import check_vectors
from sqlrag.store.registry import HEADINGS, IndexRecord
from sqlrag.store.states import check_states
from sqlrag.values.arguments import DEFAULT_TOKENIZER, DEFAULT_VECTORS, shown, whole

if TYPE_CHECKING:
    from sqlrag.models import Embedder

__all__ = ["IndexOptions", "check_made_with"]

MOST_TOKENS = 1_000_000_000
"""Of a chunk: more than any text has."""


@dataclass(frozen=True)
class IndexOptions:
    """The settings a caller may ask for. None: the default for a new index, the current value for an existing one."""

    max_tokens: int | None = None
    overlap: int | None = None
    tokenizer: str | None = None
    vectors: str | None = None
    states: str | None = None

    def __post_init__(self) -> None:
        for size, least in (("max_tokens", 1), ("overlap", 0)):
            value = getattr(self, size)
            number = whole(value)
            if value is not None and (number is None or not least <= number <= MOST_TOKENS):
                raise InputError(f"{size} is {shown(value)}: it takes a whole number of tokens from {least}")
            object.__setattr__(self, size, number)
        if self.tokenizer is not None:
            check_tokenizer(self.tokenizer)
        if self.vectors is not None:
            check_vectors(self.vectors)
        check_states(self.states)

    def record(
        self,
        index: str,
        embedder: Embedder,
        *,
        source: tuple[str, str] = ("documents", "id"),
        template: str = "",
        filters: str = "[]",
        tracking: str = "",
    ) -> IndexRecord:
        """Return the record of a new index; `source` is its table and that one's key. Raises InputError."""
        from sqlrag.text.chunking import DEFAULT_MAX_TOKENS, DEFAULT_OVERLAP

        max_tokens = DEFAULT_MAX_TOKENS if self.max_tokens is None else self.max_tokens
        overlap = self.overlap
        if overlap is None:
            overlap = min(DEFAULT_OVERLAP, max_tokens // 2)
        spec = embedder.spec
        chunker_of(embedder, max_tokens, overlap)  # says what is wrong with them
        assert spec.dimension is not None
        return IndexRecord(
            name=check_index_name(index),
            source_table=source[0],
            source_key=source[1],
            embedder=spec.name,
            embedder_hash=spec.identity,
            dimension=spec.dimension,
            query_prompt=spec.prompts["query"],
            document_prompt=spec.prompts["document"],
            window=embedder.text_window,
            max_tokens=max_tokens,
            overlap=overlap,
            tokenizer=DEFAULT_TOKENIZER if self.tokenizer is None else self.tokenizer,
            vectors=DEFAULT_VECTORS if self.vectors is None else self.vectors,
            template=template,
            filters=filters,
            tracking=tracking,
            context=HEADINGS,
        )


def check_made_with(record: IndexRecord, options: IndexOptions, embedder: Embedder | None) -> None:
    """Raise where an existing index was made with something else than what is asked for.

    InputError for its settings, ModelMismatchError for its model.
    """
    for what, asked in asdict(options).items():
        if what == "states":
            continue  # which may be chosen at any time
        made = getattr(record, what)
        if asked is not None and asked != made:
            raise InputError(
                f"{what} is {asked}, but index {record.name!r} was made with {made}: "
                "leave it out, or take another index"
            )
    if embedder is not None and not embedder.spec.made(record.embedder_hash):
        raise ModelMismatchError(
            f"embedder is {embedder.id}, but index {record.name!r} was made with {record.embedder}"
            f"@{record.embedder_hash[:12]}: leave it out, take another index, or give this one the other model "
            f"with reindex({record.name!r}, embedder=...)"
        )
