"""Counting tokens quickly, because a chunker needs the length of everything that could be a chunk.

A BERT tokenizer first splits a text at whitespace, so the tokens of a text are those of its words, and words repeat.
Remembering the counts of words makes chunking English ten times as fast as tokenizing each candidate.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
        self._words = _WordCounts(tokenizer)
        self._of_text = lru_cache(maxsize=_TEXTS_KEPT)(self._tokenized)

    def __call__(self, text: str) -> int:
        """Return the number of tokens of `text`."""
        if self._by_word and not _NOT_WHITESPACE_TO_BERT.search(text):
            return sum(map(self._words.__getitem__, text.split()))
        return self._of_text(text)

    def _tokenized(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False))


class _WordCounts(dict[str, int]):
    """The number of tokens of each word seen so far."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self._tokenizer = tokenizer

    def __missing__(self, word: str) -> int:
        count = len(self._tokenizer.encode(word, add_special_tokens=False))
        if len(word) <= _LONGEST_WORD and len(self) < _WORDS_KEPT:
            self[word] = count
        return count
