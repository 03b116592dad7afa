"""Splitting a text into chunks: at natural boundaries, counted in tokens, with exact offsets.

A Markdown heading begins a chunk and stays with the text that follows it. Within a section, semchunk keeps paragraphs
whole if they fit, otherwise lines, then sentences, then words. These choices follow from benchmarks/chunking.md (472
questions on five documents, k = 5, all-MiniLM-L6-v2):

- Splitter, at 200 tokens: semchunk has a recall of 77.6 %, a precision of 5.9 % and an IoU of 5.8 %. The text splitter
  of semantic-text-splitter has 76.4, 5.6 and 5.5 %, its Markdown splitter 74.9, 5.5 and 5.4 %. Counting tokens as
  `sqlrag.text.counting` does reduces semchunk's CPU time from 3 s to 0.3 s a megabyte.
- Size: 128, 200 and 254 tokens find 73.9, 77.6 and 79.0 % of the answers, at an IoU of 8.5, 5.8 and 4.8 %. 200 tokens
  are one or two paragraphs, have most of the recall, and leave room for a prompt or a title in the embedder's window of
  256 tokens.
- Overlap: 15 % reduces the recall (76.9 % at 200 tokens) and adds 17 % more chunks, so there is none by default.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast

from sqlrag.errors import InputError
from sqlrag.text.counting import TokenCounter
from sqlrag.values.arguments import shown, whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokenizers import Tokenizer

    _Split: TypeAlias = tuple[list[str], list[tuple[int, int]]]

__all__ = ["DEFAULT_MAX_TOKENS", "DEFAULT_OVERLAP", "Chunk", "Chunker"]

DEFAULT_MAX_TOKENS = 200
"""The most tokens of a chunk, without special tokens."""

DEFAULT_OVERLAP = 0
"""The most tokens of a chunk that the next chunk repeats."""

# A longer section is split first, because semchunk processes the whole of its input at each level.
_SECTION_CHARS = 16_384

# Where a section may be split, best first: after a blank line, a line, a sentence, a word.
_CUTS = tuple(re.compile(pattern) for pattern in (r"\n[ \t\r]*\n", r"\n", r"[.!?]\s|[。！？]", r"\s"))  # noqa: RUF001

# Lines that begin a section, and lines that begin or end code, in which no section begins.
_HEADING_OR_FENCE = re.compile(r"^(?:#{1,6}[ \t][^\n]*|[ ]{0,3}(?P<fence>```|~~~)[^\n]*)", re.MULTILINE)

# Where an overlap may begin, best first: at a sentence, at a word.
_STARTS = tuple(re.compile(pattern) for pattern in (r"(?<=[.!?])\s+|\n\s*|(?<=[。！？])\s*", r"\s+"))  # noqa: RUF001

# More characters than a token of prose ever has. A text with longer tokens (NULs, endless words, walls of spaces)
# counts as if each token had this many characters, so that chunks stay bounded.
_CHARS_A_TOKEN = 64

# A chunk with less than this fraction of the allowed tokens says too little to be found.
_CRUMB = 10


@dataclass(frozen=True)
class Chunk:
    """A part of a text.

    `text` is exactly `source[start_char:end_char]`. The offsets count Unicode code points, and the end is exclusive.
    `ordinal` counts the chunks of one text from 0. `tokens` is the number of the text's own tokens, without special
    tokens, as the embedder's tokenizer counts them.
    """

    ordinal: int
    start_char: int
    end_char: int
    text: str
    tokens: int


class Chunker:
    """Splits texts into chunks of at most `max_tokens` tokens, as the embedder's tokenizer counts them.

    `tokenizer` is that tokenizer or its `tokenizer.json`. Its truncation, padding and special tokens are ignored. Up to
    `overlap` tokens of a chunk are repeated at the start of the next chunk of a section, whole sentences if possible.
    Raises InputError for an impossible size, and for a file that is not a tokenizer.
    """

    def __init__(
        self,
        tokenizer: Tokenizer | str | os.PathLike[str],
        max_tokens: int = DEFAULT_MAX_TOKENS,
        overlap: int = DEFAULT_OVERLAP,
    ) -> None:
        self.max_tokens = _whole_number("max_tokens", max_tokens, least=1)
        self.overlap = _whole_number("overlap", overlap, least=0)
        if self.overlap >= self.max_tokens:
            raise InputError(
                f"overlap is {self.overlap} tokens and max_tokens {self.max_tokens}: overlap must be the smaller one"
            )
        self._tokenizer = _without_window(tokenizer)
        self._counter = TokenCounter(self._tokenizer)

    def chunks(self, text: str) -> list[Chunk]:
        """Return the chunks of `text`, in order.

        Every character that is not whitespace is in at least one chunk, or in exactly one if `overlap` is 0. No chunk
        starts or ends with whitespace. A chunk is longer than `max_tokens` only if a single character is (Hangul, with
        `max_tokens` below 3). Blank text has no chunks. Raises InputError for text that is not Unicode because of a
        lone surrogate.
        """
        if not isinstance(text, str):
            raise InputError(f"text is {type(text).__name__}, and chunks are made of str")
        _check_unicode(text)
        longest = min(_SECTION_CHARS, _CHARS_A_TOKEN * self.max_tokens)
        spans = (span for section in _sections(text, longest) for span in self._section_spans(text, section))
        return [
            Chunk(ordinal, start, end, text[start:end], self._counter(text[start:end]))
            for ordinal, (start, end) in enumerate(spans)
        ]

    def _section_spans(self, text: str, section: _Section) -> list[tuple[int, int]]:
        """Return the (start, end) of each chunk of a section."""
        start, end = _stripped(text, section.start, section.end)
        if start == end:
            return []
        if self._counter(text[start:end]) <= self.max_tokens:
            return [(start, end)]
        # The heading stays with its text if there is room for it in the first chunk.
        heading = self._count(text[start : section.body])
        room = self.max_tokens - self.overlap - heading
        if section.body == start or heading > self.max_tokens // 4 or room < 1:
            return self._overlapping(text, self._split(text, start, end, self.max_tokens - self.overlap))
        spans = self._split(text, section.body, end, room)
        if self._count(text[start : spans[0][1]]) <= self.max_tokens:
            spans[0] = (start, spans[0][1])
        else:
            spans.insert(0, _stripped(text, start, section.body))
        return self._overlapping(text, spans)

    def _split(self, text: str, start: int, end: int, size: int) -> list[tuple[int, int]]:
        """Return the spans of at most `size` tokens into which semchunk splits `text[start:end]`."""
        from semchunk.semchunk import chunk

        # semchunk's own overlap splits everything into parts as small as the overlap, and its memory of counts is
        # unbounded.
        _, spans = cast("_Split", chunk(text[start:end], size, self._count, memoize=False, offsets=True))
        return self._joined(text, [_stripped(text, start + first, start + last) for first, last in spans], size)

    def _joined(self, text: str, spans: list[tuple[int, int]], size: int) -> list[tuple[int, int]]:
        """Return the spans, with crumbs (a lone bullet, `Bug fixes:`) joined to a neighbour if they fit."""
        joined: list[tuple[int, int]] = []
        crumb_before = False
        for start, end in spans:
            crumb = self._count(text[start:end]) * _CRUMB < size
            if joined and (crumb or crumb_before) and self._count(text[joined[-1][0] : end]) <= size:
                joined[-1] = (joined[-1][0], end)
                crumb_before = False
            else:
                joined.append((start, end))
                crumb_before = crumb
        return joined

    def _overlapping(self, text: str, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Return the spans, in which all but the first start up to `overlap` tokens earlier."""
        if not self.overlap:
            return spans
        starts = [self._earlier_start(text, before, span) for before, span in pairwise(spans)]
        return spans[:1] + [(start, end) for start, (_, end) in zip(starts, spans[1:], strict=True)]

    def _earlier_start(self, text: str, before: tuple[int, int], span: tuple[int, int]) -> int:
        """Return where a sentence or a word first begins among the last `overlap` tokens of `before`."""
        offsets = self._tokenizer.encode(text[slice(*before)], add_special_tokens=False).offsets
        # The chunk before keeps at least its first character for itself, which may be several tokens (Hangul).
        earliest = before[0] + max(1, offsets[-self.overlap][0] if len(offsets) > self.overlap else 1)
        for boundary in _STARTS:
            for found in boundary.finditer(text, earliest - 1, span[0]):
                start = found.end()
                if earliest <= start < span[0] and self._count(text[start : span[1]]) <= self.max_tokens:
                    return start
        return span[0]

    def _count(self, text: str) -> int:
        """Return the size of `text`: its tokens, or more if these are very long; 1 if it cannot be split."""
        return 1 if len(text) == 1 else max(self._counter(text), len(text) // _CHARS_A_TOKEN)


def _whole_number(name: str, value: object, least: int) -> int:
    """Return `value` as an int. Raises InputError unless it is a whole number of at least `least`."""
    number = whole(value)
    if number is None:
        raise InputError(f"{name} is {shown(value)}, and should be a whole number of tokens")
    if number < least:
        raise InputError(f"{name} is {number}, and should be at least {least}")
    return number


def _without_window(tokenizer: Tokenizer | str | os.PathLike[str]) -> Tokenizer:
    """Return the tokenizer without truncation and padding, which would hide the text beyond the window."""
    from tokenizers import Tokenizer

    try:
        own = tokenizer if isinstance(tokenizer, Tokenizer) else Tokenizer.from_file(os.fspath(tokenizer))
        if own.truncation is not None or own.padding is not None:
            own = Tokenizer.from_str(own.to_str())  # the caller's tokenizer does not change
            own.no_truncation()
            own.no_padding()
    except Exception as error:  # tokenizers raises bare Exception
        raise InputError(f"tokenizer is {tokenizer!r}, and not a tokenizer.json: {error}") from error
    return own


def _check_unicode(text: str) -> None:
    """Raise InputError if `text` has a lone surrogate, which no UTF-8 library can process."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code = f"U+{ord(text[error.start]):04X}"
        raise InputError(
            f"text has a lone surrogate, {code}, at character {error.start}, so it is not Unicode: "
            "replace it, e.g. text.encode('utf-8', 'replace').decode()"
        ) from error


class _Section(NamedTuple):
    """A part of a text. No chunk crosses its borders. Its heading, which may be empty, is `start` to `body`."""

    start: int
    body: int
    end: int


def _sections(text: str, longest: int) -> Iterator[_Section]:
    """Yield the sections of a text: a heading, or several in a row, and the text up to the next heading.

    A section of more than `longest` characters is divided into parts, of which only the first has the heading.
    """
    start = body = 0
    for heading_start, heading_end in [*_headings(text), (len(text), len(text))]:
        if text[body:heading_start].strip() or heading_start == len(text):
            for first, last in _cut(text, start, heading_start, longest):
                yield _Section(first, min(max(first, body), last), last)
            start = heading_start
        body = heading_end


def _headings(text: str) -> Iterator[tuple[int, int]]:
    """Yield the (start, end) of each Markdown heading that is not inside fenced code."""
    fence = ""
    for line in _HEADING_OR_FENCE.finditer(text):
        mark = line["fence"]
        if mark is None:
            if not fence:
                yield line.span()
        elif not fence or mark == fence:
            fence = "" if fence else mark


def _cut(text: str, start: int, end: int, longest: int) -> Iterator[tuple[int, int]]:
    """Yield `text[start:end]` in parts of at most `longest` characters, split in their second half."""
    while end - start > longest:
        cut = _last_cut(text, start + longest // 2, start + longest)
        yield start, cut
        start = cut
    yield start, end


def _last_cut(text: str, least: int, most: int) -> int:
    """Return the last of the best places to split `text` between `least` and `most`."""
    for boundary in _CUTS:
        ends = [match.end() for match in boundary.finditer(text, least, most)]
        if ends:
            return ends[-1]
    return most


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the span without the whitespace at both its ends."""
    part = text[start:end]
    stripped = part.strip()
    start += len(part) - len(part.lstrip()) if stripped else 0
    return start, start + len(stripped)
