"""Counting tokens quickly, because a chunker needs the length of everything that could be a chunk.

A BERT tokenizer first splits a text at whitespace, so the tokens of a text are those of its words, and words repeat.
Remembering the counts of words makes chunking English ten times as fast as tokenizing each candidate.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokenizers import Tokenizer

__all__ = ["TokenCounter"]

# Characters that are whitespace to `str.split`, but that BERT's normalizer removes, which joins the words around them.
_NOT_WHITESPACE_TO_BERT = re.compile("[\x0b\x0c\x1c-\x1f\x85]")

# How many words are remembered, and the longest of them: together some ten megabytes.
_WORDS_KEPT = 100_000
_LONGEST_WORD = 32

# Texts whose tokens are remembered where words have none of their own. The chunker asks for a text several times in a
# row: as a candidate, beside a neighbour, and as a chunk.
_TEXTS_KEPT = 256


class TokenCounter:
    """Counts the tokens of texts, without special tokens. The tokenizer must not truncate or pad."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        from tokenizers.normalizers import BertNormalizer
        from tokenizers.pre_tokenizers import BertPreTokenizer

        self._tokenizer = tokenizer
        added = tokenizer.get_added_tokens_decoder().values()
        self._by_word = (
            isinstance(tokenizer.pre_tokenizer, BertPreTokenizer)
            and isinstance(tokenizer.normalizer, BertNormalizer)
            and not any(len(token.content.split()) > 1 for token in added)
        )
        self._unknown = _unknown_id(tokenizer)
        self._words = _WordCounts(self._tokenized)
        self._of_text = lru_cache(maxsize=_TEXTS_KEPT)(self._tokenized)

    def __call__(self, text: str) -> int:
        """Return the number of tokens of `text`."""
        if self._by_word and not _NOT_WHITESPACE_TO_BERT.search(text):
            return sum(self._words[word][0] for word in text.split())
        return self._of_text(text)[0]

    def counts(self, text: str) -> tuple[int, int]:
        """Return the number of tokens of `text`, and how many of them are the token for unknown characters."""
        if self._by_word and not _NOT_WHITESPACE_TO_BERT.search(text):
            counted = [self._words[word] for word in text.split()]
            return sum(tokens for tokens, _ in counted), sum(unknown for _, unknown in counted)
        return self._of_text(text)

    def _tokenized(self, text: str) -> tuple[int, int]:
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        return len(ids), 0 if self._unknown is None else ids.count(self._unknown)


def _unknown_id(tokenizer: Tokenizer) -> int | None:
    """Return the id of the token for characters that a tokenizer does not know; None if it knows all, as bytes."""
    name = getattr(tokenizer.model, "unk_token", None)
    for token in (name, "[UNK]", "<unk>"):
        if token is not None and (found := tokenizer.token_to_id(token)) is not None:
            return int(found)
    return None


class _WordCounts(dict[str, tuple[int, int]]):
    """The number of tokens, and of unknown ones, of each word seen so far."""

    def __init__(self, tokenized: Callable[[str], tuple[int, int]]) -> None:
        super().__init__()
        self._tokenized = tokenized

    def __missing__(self, word: str) -> tuple[int, int]:
        counts = self._tokenized(word)
        if len(word) <= _LONGEST_WORD and len(self) < _WORDS_KEPT:
            self[word] = counts
        return counts
