"""What the full text sees of a text: compatible characters made equal, and runs without spaces cut into pairs.

People type `office`, `SQL` and `Konzept`; files have ligatures, full-width letters, soft hyphens, zero-width spaces.
Both the indexed text and the query go through `search_text`. Thai, Khmer, Chinese and Japanese are written without
spaces, which FTS5's tokenizers need, so `indexed_words` writes a run of such letters as overlapping pairs, as
Lucene's CJKBigramFilter does.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

__all__ = ["UNSPACED", "bigrams", "further_words", "indexed_words", "placed_words", "search_text", "unspaced_letters"]

UNSPACED = (
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\uff66-\uff9f\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff]"
)
"""A letter of a script without spaces between words: Thai and Lao, Myanmar, Khmer, Kana, Han."""

_RUN = re.compile(f"{UNSPACED}+")

# A word that a typesetter has broken: a hyphen between letters at a line's end.
_BROKEN_WORD = re.compile(r"(?<=[^\W\d_])(?:-|\u2010|\u00ad)[ \t]*\r?\n[ \t]*(?=[^\W\d_])")

# Characters of the category Cf, "format": invisible, and inside words. Joiners of Indic scripts among them are
# dropped on both sides as well.
_FORMAT = re.compile(
    "[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb\U000e0001"
    "\U000e0020-\U000e007f]"
)


_SPACE = -1
"""The place of a space that is put between words."""


def search_text(text: str) -> str:
    """Return a text with compatible characters made equal (NFKC), and without format characters."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFKC", _FORMAT.sub("", text))


def further_words(text: str, *, pairs: bool = True) -> str:
    """Return the words that the full text is to find in a text besides those that it sees in it; usually none.

    With `pairs`, these include the pairs of letters of runs without spaces.
    """
    if text.isascii():
        return " ".join(_BROKEN_WORD.sub("", text[start:end]) for start, end in _broken_words(text))
    seen = set(text.split())
    made = (indexed_words(text) if pairs else search_text(text)).split()
    return " ".join(dict.fromkeys(word for word in made if word not in seen))


def indexed_words(text: str) -> str:
    """Return what the full text indexes of a text, as words with spaces between them.

    A word that is broken at a line's end is there as a whole, too.
    """
    words = search_text(text)
    broken = [_BROKEN_WORD.sub("", words[start:end]) for start, end in _broken_words(words)]
    if not words.isascii():
        words = _RUN.sub(lambda run: f" {' '.join(bigrams(run[0]))} ", words)
    return f"{words}\n{' '.join(broken)}" if broken else words


def placed_words(text: str, *, pairs: bool = True) -> tuple[str, list[tuple[int, int]]]:
    """Return the words of `indexed_words`, and for each of its characters where it stands in the text: `(start, end)`.

    A letter with its accents and joiners is one place. Without `pairs`, runs without spaces stay as they are.
    """
    letters: list[str] = []
    places: list[tuple[int, int]] = []
    start = 0
    for end in range(1, len(text) + 1):
        if end == len(text) or not _joins_the_one_before(text[end]):
            made = search_text(text[start:end])
            letters.extend(made)
            places.extend([(start, end)] * len(made))
            start = end
    words, order, at = "".join(letters), list[int](), 0
    for run in _RUN.finditer(words) if pairs else ():
        order += [*range(at, run.start()), _SPACE]
        for first in range(run.start(), max(run.end() - 1, run.start() + 1)):
            order += [*range(first, min(first + 2, run.end())), _SPACE]
        at = run.end()
    order += range(at, len(words))
    for start, end in _broken_words(words):
        hyphen = {start + place for found in _BROKEN_WORD.finditer(words[start:end]) for place in range(*found.span())}
        order += [_SPACE, *(place for place in range(start, end) if place not in hyphen)]
    return (
        "".join(" " if place == _SPACE else words[place] for place in order),
        [(0, 0) if place == _SPACE else places[place] for place in order],
    )


@lru_cache(maxsize=4096)
def _joins_the_one_before(letter: str) -> bool:
    """Tell whether a character may become one with the one before it in `search_text`, or is dropped there."""
    if letter.isascii():
        return False
    made = search_text(letter)
    return not made or unicodedata.category(made[0]).startswith("M") or "\u1160" <= made[0] <= "\u11ff"


def bigrams(run: str) -> list[str]:
    """Return the overlapping pairs of letters of a run, or its single letter."""
    return [run[place : place + 2] for place in range(len(run) - 1)] or [run]


def unspaced_letters(text: str) -> int:
    """Return how many letters of a text belong to scripts without spaces."""
    return sum(len(run) for run in _RUN.findall(text))


def _broken_words(text: str) -> list[tuple[int, int]]:
    """Return the spans of words that are broken at a line's end."""
    spans = []
    for broken in _BROKEN_WORD.finditer(text):
        start, end = broken.span()
        while start and (text[start - 1].isalnum() or text[start - 1] == "_"):
            start -= 1
        while end < len(text) and (text[end].isalnum() or text[end] == "_"):
            end += 1
        spans.append((start, end))
    return spans
