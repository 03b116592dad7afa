"""Splitting a text into chunks: at natural boundaries, counted in tokens, with exact offsets.

A heading begins a chunk and stays with the text that follows it; so does a function or class of source code, and short
ones share a chunk. Within a section, semchunk keeps paragraphs whole if they fit, otherwise lines, then sentences, then
words. Each chunk also has a context: the title of the document, the headings above the chunk, and the header of a table
that the chunk continues. These choices follow from benchmarks/chunking.md (472
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

import bisect
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast

from sqlrag.errors import InputError
from sqlrag.text.counting import TokenCounter
from sqlrag.text.markup import CODE_KINDS, Heading, headings, table_headers
from sqlrag.text.words import search_text, unspaced_letters
from sqlrag.values.arguments import shown, whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokenizers import Tokenizer

    _Split: TypeAlias = tuple[list[str], list[tuple[int, int]]]

__all__ = ["CONTEXT_TOKENS", "DEFAULT_MAX_TOKENS", "DEFAULT_OVERLAP", "Chunk", "Chunker"]

DEFAULT_MAX_TOKENS = 200
"""The most tokens of a chunk, without special tokens."""

DEFAULT_OVERLAP = 0
"""The most tokens of a chunk that the next chunk repeats."""

CONTEXT_TOKENS = 48
"""The most tokens of a chunk's context."""

# A longer section is split first, because semchunk processes the whole of its input at each level.
_SECTION_CHARS = 16_384

# Where a section may be split, best first: after a blank line, a line, a sentence, a word.
_CUTS = tuple(re.compile(pattern) for pattern in (r"\n[ \t\r]*\n", r"\n", r"[.!?]\s|[。！？]", r"\s"))  # noqa: RUF001

# Where an overlap may begin, best first: at a sentence, at a word.
_STARTS = tuple(re.compile(pattern) for pattern in (r"(?<=[.!?])\s+|\n\s*|(?<=[。！？])\s*", r"\s+"))  # noqa: RUF001

# More characters than a token of prose ever has. A text with longer tokens (NULs, endless words, walls of spaces)
# counts as if each token had this many characters, so that chunks stay bounded.
_CHARS_A_TOKEN = 64

# The letters that a token of Thai or Japanese has at least on average, in the tokenizers that know them.
_UNSPACED_A_TOKEN = 3

# What stands between the title and the headings of a context.
_SEPARATOR = " > "

# A title that stands in so many of the first characters of a chunk is not repeated in its context.
_TITLE_WITHIN = 400

# A chunk with less than this fraction of the allowed tokens says too little to be found.
_CRUMB = 10


@dataclass(frozen=True)
class Chunk:
    """A part of a text.

    `text` is exactly `source[start_char:end_char]`. The offsets count Unicode code points, and the end is exclusive.
    `ordinal` counts the chunks of one text from 0. `tokens` is the number of the text's own tokens, without special
    tokens, as the embedder's tokenizer counts them; `unknown` of them stand for characters that it does not know.
    `context` says where in its document the chunk stands. It is empty or ends with a line break, and
    `context + text` is what is embedded and reranked.
    """

    ordinal: int
    start_char: int
    end_char: int
    text: str
    tokens: int
    context: str = ""
    unknown: int = 0


class Chunker:
    """Splits texts into chunks of at most `max_tokens` tokens, as the embedder's tokenizer counts them.

    `tokenizer` is that tokenizer or its `tokenizer.json`. Its truncation, padding and special tokens are ignored. Up to
    `overlap` tokens of a chunk are repeated at the start of the next chunk of a section, whole sentences if possible.
    A chunk's context has at most `context_tokens` tokens; with 0, chunks have none. Raises InputError for an
    impossible size, and for a file that is not a tokenizer.
    """

    def __init__(
        self,
        tokenizer: Tokenizer | str | os.PathLike[str],
        max_tokens: int = DEFAULT_MAX_TOKENS,
        overlap: int = DEFAULT_OVERLAP,
        context_tokens: int = 0,
    ) -> None:
        self.max_tokens = _whole_number("max_tokens", max_tokens, least=1)
        self.overlap = _whole_number("overlap", overlap, least=0)
        if self.overlap >= self.max_tokens:
            raise InputError(
                f"overlap is {self.overlap} tokens and max_tokens {self.max_tokens}: overlap must be the smaller one"
            )
        self.context_tokens = context_tokens
        self._tokenizer = _without_window(tokenizer)
        self._counter = TokenCounter(self._tokenizer)

    def chunks(self, text: str, title: str = "", kind: str = "") -> list[Chunk]:
        """Return the chunks of `text`, in order.

        `title` is that of the document, which begins each context, and `kind` the suffix of its file, which decides
        what a heading is (`sqlrag.text.markup`); Markdown's by default.

        Every character that is not whitespace is in at least one chunk, or in exactly one if `overlap` is 0. No chunk
        starts or ends with whitespace. A chunk is longer than `max_tokens` only if a single character is (Hangul, with
        `max_tokens` below 3). Blank text has no chunks. Raises InputError for text that is not Unicode because of a
        lone surrogate.
        """
        if not isinstance(text, str):
            raise InputError(f"text is {type(text).__name__}, and chunks are made of str")
        _check_unicode(text)
        longest = min(_SECTION_CHARS, _CHARS_A_TOKEN * self.max_tokens)
        found = headings(text, kind)
        sections: Iterable[_Section] = _sections(text, found, longest)
        if kind in CODE_KINDS:
            sections = self._joined_sections(text, sections)
        spans = [span for section in sections for span in self._section_spans(text, section)]
        contexts = self._contexts(text, title, found, spans)
        chunks = []
        for ordinal, ((start, end), context) in enumerate(zip(spans, contexts, strict=True)):
            part = text[start:end]
            tokens, unknown = self._counter.counts(part)
            chunks.append(Chunk(ordinal, start, end, part, tokens, context, unknown))
        return chunks

    def _joined_sections(self, text: str, sections: Iterable[_Section]) -> Iterator[_Section]:
        """Yield the sections of source code, in which short functions that follow one another are one section."""
        joined: _Section | None = None
        size = 0
        for section in sections:
            own = self._count(text[section.start : section.end])
            if joined is not None and size + own <= self.max_tokens:
                joined, size = _Section(joined.start, joined.start, section.end), size + own
                continue
            if joined is not None:
                yield joined
            joined, size = section, own
        if joined is not None:
            yield joined

    def _contexts(
        self, text: str, title: str, found: Sequence[Heading], spans: Sequence[tuple[int, int]]
    ) -> Iterator[str]:
        """Yield the context of each chunk, given the headings of the text."""
        if not self.context_tokens:
            yield from ("" for _ in spans)
            return
        tables = table_headers(text)
        table_starts = [start for start, _, _ in tables]
        path: list[Heading] = []
        place = 0
        for start, end in spans:
            while place < len(found) and found[place].start < start:
                path = [above for above in path if above.level < found[place].level] + [found[place]]
                place += 1
            if place < len(found) and found[place].start == start:
                path = [above for above in path if above.level < found[place].level]
            header = ""
            table = bisect.bisect_right(table_starts, start) - 1
            if table >= 0 and tables[table][0] < start < tables[table][1]:
                header = tables[table][2]
            yield self._context(title, [heading.title for heading in path], header, text[start:end])

    def _context(self, title: str, path: list[str], header: str, text: str) -> str:
        """Return a context of at most `context_tokens` tokens. The innermost headings count most, after the title."""
        beginning = _folded(text[:_TITLE_WITHIN])
        title = search_text(title).strip()
        if title and _folded(title) in beginning:
            title = ""
        parts = [part for part in (title, *map(search_text, path)) if part.strip()]
        if len(parts) > 1 and _folded(parts[0]) == _folded(parts[1]):
            del parts[1]
        header = "\n" + search_text(header) if header else ""
        if header and self._counter(header) > self.context_tokens // 2:
            header = ""
        room = self.context_tokens - self._counter(header)
        while len(parts) > 1 and self._counter(_SEPARATOR.join(parts)) > room:
            del parts[1 if len(parts) > 2 and title else 0]
        context = _SEPARATOR.join(parts)
        if self._counter(context) > room:
            context = self._beginning(context, room)
        return f"{context}{header}".strip() + "\n" if context or header else ""

    def _beginning(self, text: str, tokens: int) -> str:
        """Return the first words of a text, at most so many tokens."""
        words = text.split()
        while words and self._counter(" ".join(words)) > tokens:
            words = words[: min(len(words) - 1, tokens)]
        return " ".join(words)

    def _section_spans(self, text: str, section: _Section) -> list[tuple[int, int]]:
        """Return the (start, end) of each chunk of a section."""
        start, end = _stripped(text, section.start, section.end)
        if start == end:
            return []
        if self._count(text[start:end]) <= self.max_tokens:
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
        """Return the size of `text`: its tokens, or more if these are very long; 1 if it cannot be split.

        A run of letters without spaces may be a single token to a tokenizer that does not know its script. So such
        letters count as tokens of three characters at least.
        """
        if len(text) == 1:
            return 1
        size = max(self._counter(text), len(text) // _CHARS_A_TOKEN)
        return size if text.isascii() else max(size, unspaced_letters(text) // _UNSPACED_A_TOKEN)


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


def _sections(text: str, found: Sequence[Heading], longest: int) -> Iterator[_Section]:
    """Yield the sections of a text: a heading, or several in a row, and the text up to the next heading.

    A section of more than `longest` characters is divided into parts, of which only the first has the heading.
    """
    start = body = 0
    for heading_start, heading_end in [*((heading.start, heading.end) for heading in found), (len(text), len(text))]:
        if text[body:heading_start].strip() or heading_start == len(text):
            for first, last in _cut(text, start, heading_start, longest):
                yield _Section(first, min(max(first, body), last), last)
            start = heading_start
        body = heading_end


def _folded(text: str) -> str:
    """Return a text for a comparison that ignores case and spaces."""
    return " ".join(text.casefold().split())


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
