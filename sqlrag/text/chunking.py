"""Cutting a text into chunks: on natural boundaries, counted in tokens, with exact offsets."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlrag.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from semantic_text_splitter import MarkdownSplitter
    from tokenizers import Tokenizer

__all__ = ["DEFAULT_MAX_TOKENS", "DEFAULT_OVERLAP", "Chunk", "Chunker"]

DEFAULT_MAX_TOKENS = 200
"""Tokens a chunk may have, without special tokens."""

DEFAULT_OVERLAP = 0
"""Tokens that a chunk may repeat of the one before it."""

# A text longer than this is cut into pieces first: the splitter then works on all CPUs, and takes a time that
# is linear even where it finds no boundary (a long line of Chinese without a full stop). A piece holds some
# 20 chunks, so that its own ends hardly matter.
_PIECE_CHARS = 16_384

# How many pieces the splitter gets at a time.
_PIECES_AT_ONCE = 64

# Where a piece may end, best first: before a heading, after a blank line, a line, a sentence, a word.
_PIECE_ENDS = tuple(
    re.compile(pattern)
    for pattern in (r"\n(?=#{1,6} )", r"\n[ \t\r]*\n", r"\n", r"[.!?。！？]\s", r"\s")  # noqa: RUF001
)


@dataclass(frozen=True)
class Chunk:
    """A part of a text.

    `text` is exactly `source[start_char:end_char]`: offsets are half-open and count Unicode code points.
    `ordinal` counts the chunks of one text from 0.
    """

    ordinal: int
    start_char: int
    end_char: int
    text: str


class Chunker:
    """Cuts texts into chunks of at most `max_tokens` tokens, as the embedder's tokenizer counts them.

    `tokenizer` is that tokenizer or its `tokenizer.json`; its truncation and padding and its special tokens
    are left out of account. Up to `overlap` tokens of a chunk are repeated at the start of the next one where
    a natural boundary allows it. Raises InputError for a size that cannot be, and for a file that is no
    tokenizer.
    """

    def __init__(
        self,
        tokenizer: Tokenizer | str | os.PathLike[str],
        max_tokens: int = DEFAULT_MAX_TOKENS,
        overlap: int = DEFAULT_OVERLAP,
    ) -> None:
        self.max_tokens = _whole_number("max_tokens", max_tokens, least=1)
        self.overlap = _whole_number("overlap", overlap, least=0)
        if overlap >= max_tokens:
            raise InputError(
                f"overlap is {overlap} tokens and max_tokens {max_tokens}: overlap must be the smaller one"
            )
        self._splitter = _splitter(tokenizer, max_tokens, overlap)

    def chunks(self, text: str) -> list[Chunk]:
        """Return the chunks of `text`, in order.

        Every character that is not whitespace is in at least one chunk, and in exactly one where `overlap` is
        0; no chunk starts or ends with whitespace. Only a character that alone has more than `max_tokens`
        tokens (Hangul, with `max_tokens` below 3) makes a chunk that is longer. Blank text has no chunks.
        Raises InputError for text that is not Unicode (a lone surrogate).
        """
        if not isinstance(text, str):
            raise InputError(f"text is {type(text).__name__}, and chunks are made of str")
        _check_unicode(text)
        found: list[Chunk] = []
        for offset, part in self._parts(text):
            # The splitter leaves the indentation of a code block; and Python and Unicode differ on whether
            # the separators U+001C to U+001F are whitespace.
            stripped = part.strip()
            if stripped:
                start = offset + len(part) - len(part.lstrip())
                found.append(Chunk(len(found), start, start + len(stripped), stripped))
        return found

    def _parts(self, text: str) -> Iterator[tuple[int, str]]:
        """Yield (start, text) of each chunk as the splitter cuts it."""
        pieces = list(_pieces(text))
        for first in range(0, len(pieces), _PIECES_AT_ONCE):
            batch = pieces[first : first + _PIECES_AT_ONCE]
            parts = self._splitter.chunk_all_indices([text[start:end] for start, end in batch])
            for (offset, _), piece in zip(batch, parts, strict=True):
                for start, part in piece:
                    yield offset + start, part


def _whole_number(name: str, value: object, least: int) -> int:
    """Return `value` if it is an int of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{name} is {value!r}, and should be a whole number of tokens")
    if value < least:
        raise InputError(f"{name} is {value}, and should be at least {least}")
    return value


def _splitter(tokenizer: Tokenizer | str | os.PathLike[str], max_tokens: int, overlap: int) -> MarkdownSplitter:
    """Return the splitter that counts with this tokenizer."""
    from semantic_text_splitter import MarkdownSplitter
    from tokenizers import Tokenizer

    try:
        own = tokenizer if isinstance(tokenizer, Tokenizer) else Tokenizer.from_file(os.fspath(tokenizer))
        # A tokenizer that cuts and pads at the model's window would hide what lies behind it.
        if own.truncation is not None or own.padding is not None:
            own = Tokenizer.from_str(own.to_str())  # the caller's stays as it is
            own.no_truncation()
            own.no_padding()
    except Exception as error:  # tokenizers raises bare Exception
        raise InputError(f"tokenizer is {tokenizer!r}, and not a tokenizer.json: {error}") from error
    return MarkdownSplitter.from_huggingface_tokenizer(own, max_tokens, overlap)


def _check_unicode(text: str) -> None:
    """Raise InputError where `text` has a lone surrogate, which no UTF-8 library can take."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code = f"U+{ord(text[error.start]):04X}"
        raise InputError(
            f"text has a lone surrogate, {code}, at character {error.start}, so it is not Unicode: "
            "replace it, e.g. text.encode('utf-8', 'replace').decode()"
        ) from error


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of the pieces of `text`: each in the second half of what it may have at most."""
    start = 0
    while len(text) - start > _PIECE_CHARS:
        end = _piece_end(text, start + _PIECE_CHARS // 2, start + _PIECE_CHARS)
        yield start, end
        start = end
    yield start, len(text)


def _piece_end(text: str, least: int, most: int) -> int:
    """Return the last of the best places to cut `text` between `least` and `most`."""
    for boundary in _PIECE_ENDS:
        ends = [match.end() for match in boundary.finditer(text, least, most)]
        if ends:
            return ends[-1]
    return most
