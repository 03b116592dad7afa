"""Short texts of everyday words, for benchmarks of tables whose rows change."""

from __future__ import annotations

import random

__all__ = ["some_words"]

_THINGS = (
    "kettle", "lamp", "desk", "whistle", "ferry", "comet", "garden", "river",
    "bread", "winter", "engine", "paper", "glass", "window", "music", "storm",
)  # fmt: skip


def some_words(draw: random.Random, count: int = 8) -> str:
    """Return so many words."""
    return " ".join(draw.choices(_THINGS, k=count))
