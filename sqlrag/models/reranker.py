"""The cross-encoder: a query and a document together to a score, with sentence-transformers' semantics."""

from __future__ import annotations

import hashlib
import math
import threading
from typing import TYPE_CHECKING, Any, Protocol

from sqlrag.errors import InputError
from sqlrag.models.inputs import as_text, as_texts
from sqlrag.models.recent_cache import RecentCache
from sqlrag.models.registry import open_scorer
from sqlrag.process.forks import renew_locks
from sqlrag.values.arguments import check_flag, check_k, several

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from sqlrag.models.spec import ModelSpec
    from sqlrag.models.tokenizer import ModelTokenizer

__all__ = ["Reranker", "Scorer"]

_SCORES = 65_536


class Scorer(Protocol):
    """What a backend offers for a cross-encoder."""

    spec: ModelSpec
    tokenizer: ModelTokenizer

    def conditions(self) -> tuple[str, ...]:
        """Return what a score depends on besides the pair and the specification: tokenizer, library, precision."""

    def score(self, pairs: Sequence[tuple[str, str]], until: float | None = None) -> NDArray[np.float32]:
        """Return the pairs' scores, (n,) float32.

        `until`: they are begun in their order, after this time (`time.monotonic`) none but the first; the score of
        those that were not is NaN.
        """


class Reranker:
    """A cross-encoder, safe to use from several threads; it never pays twice for the same pair.

    `model`: a bundled name (None: the default), the name of a pulled model, a folder, ours or
    sentence-transformers', or a specification; with `backend="torch"` any Hugging Face name or folder. `threads`:
    pairs scored side by side (None: one per usable CPU); it changes the speed only, never a score.

    Raises UnknownModelError, InputError, and MissingDependencyError where the torch extra is needed.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | ModelSpec | None = None,
        *,
        backend: str = "onnx",
        threads: int | None = None,
    ) -> None:
        self._scorer: Scorer = open_scorer(model, backend, threads)
        self._scores: RecentCache[float] = RecentCache(_SCORES)
        self._lock = threading.Lock()
        renew_locks(self)
        self._hashed = ("", hashlib.blake2b(b"0:", digest_size=16))
        self.pairs_scored = 0

    def __repr__(self) -> str:
        return f"<Reranker {self.id}>"

    @property
    def spec(self) -> ModelSpec:
        """The model's specification."""
        return self._scorer.spec

    @property
    def name(self) -> str:
        """The model's name."""
        return self.spec.name

    @property
    def id(self) -> str:
        """The model's name and the start of its weights' hash."""
        return self.spec.id

    @property
    def max_tokens(self) -> int:
        """The model's window in tokens: query, document and special tokens together."""
        return self.spec.max_tokens

    def score(self, query: str, documents: Iterable[str]) -> NDArray[np.float32]:
        """Return the relevance of each document to the query, (n,) float32, higher is better.

        Within 0 and 1 for a model whose activation is the sigmoid, as the bundled one's. A pair longer than
        the window is cut, its longer side first. Raises InputError for anything but text.
        """
        query = as_text(query, "query")
        return self._score([(query, text) for text in as_texts(documents, "documents")])

    def score_pairs(self, pairs: Iterable[Sequence[str]]) -> NDArray[np.float32]:
        """Return the score of each (query, document), as `score`."""
        return self._score(pairs)

    def rank(
        self,
        query: str,
        documents: Iterable[str],
        top_k: int | None = None,
        return_documents: bool = False,
    ) -> list[dict[str, Any]]:
        """Return `{"corpus_id", "score"[, "text"]}` of the documents, best first, as `CrossEncoder.rank`."""
        best = None if top_k is None else check_k("rank", "top_k", top_k)
        return_documents = check_flag("rank", "return_documents", return_documents)
        texts = as_texts(documents, "documents")
        scores = self.score(query, texts).tolist()
        ranked: list[dict[str, Any]] = [
            {"corpus_id": number, "score": score} | ({"text": texts[number]} if return_documents else {})
            for number, score in enumerate(scores)
        ]
        return sorted(ranked, key=lambda hit: -hit["score"])[:best]

    def score_until(self, query: str, documents: Sequence[str], until: float) -> NDArray[np.float32]:
        """Return what `score` does, as far as time allows: NaN for a document whose turn did not come.

        They are scored in their order. After `until` (`time.monotonic`) none is begun but the first; one that has
        begun is finished. A score that is remembered takes no time.
        """
        query = as_text(query, "query")
        return self._score([(query, text) for text in as_texts(documents, "documents")], until)

    def remembered(self, query: str, documents: Sequence[str]) -> list[float | None]:
        """Return the scores that are remembered, so that asking for them costs nothing; None for the others."""
        return [self._scores.get(self.digest(query, text)) for text in as_texts(documents, "documents")]

    @property
    def fingerprint(self) -> bytes:
        """A hash, of 16 bytes, of all that decides the score of a pair: rerankers that agree in it score alike.

        Another kind of CPU can still change the third decimal of an int8 model's score.
        """
        spec = self.spec
        settled = (spec.weights_hash, spec.max_tokens, spec.activation, *self._scorer.conditions())
        return hashlib.blake2b(repr(settled).encode(), digest_size=16).digest()

    def _score(self, pairs: Iterable[Sequence[str]], until: float | None = None) -> NDArray[np.float32]:
        import numpy as np

        return np.array(self.pair_scores(pairs, until), np.float32)

    def pair_scores(self, pairs: Iterable[Sequence[str]], until: float | None = None) -> list[float]:
        """Return the score of each (query, document) as a list; `until` as for `score_until`."""
        pairs = several("pairs", pairs, "(query, document)")
        texts = [_as_pair(pair, number) for number, pair in enumerate(pairs)]
        keys = [self.digest(*pair) for pair in texts]
        found = {key: self._scores.get(key) for key in dict.fromkeys(keys)}
        known = {key: math.nan if score is None else score for key, score in found.items()}
        missing = {key: pair for key, pair in zip(keys, texts, strict=True) if found[key] is None}
        if missing:
            scores = self._computed(list(missing.values()), until)
            new = {key: score for key, score in zip(missing, scores, strict=True) if not math.isnan(score)}
            self._scores.put(new.items())
            known.update(new)
            with self._lock:
                self.pairs_scored += len(new)
        return [known[key] for key in keys]

    def _computed(self, pairs: list[tuple[str, str]], until: float | None) -> list[float]:
        scores: list[float] = self._scorer.score(pairs, until).tolist()
        return scores

    def digest(self, query: str, text: str) -> bytes:
        """Return a hash of a pair, 16 bytes; the query's length keeps ("a", "bc") apart from ("ab", "c").

        A query meets many texts: what has been hashed of the last one is kept, so that 50 MB are hashed once.
        """
        query, text = as_text(query, "query"), as_text(text, "text")
        last, hashed = self._hashed
        if query != last:
            encoded = query.encode()
            hashed = hashlib.blake2b(b"%d:" % len(encoded) + encoded, digest_size=16)
            self._hashed = (query, hashed)
        hashed = hashed.copy()
        hashed.update(text.encode())
        return hashed.digest()


def _as_pair(pair: Any, number: int) -> tuple[str, str]:
    texts = as_texts(pair, f"pairs[{number}]")
    if len(texts) != 2:
        msg = f"pairs[{number}] must be (query, document), not {len(texts)} texts"
        raise InputError(msg)
    return texts[0], texts[1]
