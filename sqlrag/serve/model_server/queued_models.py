"""The models of the server, each behind a queue that its clients share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from sqlrag.models.named_models import run_through
from sqlrag.serve.model_server.queue import ModelQueue, Waiter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sqlrag.models.embedder import Encoder
    from sqlrag.models.reranker import Scorer
    from sqlrag.models.spec import Role

__all__ = ["current_client", "queue_models"]

current_client: ContextVar[Waiter | None] = ContextVar("current_client", default=None)
"""The client that this thread works for; None while the server warms up its models."""

_CHARS_PER_TOKEN = 4
"""About as in English; batches are measured by it, because counting would tokenize each text twice."""


def queue_models() -> None:
    """Put a queue before each model that this process loads from now on."""
    run_through(QueuedEncoder, QueuedScorer)


class QueuedEncoder:
    """A bi-encoder behind a queue: an `sqlrag.models.embedder.Encoder`."""

    def __init__(self, encoder: Encoder) -> None:
        self.spec = encoder.spec
        self.tokenizer = encoder.tokenizer
        self._encoder = encoder
        self._queue = ModelQueue(encoder.spec.name, self._run)

    def embed(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        """Return the texts' vectors, (n, dimension) float32, not normalized."""
        import numpy as np

        client = current_client.get()
        if client is None:
            return self._encoder.embed(texts, role)
        costs = [_tokens(len(text), self.spec.max_tokens) for text in texts]
        vectors = self._queue.compute(client, [(text, role) for text in texts], costs)
        return np.array(vectors, np.float32).reshape(len(texts), self.spec.dimension or 0)

    def _run(self, items: Sequence[tuple[str, Role]], _until: float | None) -> Sequence[Any]:
        vectors: list[Any] = [None] * len(items)
        for role in dict.fromkeys(role for _, role in items):
            numbers = [number for number, item in enumerate(items) if item[1] == role]
            encoded = self._encoder.embed([items[number][0] for number in numbers], role)
            for number, vector in zip(numbers, encoded, strict=True):
                vectors[number] = vector
        return vectors


class QueuedScorer:
    """A cross-encoder behind a queue: an `sqlrag.models.reranker.Scorer`."""

    def __init__(self, scorer: Scorer) -> None:
        self.spec = scorer.spec
        self.tokenizer = scorer.tokenizer
        self.conditions = scorer.conditions
        self._scorer = scorer
        self._queue = ModelQueue(scorer.spec.name, self._run)

    def score(
        self, pairs: Sequence[tuple[str, str]], until: float | None = None, kept: Mapping[str, bytes] | None = None
    ) -> NDArray[np.float32]:
        """Return the pairs' scores, (n,) float32; NaN for those that were not begun before `until`.

        `kept`: what is kept of some of the texts, for a model that reads states.
        """
        import numpy as np

        client = current_client.get()
        if client is None:
            return self._compute(pairs, until, kept or {})
        costs = [_tokens(len(query) + len(text), self.spec.max_tokens) for query, text in pairs]
        items = [(*pair, (kept or {}).get(pair[1])) for pair in pairs]
        scores = self._queue.compute(client, items, costs, until)
        return np.array([math.nan if score is None else score for score in scores], np.float32)

    def _run(self, items: Sequence[tuple[str, str, bytes | None]], until: float | None) -> Sequence[Any]:
        # Two files may keep different things of one text: what disagrees is encoded again.
        kept: dict[str, bytes] = {}
        for _, text, states in items:
            if states is not None and kept.setdefault(text, states) != states:
                kept[text] = b""
        scores: list[float] = self._compute([item[:2] for item in items], until, kept).tolist()
        return scores

    def _compute(
        self, pairs: Sequence[tuple[str, str]], until: float | None, kept: Mapping[str, bytes]
    ) -> NDArray[np.float32]:
        score: Callable[..., NDArray[np.float32]] = self._scorer.score
        return score(pairs, until, **({"kept": kept} if kept else {}))


def _tokens(chars: int, window: int) -> int:
    return min(chars // _CHARS_PER_TOKEN + 1, window)
