"""The cross-encoder: a query and a document together to a score, with sentence-transformers' semantics."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from sqlrag.errors import InputError
from sqlrag.models.embedder import unit
from sqlrag.models.model import Backend, Model, as_text, as_texts
from sqlrag.values.arguments import check_flag, check_k, several, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray


__all__ = ["Reranker", "Scorer"]

_SCORES = 65_536


class Scorer(Backend, Protocol):
    """The backend of a cross-encoder."""

    def conditions(self) -> tuple[str, ...]:
        """Return what a score depends on besides the pair and the specification: tokenizer, library, precision."""

    def score(self, pairs: Sequence[tuple[str, str]], until: float | None = None) -> NDArray[np.float32]:
        """Return the pairs' scores, (n,) float32.

        With `until` (`time.monotonic`) pairs are begun in their order, and after that time none but the first. The
        score of a pair that was not begun is NaN. A scorer that reads states (`spec.encoder`) also takes `kept`.
        """


class Reranker(Model["Scorer", float]):
    """A cross-encoder: it scores how well a document answers a query. Several threads may share it.

    The last 65,536 scores are remembered, so that scoring the same pair again costs nothing.

    Parameters:
        model: A bundled model or a pulled one by its name (None: the bundled default), a model folder, a folder that
            sentence-transformers saved, or a specification; with `backend="torch"` any Hugging Face name or folder; a
            remote endpoint's (`cohere:MODEL`), or an object of your own (`sqlrag.models.PairScorer`).
        backend: "onnx", or "torch".
        threads: How many pairs are scored side by side; by default one per usable CPU. It changes the speed, never a
            score.

    Raises:
        UnknownModelError: There is no such model.
        InputError: The model is a bi-encoder, or an argument is wrong.
        MissingDependencyError: The torch extra is needed and not installed.

    Examples:
        >>> reranker = sqlrag.Reranker()
        >>> reranker
        <Reranker reranker-v1@...>
        >>> int(reranker.score("green tea", ["Let green tea steep.", "Copies are made every night."]).argmax())
        0
    """

    kind = "cross-encoder"
    _results_kept = _SCORES

    def __init__(self, model: Any = None, *, backend: str = "onnx", threads: int | None = None) -> None:
        super().__init__(model, backend=backend, threads=threads)
        self._hashed = ("", hashlib.blake2b(b"0:", digest_size=16))

    @property
    def pairs_scored(self) -> int:
        """The number of pairs that the model has scored for this reranker; remembered scores do not count."""
        return self._done

    @property
    def fingerprint(self) -> bytes:
        """A hash, of 16 bytes, of everything that decides a score: rerankers with the same fingerprint score alike.

        Even so, another kind of CPU can change the third decimal of an int8 model's score.
        """
        spec = self.spec
        exact = f"{spec.identity} {spec.precision}" if spec.precision else spec.weights_hash
        settled = (exact, spec.max_tokens, spec.activation, *self._backend.conditions())
        return hashlib.blake2b(repr(settled).encode(), digest_size=16).digest()

    @property
    def encoder(self) -> str:
        """The id of the bi-encoder whose states the model reads; "" for a model that reads texts."""
        return self.spec.encoder

    @property
    def form(self) -> bytes:
        """What all begins with that the model keeps of texts. Only a model that reads states has it."""
        form: bytes = self._backend.form  # type: ignore[attr-defined]
        return form

    def encode(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], list[bytes]]:
        """Return the vector of each text, and what can be kept of it for `pair_scores`, after one pass of the encoder.

        Only a model that reads states (`encoder`) can do this.

        Parameters:
            texts: The texts.

        Returns:
            (n, dimension) float32, the vectors of `Embedder.encode_document` with the model `encoder`; and the BLOBs.

        Raises:
            InputError: The model reads texts, as the bundled ones do.

        Examples:
            >>> reranker = sqlrag.Reranker()
            >>> reranker.encode(["tea"]) if reranker.encoder else None
        """
        if not self.encoder:
            raise InputError(f"the reranker {self.name} reads texts, not states: nothing can be kept of them")
        vectors, kept = self._backend.encode(as_texts(texts, "texts"))  # type: ignore[attr-defined]
        return unit(vectors), kept

    def score(self, query: str, documents: Iterable[str]) -> NDArray[np.float32]:
        """Return how well each document answers a query. Higher is better.

        Scores lie between 0 and 1 if the model's activation is the sigmoid, as it is for the bundled models. A pair
        that is longer than the window is cut, its longer side first.

        Parameters:
            query: The query.
            documents: The documents.

        Returns:
            (n,) float32.

        Raises:
            InputError: `query` is not a text, or `documents` is not a sequence of texts.

        Examples:
            >>> sqlrag.Reranker().score("green tea", ["Let green tea steep.", "It rains."]).shape
            (2,)
        """
        return self._score(self._pairs(query, documents))

    def score_pairs(self, pairs: Iterable[Sequence[str]]) -> NDArray[np.float32]:
        """Return the score of each pair, as `score` does.

        Parameters:
            pairs: (query, document) each.

        Returns:
            (n,) float32.

        Raises:
            InputError: `pairs` is not a sequence of pairs of texts.

        Examples:
            >>> sqlrag.Reranker().score_pairs([("green tea", "Let green tea steep."), ("rain", "It rains.")]).shape
            (2,)
        """
        return self._score(pairs)

    def rank(
        self,
        query: str,
        documents: Iterable[str],
        top_k: int | None = None,
        return_documents: bool = False,
    ) -> list[dict[str, Any]]:
        """Return the documents in the order of their scores, best first, as `CrossEncoder.rank` does.

        Parameters:
            query: The query.
            documents: The documents.
            top_k: How many to return at most; by default all.
            return_documents: Return the texts too.

        Returns:
            For each document its position in `documents` as "corpus_id", its "score", and perhaps its "text".

        Raises:
            InputError: An argument is wrong.

        Examples:
            >>> sqlrag.Reranker().rank("green tea", ["It rains.", "Let green tea steep."], top_k=1)
            [{'corpus_id': 1, 'score': ...}]
        """
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
        """Return the scores of as many documents as there is time for.

        Documents are scored in their order. After `until` none is begun but the first; one that was begun is finished.
        A remembered score takes no time.

        Parameters:
            query: The query.
            documents: The documents.
            until: A time of `time.monotonic`, in seconds.

        Returns:
            (n,) float32, NaN for each document that was not scored.

        Raises:
            InputError: `query` is not a text, or `documents` is not a sequence of texts.

        Examples:
            >>> found = sqlrag.Reranker(threads=1).score_until("green tea", ["Let green tea steep.", "It rains."], 0)
            >>> [bool(score > 0) for score in found]
            [True, False]
        """
        return self._score(self._pairs(query, documents), until)

    def remembered(self, query: str, documents: Sequence[str]) -> list[float | None]:
        """Return the scores that are in memory, without running the model.

        Parameters:
            query: The query.
            documents: The documents.

        Returns:
            The score of each document, None where it is not known.

        Raises:
            InputError: `query` is not a text, or `documents` is not a sequence of texts.

        Examples:
            >>> sqlrag.Reranker().remembered("green tea", ["Let green tea steep."])
            [None]
        """
        return self.recalled(self.digest(query, text) for text in as_texts(documents, "documents"))

    def pair_scores(
        self, pairs: Iterable[Sequence[str]], until: float | None = None, kept: Mapping[str, bytes] | None = None
    ) -> list[float]:
        """Return the score of each pair as a list of floats.

        Parameters:
            pairs: (query, document) each.
            until: A time of `time.monotonic`; see `score_until`. None: no limit.
            kept: What `encode` has returned for some of the documents.

        Returns:
            The scores, NaN for each pair that was not scored.

        Raises:
            InputError: `pairs` is not a sequence of pairs of texts.

        Examples:
            >>> len(sqlrag.Reranker().pair_scores([("rain", "It rains."), ("rain", "Let green tea steep.")]))
            2
        """
        pairs = several("pairs", pairs, "(query, document)")
        texts = [_as_pair(pair, number) for number, pair in enumerate(pairs)]
        kept = _as_kept(kept)
        keys = [self.digest(*pair, kept.get(pair[1])) for pair in texts]
        found = dict(zip(keys, self.recalled(keys), strict=True))
        missing = {key: pair for key, pair in zip(keys, texts, strict=True) if found[key] is None}
        new = self.scored(missing, until, kept)
        return [math.nan if score is None else score for score in (new.get(key, found[key]) for key in keys)]

    def recalled(self, digests: Iterable[bytes]) -> list[float | None]:
        """Return the scores that are in memory of pairs given by their hashes, without running the model.

        Parameters:
            digests: What `digest` returns for each pair.

        Returns:
            The score of each pair, None where it is not known.

        Raises:
            InputError: `digests` is not a sequence of hashes.

        Examples:
            >>> reranker = sqlrag.Reranker()
            >>> reranker.recalled([reranker.digest("rain", "It rains.")])
            [None]
        """
        return [self._recent.get(_as_digest(digest)) for digest in several("digests", digests, "hashes of pairs")]

    def scored(
        self,
        pairs: Mapping[bytes, tuple[str, str]],
        until: float | None = None,
        kept: Mapping[str, bytes] | None = None,
    ) -> dict[bytes, float]:
        """Run the model on pairs whose hashes are known, and remember the scores.

        Parameters:
            pairs: (query, document) by what `digest` returns for it.
            until: A time of `time.monotonic`; see `score_until`. None: no limit.
            kept: What `encode` has returned for some of the documents, whose hashes were made with it.

        Returns:
            The scores by the hashes, without the pairs that were not scored.

        Raises:
            InputError: `pairs` is not a mapping of pairs of texts.

        Examples:
            >>> reranker = sqlrag.Reranker()
            >>> digest = reranker.digest("rain", "It rains.")
            >>> list(reranker.scored({digest: ("rain", "It rains.")})) == [digest]
            True
        """
        if not isinstance(pairs, Mapping):
            raise InputError(f"pairs is {shown(pairs)}: it takes a mapping of hashes to (query, document)")
        if not pairs:
            return {}
        texts = [_as_pair(pair, number) for number, pair in enumerate(pairs.values())]
        scores = self._computed(texts, until, _as_kept(kept))
        new = {key: score for key, score in zip(pairs, scores, strict=True) if not math.isnan(score)}
        self._recent.put(new.items())
        self._count(len(new))
        return new

    def _computed(self, pairs: list[tuple[str, str]], until: float | None, kept: Mapping[str, bytes]) -> list[float]:
        more = {"kept": kept} if kept and self.encoder else {}
        score: Callable[..., NDArray[np.float32]] = self._backend.score
        scores: list[float] = score(pairs, until, **more).tolist()
        return scores

    def digest(self, query: str, text: str, kept: bytes | None = None) -> bytes:
        """Return a hash of a pair.

        The length of the query is part of it, so that ("a", "bc") differs from ("ab", "c"). A query meets many texts:
        the state of the last one's hash is kept, so that a query of 50 MB is hashed once.

        Parameters:
            query: The query.
            text: The document.
            kept: What is kept of it. It is part of the hash: a file's BLOB that is not what the model would keep must
                not change the score of the same text from another file.

        Returns:
            16 bytes.

        Raises:
            InputError: An argument is not a text.

        Examples:
            >>> len(sqlrag.Reranker().digest("green tea", "Let green tea steep."))
            16
        """
        query, text = as_text(query, "query"), as_text(text, "text")
        last, hashed = self._hashed
        if query != last:
            encoded = query.encode()
            hashed = hashlib.blake2b(b"%d:" % len(encoded) + encoded, digest_size=16)
            self._hashed = (query, hashed)
        hashed = hashed.copy()
        hashed.update(text.encode())
        if kept is not None:
            hashed.update(b"\xff" + _as_blob(kept))  # which is in no UTF-8
        return hashed.digest()

    def _score(self, pairs: Iterable[Sequence[str]], until: float | None = None) -> NDArray[np.float32]:
        import numpy as np

        return np.array(self.pair_scores(pairs, until), np.float32)

    @staticmethod
    def _pairs(query: str, documents: Iterable[str]) -> list[tuple[str, str]]:
        query = as_text(query, "query")
        return [(query, text) for text in as_texts(documents, "documents")]


def _as_digest(digest: object) -> bytes:
    if not isinstance(digest, bytes):
        raise InputError(f"digest is {shown(digest)}: it takes what digest() returns")
    return digest


def _as_kept(kept: Any) -> Mapping[str, bytes]:
    if kept is None:
        return {}
    if not isinstance(kept, Mapping):
        raise InputError(f"kept is {shown(kept)}: it takes a mapping of documents to what encode() returns of them")
    for blob in kept.values():
        _as_blob(blob)
    return kept


def _as_blob(blob: object) -> bytes:
    if not isinstance(blob, bytes):
        raise InputError(f"kept has {shown(blob)}: it takes what encode() returns")
    return blob


def _as_pair(pair: Any, number: int) -> tuple[str, str]:
    texts = as_texts(pair, f"pairs[{number}]")
    if len(texts) != 2:
        raise InputError(f"pairs[{number}] must be (query, document), not {len(texts)} texts")
    return texts[0], texts[1]
