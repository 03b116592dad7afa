"""A model's tokenizer: exact counts, and inputs truncated to the window as sentence-transformers truncates them."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import threading
from contextlib import contextmanager
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlrag.errors import InputError, ModelFileError
from sqlrag.models.cached_models import is_bundled, models_folder
from sqlrag.models.stopping import current_stop
from sqlrag.process.forks import in_child, renew_locks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import tokenizers

__all__ = ["ModelTokenizer", "cut_pair", "windows"]

# Long texts are counted in pieces, so that the tokens of 50 MB are never in memory all at once.
_PIECE_CHARS = 65_536
_BATCH_TEXTS = 256
# Most tokenizers make a token of about four characters. Twice that is nearly always enough at the first try.
_CHARS_PER_TOKEN = 8
_WORD_BREAK = re.compile(r"(?<=\S)\s(?=\S)")

# How much a backend tokenizes at once. That is enough texts to sort them by length and to keep all threads busy; an
# encoding takes some hundred bytes a token, so the characters bound the memory.
_WINDOW_TEXTS = 512
_WINDOW_CHARS = 4_000_000


@in_child
def _tokenize_in_one_thread() -> None:
    """Keep the library from using threads in a forked child: it would wait for those of the parent.

    Without this the library warns on stderr (https://github.com/huggingface/tokenizers/issues/187).
    """
    if "tokenizers" in sys.modules:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"


class ModelTokenizer:
    """The tokenizer of one model, loaded at its first use.

    `source` is a `tokenizer.json` or a tokenizer object. Truncation and padding that are stored in it are ignored.
    """

    def __init__(self, source: Path | tokenizers.Tokenizer) -> None:
        self._source = source
        self._loaded: tokenizers.Tokenizer | None = None
        self._lock = threading.Lock()
        renew_locks(self)

    @property
    def loaded(self) -> tokenizers.Tokenizer:
        """The tokenizer itself, without truncation and padding."""
        with self._lock:
            if self._loaded is None:
                if isinstance(self._source, Path) and not is_bundled(self._source.parent):
                    from sqlrag.models.tokenizer_check import check_tokenizer  # which imports subprocess

                    check_tokenizer(self._source, self.digest, models_folder() / ".tokenizers")
                self._loaded = _load(self._source)
            return self._loaded

    @cached_property
    def digest(self) -> str:
        """A hash of the tokenizer, in hex."""
        source = self._source.read_bytes() if isinstance(self._source, Path) else self._source.to_str().encode()
        return hashlib.blake2b(source, digest_size=16).hexdigest()

    def special_tokens(self, *, pair: bool) -> int:
        """Return how many tokens the model's template adds to a text, or to a pair of texts."""
        return int(self.loaded.num_special_tokens_to_add(pair))

    def counts(self, texts: Sequence[str]) -> list[int]:
        """Return the number of each text's own tokens, without special tokens and without truncation."""
        totals = [0] * len(texts)
        pieces = ((number, piece) for number, text in enumerate(texts) for piece in _pieces(text))
        for batch in _batches(pieces):
            encodings = self._encode([piece for _, piece in batch])
            for (number, _), encoding in zip(batch, encodings, strict=True):
                totals[number] += len(encoding)
        return totals

    def singles(self, texts: Sequence[str], max_tokens: int) -> list[tokenizers.Encoding]:
        """Return the model's input for each text, truncated to `max_tokens` including special tokens."""
        room = max_tokens - self.special_tokens(pair=False)
        encodings = self._encode([self._enough(text, room) for text in texts])
        self._check_room(room, max_tokens)
        with self._named():
            for encoding in encodings:
                encoding.truncate(room)
            return [self.loaded.post_process(encoding) for encoding in encodings]

    def _check_room(self, room: int, max_tokens: int) -> None:
        if room < 1:
            raise ModelFileError(
                f"{str(self._source)!r} adds more special tokens than the model's window of {max_tokens} holds: "
                "max_tokens in sqlrag.json is another model's"
            )

    def pairs(self, pairs: Sequence[tuple[str, str]], max_tokens: int) -> list[tokenizers.Encoding]:
        """Return the model's input for each (query, document). The longer side is truncated first.

        A text that occurs more than once is tokenized once, because a query usually meets many documents.
        """
        room = max_tokens - self.special_tokens(pair=True)
        self._check_room(room, max_tokens)
        distinct = list(dict.fromkeys(text for pair in pairs for text in pair))
        prefixes = dict(zip(distinct, (self._enough(text, room) for text in distinct), strict=True))
        encodings = dict(zip(distinct, self._encode(list(prefixes.values())), strict=True))
        lengths = {text: len(encoding) for text, encoding in encodings.items()}
        # If both sides are too long, their full lengths decide which one gets the odd token.
        unsure = {
            text
            for pair in pairs
            if min(lengths[text] for text in pair) > room // 2
            for text in pair
            if prefixes[text] is not text
        }
        lengths.update(zip(unsure, self.counts(list(unsure)), strict=True))
        inputs = []
        for pair in pairs:
            keep = cut_pair(lengths[pair[0]], lengths[pair[1]], room)
            sides = [encodings[text] for text in pair]
            if keep != (len(sides[0]), len(sides[1])):
                # Truncation changes an encoding in place, and an encoding cannot be copied.
                sides = self._encode([prefixes[text] for text in pair])
                for side, length in zip(sides, keep, strict=True):
                    side.truncate(length)
            with self._named():
                inputs.append(self.loaded.post_process(sides[0], sides[1]))
        return inputs

    def templated(self, pairs: Sequence[tuple[str, str]], template: Sequence[str], max_tokens: int) -> list[Any]:
        """Return the model's input for each (query, document) in a template, a text before, between and after them.

        The whole is one text. If it is too long, its end is cut, and the template's own last tokens stand there
        nevertheless, as sentence-transformers does it.
        """
        before, between, after = template
        tail = self._tail(tuple(template))
        self._check_room(max_tokens - len(tail), max_tokens)
        texts = [self._enough(f"{before}{query}{between}{document}{after}", max_tokens) for query, document in pairs]
        return [
            encoding if len(encoding) <= max_tokens else _TokenIds(encoding.ids[: max_tokens - len(tail)] + tail)
            for encoding in self._encode(texts)
        ]

    @lru_cache(maxsize=8)  # noqa: B019 - as long as the tokenizer
    def _tail(self, template: tuple[str, ...]) -> list[int]:
        """Return the tokens that a template ends with, whatever the texts in it are."""
        before, between, after = template
        one, other = (
            encoding.ids
            for encoding in self._encode([f"{before}{text}{between}{text}{after}" for text in ("0", "1 2 3 4")])
        )
        length = 0
        while length < min(len(one), len(other)) and one[-1 - length] == other[-1 - length]:
            length += 1
        return one[len(one) - length :] if 0 < length < min(len(one), len(other)) else []

    def _encode(self, texts: list[str]) -> list[Any]:
        loaded = self.loaded
        with self._named():
            if len(texts) == 1:
                return [loaded.encode(texts[0], add_special_tokens=False)]
            return list(loaded.encode_batch(texts, add_special_tokens=False))

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Turn an error of the library into one that names the tokenizer."""
        try:
            yield
        except BaseException as error:
            # The library raises bare Exceptions. A panic in Rust is not even an Exception.
            if type(error) is not Exception and type(error).__name__ != "PanicException":
                raise
            where = repr(str(self._source)) if isinstance(self._source, Path) else "the tokenizer"
            raise ModelFileError(f"{where} cannot cut a text into tokens: {error}") from error

    def _enough(self, text: str, tokens: int) -> str:
        """Return the text, or a prefix of it that has the same first `tokens` tokens."""
        end = max(_CHARS_PER_TOKEN * tokens, 1024)
        while end < len(text):
            (encoding,) = self._encode([text[:end]])
            words = encoding.word_ids
            # The last word may continue after the cut. The tokens before it are those of the whole text.
            if words and sum(word != words[-1] for word in words) >= tokens:
                return text[:end]
            end *= 4
        return text


class _TokenIds:
    """A model's input that no text has: the tokens of a template's end behind those of a text that was cut."""

    def __init__(self, ids: list[int]) -> None:
        self.ids = ids
        self.attention_mask = [1] * len(ids)
        self.type_ids = [0] * len(ids)

    def __len__(self) -> int:
        return len(self.ids)


def cut_pair(first: int, second: int, room: int) -> tuple[int, int]:
    """Return how many tokens of each side are kept if the longer side is truncated first ("longest_first").

    This is the rule of Hugging Face's tokenizers, which also says which side gets the odd token.
    """
    if first + second <= room:
        return first, second
    short = min(first, second)
    half = room // 2
    kept = (short, room - short) if short <= half else (half, room - half)
    return kept if first <= second else (kept[1], kept[0])


def windows(texts: Sequence[str | tuple[str, str]], window_texts: int = _WINDOW_TEXTS) -> Iterator[tuple[int, int]]:
    """Split texts or pairs into consecutive runs of at most `window_texts` texts and 4,000,000 characters.

    Yields (start, end) of each run. A single text may be longer. Raises SQLError if the statement is to stop.
    """
    stop = current_stop()
    start, chars = 0, 0
    for place, text in enumerate(texts):
        length = len(text) if isinstance(text, str) else len(text[0]) + len(text[1])
        if place > start and (place - start >= window_texts or chars + length > _WINDOW_CHARS):
            stop.check()
            yield start, place
            start, chars = place, 0
        chars += length
    if start < len(texts):
        stop.check()
        yield start, len(texts)


def _load(source: Path | tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    from tokenizers import Tokenizer

    if isinstance(source, Tokenizer):
        # Turning off truncation must not change the caller's tokenizer, so this is a copy.
        tokenizer = Tokenizer.from_str(source.to_str())
    else:
        try:
            tokenizer = Tokenizer.from_file(str(source))
        except BaseException as error:  # the library raises bare Exceptions, and a panic is not even an Exception
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            raise InputError(f"{str(source)!r} is not a tokenizer.json: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _pieces(text: str) -> Iterator[str]:
    """Split a long text between words, so that the tokens of the pieces are the tokens of the text."""
    start = 0
    while len(text) - start > _PIECE_CHARS:
        found = _WORD_BREAK.search(text, start + _PIECE_CHARS)
        if found is None:
            break
        yield text[start : found.start()]
        start = found.start()
    yield text[start:]


def _batches(pieces: Iterator[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    """Group pieces into batches that are large enough, in number or in characters, for one call."""
    batch: list[tuple[int, str]] = []
    chars = 0
    for piece in pieces:
        batch.append(piece)
        chars += len(piece[1])
        if len(batch) >= _BATCH_TEXTS or chars >= 8 * _PIECE_CHARS:
            yield batch
            batch, chars = [], 0
    if batch:
        yield batch
