"""The second stage's scores: remembered by the process, kept in the database's score cache, or computed.

The reranker remembers scores for the whole process. Scores from a cache table are used for its own connection only.
They never enter the reranker's memory, so that one database's table cannot change the results of another.
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sqlrag.errors import RerankLimitError
from sqlrag.models.recent_cache import RecentCache
from sqlrag.process.forks import renew_locks

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from sqlrag.models import Reranker
    from sqlrag.store.candidates import Candidates

__all__ = ["ScoreCache", "Scores"]

_ANSWERS = 65_536


class ScoreCache(Protocol):
    """A table of scores that outlives the process. Nothing that goes wrong with it is raised: it is a cache."""

    @property
    def is_on(self) -> bool:
        """Whether scores are looked up in it, and kept."""

    def read(self, model: bytes, pairs: Iterable[bytes]) -> dict[bytes, float]:
        """Return the scores of those pairs that it has."""

    def keep(self, model: bytes, scores: Mapping[bytes, float]) -> None:
        """Keep scores, at once or when the connection is next at rest."""

    def flush(self) -> None:
        """Write what is still to be kept, if the connection is at rest."""

    def counts(self) -> tuple[int, int] | None:
        """Return the number of rows and of the hits on them; None where there is no such table."""


@dataclass(frozen=True)
class _Batch:
    """The scores of candidates that were scored together."""

    reranker: Reranker
    query: str
    scores: dict[str, float | None]


class Scores:
    """The scores of one connection. A statement computes at most `limit` of them, and stops at the next."""

    def __init__(self, limit: int, cache: ScoreCache | None = None) -> None:
        self.cache = cache
        self._limit = limit
        self._answers: RecentCache[float] = RecentCache(_ANSWERS)
        self._pairs = 0
        self._batch: _Batch | None = None
        self._lock = threading.Lock()
        renew_locks(self)

    def begin_statement(self) -> None:
        """Start counting anew, and write what the last statement left to be kept."""
        self._pairs = 0
        self._batch = None
        if self.cache is not None:
            self.cache.flush()

    def score_row(self, reranker: Reranker, query: str, text: str, candidates: Candidates) -> float | None:
        """Return the score of a text, for a statement that asks row by row.

        A text that must be computed is scored together with the candidates that it belongs to, and their scores are
        kept for the next rows. Raises RerankLimitError.
        """
        batch = self._batch
        if batch is not None and batch.reranker is reranker and batch.query == query and text in batch.scores:
            return batch.scores[text]
        (known,) = self._known(reranker, [reranker.digest(query, text)]).values()
        if known is not None:
            return known
        kept = candidates.kept([text]) if reranker.encoder else None
        texts = [text, *candidates.beside(text, self._limit - self._pairs)]
        scores = self.score(reranker, query, texts, kept=kept)
        if len(texts) > 1:
            self._batch = _Batch(reranker, query, dict(zip(texts, scores, strict=True)))
        return scores[0]

    def score(
        self,
        reranker: Reranker,
        query: str,
        texts: Sequence[str],
        seconds: float | None = None,
        kept: Mapping[str, bytes] | None = None,
    ) -> list[float | None]:
        """Return the score of each text. Each pair is hashed once.

        `seconds`: how long it may take. A known score costs nothing. Of the others the first is scored in any case,
        unless there is no time at all, the next ones in their order while there is time; the rest are None.
        `kept`: what is kept of some of the texts, for a reranker that reads states.
        Raises RerankLimitError.
        """
        until = None if seconds is None else time.monotonic() + seconds
        more = {"kept": kept} if kept else {}
        states = {text: {"kept": kept[text]} for text in texts if text in kept} if kept else {}
        digests = {text: reranker.digest(query, text, **states.get(text, {})) for text in dict.fromkeys(texts)}
        known = self._known(reranker, digests.values())
        missing = {digest: (query, text) for text, digest in digests.items() if known[digest] is None}
        if until is None:
            self._count(len(missing))
            known.update(reranker.scored(missing, None, **more))
        elif seconds:
            found = reranker.scored(missing, until, **more)
            known.update(found)
            self._count(len(found))
        self._keep(reranker, known)
        return [known[digests[text]] for text in texts]

    def _count(self, pairs: int) -> None:
        with self._lock:
            self._pairs += pairs
            if self._pairs > self._limit:
                raise RerankLimitError(
                    f"this statement scores more than rerank_limit = {self._limit} pairs: rerank the candidates "
                    "of a top-k function, not a whole table, or raise rerank_limit when you connect"
                )

    def _known(self, reranker: Reranker, digests: Collection[bytes]) -> dict[bytes, float | None]:
        """Return the scores of pairs that cost nothing, by the hashes of the pairs; None for the others."""
        known = dict(zip(digests, reranker.recalled(digests), strict=True))
        if self.cache is None or not self.cache.is_on or None not in known.values():
            return known
        model = reranker.fingerprint
        known |= {digest: self._answers.get(model + digest) for digest, score in known.items() if score is None}
        found = self.cache.read(model, [digest for digest, score in known.items() if score is None])
        self._answers.put((model + digest, score) for digest, score in found.items())
        return known | found

    def _keep(self, reranker: Reranker, scores: Mapping[bytes, float | None]) -> None:
        """Have the cache keep what it is not known to have."""
        if self.cache is None or not self.cache.is_on:
            return
        model = reranker.fingerprint
        new = {
            digest: score
            for digest, score in scores.items()
            if score is not None and math.isfinite(score) and self._answers.get(model + digest) is None
        }
        if new:
            self._answers.put((model + digest, score) for digest, score in new.items())
            self.cache.keep(model, new)
