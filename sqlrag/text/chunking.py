"""Cutting a text into chunks: on natural boundaries, counted in tokens, with exact offsets.

A Markdown heading opens a chunk and stays with what follows it; in a section, semchunk keeps paragraphs whole where
they fit, then lines, then sentences, then words. The figures behind that (benchmarks/chunking.md: 472 questions on
five documents, k = 5, all-MiniLM-L6-v2):

- Splitter, at 200 tokens: recall 77.6 %, precision 5.9 %, IoU 5.8 %; semantic-text-splitter's for text 76.4, 5.6 and
  5.5 %, its Markdown one 74.9, 5.5 and 5.4 %. With tokens counted as in `sqlrag.text.counting` it takes 0.3 s of
  CPU time a megabyte instead of 3.
- Size: 128, 200 and 254 tokens find 73.9, 77.6 and 79.0 % of the answers, at an IoU of 8.5, 5.8 and 4.8 %. 200 is one
  or two paragraphs, has most of the recall, and leaves room for a prompt or a title in the embedder's window of 256.
- Overlap: 15 % makes recall worse (76.9 % at 200 tokens) and takes 17 % more chunks. So it is off by default.
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
"""Tokens that a chunk has at most, without special tokens."""

DEFAULT_OVERLAP = 0
"""Tokens of a chunk that the next one repeats at most."""

# A section longer than this is cut first: the splitter works through the whole of what it is given at each level.
_SECTION_CHARS = 16_384

# Where such a cut may be, best first: after a blank line, a line, a sentence, a word.
_CUTS = tuple(re.compile(pattern) for pattern in (r"\n[ \t\r]*\n", r"\n", r"[.!?]\s|[。！？]", r"\s"))  # noqa: RUF001

# Lines that open a section, or open and close code in which nothing does.
_HEADING_OR_FENCE = re.compile(r"^(?:#{1,6}[ \t][^\n]*|[ ]{0,3}(?P<fence>```|~~~)[^\n]*)", re.MULTILINE)

# Where an overlap may start, best first: at a sentence, at a word.
_STARTS = tuple(re.compile(pattern) for pattern in (r"(?<=[.!?])\s+|\n\s*|(?<=[。！？])\s*", r"\s+"))  # noqa: RUF001

# More characters than any prose has in a token. What has more (NULs, words without end, walls of spaces) counts as
# if it had a token in so many, so that no chunk grows without end.
_CHARS_A_TOKEN = 64

# A chunk of less than one part in so many of what it may have says too little to be found.
_CRUMB = 10


@dataclass(frozen=True)
class Chunk:
    """A part of a text.

    `text` is exactly `source[start_char:end_char]`: offsets are half-open and count Unicode code points.
    `ordinal` counts the chunks of one text from 0. `tokens` is the number of the text's own tokens, without special
    tokens, as the embedder's tokenizer counts them.
    """

    ordinal: int
    start_char: int
    end_char: int
    text: str
    tokens: int


class Chunker:
    """Cuts texts into chunks of at most `max_tokens` tokens, as the embedder's tokenizer counts them.

    `tokenizer` is that tokenizer or its `tokenizer.json`; its truncation and padding and its special tokens
    are left out of account. Up to `overlap` tokens of a chunk are repeated at the start of the next one, whole
    sentences where it can be, within a section. Raises InputError for a size that cannot be, and for a file
    that is no tokenizer.
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

        Every character that is not whitespace is in at least one chunk, and in exactly one where `overlap` is
        0; no chunk starts or ends with whitespace. Only a character that alone has more than `max_tokens`
        tokens (Hangul, with `max_tokens` below 3) makes a chunk that is longer. Blank text has no chunks.
        Raises InputError for text that is not Unicode (a lone surrogate).
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
        """Return the (start, end) of the chunks of one section."""
        start, end = _stripped(text, section.start, section.end)
        if start == end:
            return []
        if self._counter(text[start:end]) <= self.max_tokens:
            return [(start, end)]
        # The heading stays with what it is about: there is room for it in the first chunk.
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
        """Return the spans of at most `size` tokens that the splitter cuts `text[start:end]` into."""
        from semchunk.semchunk import chunk

        # Its own overlap cuts everything into parts as small as the overlap, and its own memory of counts never ends.
        _, spans = cast("_Split", chunk(text[start:end], size, self._count, memoize=False, offsets=True))
        return self._joined(text, [_stripped(text, start + first, start + last) for first, last in spans], size)

    def _joined(self, text: str, spans: list[tuple[int, int]], size: int) -> list[tuple[int, int]]:
        """Return the spans with crumbs (a lone bullet, `Bug fixes:`) joined to a neighbour, where that fits."""
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
        """Return the spans, each but the first starting earlier by up to `overlap` tokens."""
        if not self.overlap:
            return spans
        starts = [self._earlier_start(text, before, span) for before, span in pairwise(spans)]
        return spans[:1] + [(start, end) for start, (_, end) in zip(starts, spans[1:], strict=True)]

    def _earlier_start(self, text: str, before: tuple[int, int], span: tuple[int, int]) -> int:
        """Return the first start of a sentence, or of a word, among the last `overlap` tokens of `before`."""
        offsets = self._tokenizer.encode(text[slice(*before)], add_special_tokens=False).offsets
        # The chunk before keeps a beginning of its own.
        earliest = before[0] + (offsets[-self.overlap][0] if len(offsets) > self.overlap else 1)
        for boundary in _STARTS:
            for found in boundary.finditer(text, earliest - 1, span[0]):
                start = found.end()
                if earliest <= start < span[0] and self._count(text[start : span[1]]) <= self.max_tokens:
                    return start
        return span[0]

    def _count(self, text: str) -> int:
        """Return the size of `text`: its tokens, or more where it has hardly any; 1 for what cannot be cut."""
        return 1 if len(text) == 1 else max(self._counter(text), len(text) // _CHARS_A_TOKEN)


def _whole_number(name: str, value: object, least: int) -> int:
    """Return `value` as an int if it is a whole number of at least `least`."""
    number = whole(value)
    if number is None:
        raise InputError(f"{name} is {shown(value)}, and should be a whole number of tokens")
    if number < least:
        raise InputError(f"{name} is {number}, and should be at least {least}")
    return number


def _without_window(tokenizer: Tokenizer | str | os.PathLike[str]) -> Tokenizer:
    """Return the tokenizer without truncation and padding, which would hide what lies behind the window."""
    from tokenizers import Tokenizer

    try:
        own = tokenizer if isinstance(tokenizer, Tokenizer) else Tokenizer.from_file(os.fspath(tokenizer))
        if own.truncation is not None or own.padding is not None:
            own = Tokenizer.from_str(own.to_str())  # the caller's stays as it is
            own.no_truncation()
            own.no_padding()
    except Exception as error:  # tokenizers raises bare Exception
        raise InputError(f"tokenizer is {tokenizer!r}, and not a tokenizer.json: {error}") from error
    return own


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


class _Section(NamedTuple):
    """A part of a text that chunks do not reach out of: its heading is `start` to `body`, which may be empty."""

    start: int
    body: int
    end: int


def _sections(text: str, longest: int) -> Iterator[_Section]:
    """Yield the sections of a text: a heading, or several in a row, and what follows up to the next one.

    One of more than `longest` characters comes in parts, of which only the first has the heading.
    """
    start = body = 0
    for heading_start, heading_end in [*_headings(text), (len(text), len(text))]:
        if text[body:heading_start].strip() or heading_start == len(text):
            for first, last in _cut(text, start, heading_start, longest):
                yield _Section(first, min(max(first, body), last), last)
            start = heading_start
        body = heading_end


def _headings(text: str) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of each Markdown heading that does not stand in fenced code."""
    fence = ""
    for line in _HEADING_OR_FENCE.finditer(text):
        mark = line["fence"]
        if mark is None:
            if not fence:
                yield line.span()
        elif not fence or mark == fence:
            fence = "" if fence else mark


def _cut(text: str, start: int, end: int, longest: int) -> Iterator[tuple[int, int]]:
    """Yield `text[start:end]` in parts of at most `longest` characters, cut in the second half of those."""
    while end - start > longest:
        cut = _last_cut(text, start + longest // 2, start + longest)
        yield start, cut
        start = cut
    yield start, end


def _last_cut(text: str, least: int, most: int) -> int:
    """Return the last of the best places to cut `text` between `least` and `most`."""
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
