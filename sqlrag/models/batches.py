"""How many texts go through a model at once: bounded by tokens, so that memory is bounded by them too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlrag.models.stopping import current_stop

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["token_batches", "windows"]

# What is tokenized at once: enough texts to sort by length and to balance threads; an encoding takes some hundred
# bytes a token, so the characters bound the memory.
_WINDOW_TEXTS = 512
_WINDOW_CHARS = 4_000_000


def windows(texts: Sequence[str | tuple[str, str]], window_texts: int = _WINDOW_TEXTS) -> Iterator[tuple[int, int]]:
    """Cut texts, or pairs, into consecutive runs of at most so many texts and 4,000,000 characters.

    Yields (start, end); a single text may be longer. Raises SQLError where the batch is to stop.
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


def token_batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Group the places of sequences of like length, so that a batch, padded, has at most `budget` tokens.

    The longest come first: what does not fit into memory fails at once. A sequence longer than the budget is alone.
    """
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        longest = lengths[batch[0]] if batch else lengths[place]
        if batch and (len(batch) + 1) * longest > budget:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch
