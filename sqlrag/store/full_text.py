"""The full text of an index: its tokenizers, and the FTS5 expression of what a person types.

FTS5's own syntax (https://www.sqlite.org/fts5.html#full_text_query_syntax) raises errors for a stray quote, a hyphen or
a NOT. So each word becomes a quoted string, and BM25 weighs how many of them match.

A version or a date, such as 1.6.0.3, is also looked for as a whole, because its parts are everywhere.

Function words weigh much where they are rare, as in docstrings, and nothing where they are common, so those of an
English question are left out when other words remain. This is measured beside other remedies, such as a limit on the
document frequency, in benchmarks/hybrid.md.
"""

from __future__ import annotations

import re
import unicodedata

from sqlrag.errors import InputError
from sqlrag.text.words import UNSPACED, bigrams, search_text

__all__ = ["TOKENIZERS", "check_tokenizer", "match_expression", "tokenizer_for"]

_TRIGRAM = "trigram"

TOKENIZERS = {
    "porter": "porter unicode61 remove_diacritics 2",
    "unicode61": "unicode61 remove_diacritics 2",
    _TRIGRAM: "trigram remove_diacritics 1",
}
"""FTS5's configuration of each: English word stems, words as they are, any three characters; é equals e in all.

(https://www.sqlite.org/fts5.html#tokenizers). "trigram" needs SQLite 3.45, which apsw has; an older one of the standard
library cannot read such an index.
"""

# Each word costs a posting list. A question has fewer words; a pasted page or book must not stall the search.
_MAX_WORDS = 256
_MAX_CHARS = 100_000

_WORD = re.compile(r"\w+")

# A version, date or number of a part, such as 1.6.0.3: FTS5 finds its parts one after the other, as a phrase.
_CODE = re.compile(r"(?<![^\W_])[^\W_]+(?:[.:/+-][^\W_]+)+")
_DIGIT = re.compile(r"[0-9]")

_GRAM = 3
"""The trigram tokenizer does not find shorter words (https://www.sqlite.org/fts5.html#the_trigram_tokenizer)."""

# Snowball's English stop words, as its author M. Porter lists them in
# https://lists.tartarus.org/pipermail/snowball-discuss/2002-October/000320.html
# A text with a word of _ENGLISH is English: these are words in no other language. The others may carry meaning
# elsewhere: "or" is gold in French, "been" a leg in Dutch, "once" eleven in Spanish.
_ENGLISH = frozenset(
    _WORD.findall(
        "about because between does doing having hers herself himself how itself myself ours ourselves that the their "
        "theirs them themselves there they this those through what when where which while who whom why with you your "
        "yours yourself yourselves"
    )
)
_FUNCTION_WORDS = _ENGLISH.union(
    _WORD.findall(
        "a above after again against all am an and any are as at be been before being below both but by did do down "
        "during each few for from further had has have he her here him his i if in into is it its me more most my no "
        "nor not of off on once only or other our out over own same she so some such than then these to too under "
        "until up very was we were"
    )
)


def match_expression(text: str, tokenizer: str) -> str:
    """Return the FTS5 expression for any of the words of `text`, for a full text made with this tokenizer.

    It is an empty phrase, which matches nothing, if no word can be found: with trigram, if none has three characters.
    """
    terms: dict[str, str] = {}
    text = search_text(text[:_MAX_CHARS])
    for code in filter(_has_digit, _CODE.findall(text)):
        terms.setdefault(code.lower(), code)
    for word in _words(text):
        for term in _terms(word, tokenizer):
            terms.setdefault(term.lower(), term)
    kept = _without_function_words(list(terms.values()))
    return " OR ".join(_quoted(term, tokenizer) for term in kept[:_MAX_WORDS]) or '""'


def _quoted(term: str, tokenizer: str) -> str:
    """Return a term as FTS5 reads it. A single letter of a script without spaces begins a pair of letters."""
    is_prefix = len(term) == 1 and tokenizer != _TRIGRAM and re.match(UNSPACED, term)
    return f'"{term}"*' if is_prefix else f'"{term}"'


def _has_digit(text: str) -> bool:
    return _DIGIT.search(text) is not None


def _words(text: str) -> list[str]:
    """Split a text at anything but letters, digits, underscores and marks, which in Hindi belong to a letter."""
    kept = (c if c.isalnum() or c == "_" or unicodedata.category(c).startswith("M") else " " for c in text)
    return "".join(kept).split()


def _terms(word: str, tokenizer: str) -> list[str]:
    """Return the terms of a word: the word itself, or parts of it in a script without spaces between words."""
    if word.isascii():
        return [word] if tokenizer != _TRIGRAM or len(word) >= _GRAM else []
    unspaced = re.search(UNSPACED, word)
    if tokenizer == _TRIGRAM:
        if len(word) < _GRAM:
            return []
        return [word[place : place + _GRAM] for place in range(len(word) - _GRAM + 1)] if unspaced else [word]
    if not unspaced:
        return [word]
    # Pairs, as the index has them, and the runs as they are, which an index made before schema 4 has.
    runs = _WORD.findall(word)
    return [term for run in runs for part in re.findall(f"{UNSPACED}+", run) for term in bigrams(part)] + runs


def _without_function_words(terms: list[str]) -> list[str]:
    """Return the terms without English function words, if it is English and other terms remain; else all of them."""
    if not any(_is_one_of(_ENGLISH, term) for term in terms):
        return terms
    return [term for term in terms if not _is_one_of(_FUNCTION_WORDS, term)] or terms


def _is_one_of(words: frozenset[str], term: str) -> bool:
    """Tell whether a term is one of these words. In capitals, such as WHO and IT, it is a name."""
    return term.lower() in words and not (len(term) > 1 and term.isupper())


def tokenizer_for(language: object) -> str:
    """Return the tokenizer of texts in a language, given its code: word stems are those of English.

    Raises InputError for what is no code.
    """
    if not isinstance(language, str) or not re.fullmatch(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*", language):
        raise InputError(f"language is {language!r}: it is a code such as 'en', 'de' or 'zh-Hant'")
    return "porter" if re.split("[-_]", language.lower())[0] in ("en", "eng") else "unicode61"


def check_tokenizer(name: object) -> str:
    """Return the name of a tokenizer. Raises InputError for an unknown one."""
    if not isinstance(name, str) or name not in TOKENIZERS:
        raise InputError(f"tokenizer is {name!r}: it is one of {', '.join(map(repr, TOKENIZERS))}")
    return name
