"""Models that a model server runs: this process sends it texts, and gets vectors and scores.

A model of this process takes over if the server breaks off, is too busy, or does not have the model.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from sqlrag.errors import Error, ModelFileError, ServerError, TimeLimitError, UnknownModelError
from sqlrag.models.cached_models import verified
from sqlrag.models.embedder import Embedder
from sqlrag.models.named_models import named_model, resolve
from sqlrag.models.reranker import Reranker
from sqlrag.models.stopping import current_stop
from sqlrag.models.tokenizer import windows
from sqlrag.process.forks import renew_locks
from sqlrag.serve.model_server.protocol import LONGEST_TEXT
from sqlrag.store.encoders import Encoders

if TYPE_CHECKING:
    import os

    import numpy as np
    from numpy.typing import NDArray

    from sqlrag.models.spec import ModelSpec, Role
    from sqlrag.serve.model_server.client import Client

__all__ = ["RemoteEncoders", "ServerModels"]

_PIECE = 256
"""Texts or pairs of a call: a few seconds of a model's work. A call may wait for 60."""

Model = TypeVar("Model", Embedder, Reranker)


class ServerModels:
    """The models of a server. Each method returns None if a model of this process has to answer instead.

    After a ServerError that is always so: the server has ended, or has broken the protocol.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()  # a connection has one call at a time
        renew_locks(self)
        self.is_connected = True
        """Whether the server still answers."""

    def vectors(self, spec: ModelSpec, role: Role, texts: Sequence[str]) -> list[bytes] | None:
        """Return the vector of each text, float32."""
        found: list[bytes] = []
        for start, end in windows(texts, _PIECE):
            vectors = self._call("model_embed", spec, end - start, role, *texts[start:end])
            if vectors is None:
                return None
            found += vectors
        if any(not isinstance(vector, bytes) or len(vector) != 4 * (spec.dimension or 0) for vector in found):
            self._break_off()
            return None
        return found

    def scores(
        self, spec: ModelSpec, pairs: Sequence[tuple[str, str]], until: float | None, kept: Mapping[str, bytes]
    ) -> list[float] | None:
        """Return the score of each pair, NaN for those that were not begun before `until`, as a scorer does.

        `kept`: what is kept of some of the documents.
        """
        found: list[float] = []
        for start, end in windows(pairs, _PIECE):
            seconds = None if until is None else until - time.monotonic()
            if start and seconds is not None and seconds <= 0:
                return found + [math.nan] * (len(pairs) - start)
            texts = [
                value
                for query, text in pairs[start:end]
                for value in (query, text, *([kept[text]] if text in kept else []))
            ]
            scores = self._call("model_score", spec, end - start, seconds, *texts)
            if scores is None:
                return None
            found += [math.nan if score is None else score for score in scores]
        if not all(isinstance(score, float) and (until is not None or not math.isnan(score)) for score in found):
            self._break_off()
            return None
        return found

    def _call(self, function: str, spec: ModelSpec, count: int, *arguments: Any) -> list[Any] | None:
        """Return the `count` values of a function of the server's. Raises SQLError if it was interrupted."""
        if not self.is_connected or any(isinstance(one, str) and len(one) > LONGEST_TEXT for one in arguments):
            return None
        try:
            with self._lock:
                rows = self._client.call(function, spec.name, spec.identity, *arguments)
        except ServerError:
            self._break_off()
            return None
        except (TimeLimitError, UnknownModelError, ModelFileError):
            return None
        except Error:
            current_stop().check()
            raise
        if len(rows) != count or any(len(row) != 1 for row in rows):
            self._break_off()
            return None
        return [value for (value,) in rows]

    def _break_off(self) -> None:
        self.is_connected = False
        self._client.close()


class RemoteEncoders(Encoders):
    """The models of a connection, which a server runs."""

    def __init__(self, models: ServerModels, reranker: str | None) -> None:
        super().__init__(None, reranker)
        self.models = models
        self._opened: dict[tuple[str, str], Any] = {}

    are_remote = True

    _named_model = staticmethod(partial(named_model, verify=False))

    def _load_embedder(
        self, model: str | os.PathLike[str] | Embedder | ModelSpec | None = None, backend: str = "onnx"
    ) -> Embedder:
        if isinstance(model, Embedder):
            return model
        del backend  # a connection that is given no model has ONNX Runtime's
        spec = resolve(model, "bi-encoder", verify=False)
        return self._once(spec, lambda: _RemoteEmbedder(spec, self.models))

    def _load_reranker(
        self, model: str | os.PathLike[str] | Reranker | ModelSpec | None = None, backend: str = "onnx"
    ) -> Reranker:
        if isinstance(model, Reranker):
            return model
        del backend
        spec = resolve(model, "cross-encoder", verify=False)
        return self._once(spec, lambda: _RemoteReranker(spec, self.models))

    def _once(self, spec: ModelSpec, make: Callable[[], Model]) -> Model:
        """Return the model of a specification, which remembers vectors or scores; make it at the first call."""
        key = str(spec.folder), spec.identity
        if key not in self._opened:
            self._opened[key] = make()
        opened: Model = self._opened[key]
        return opened


class _RemoteEmbedder(Embedder):
    """A bi-encoder of the server's."""

    def __init__(self, spec: ModelSpec, models: ServerModels) -> None:
        super().__init__(spec)  # which opens nothing before its first use
        self._models = models

    def _vectors(self, texts: list[str], role: Role) -> list[bytes]:
        found = self._models.vectors(self.spec, role, texts)
        if found is not None:
            return found
        verified(self.spec)
        return [vector.tobytes() for vector in super()._run(texts, role)]

    def _run(self, texts: list[str], role: Role) -> NDArray[np.float32]:
        import numpy as np

        vectors = bytearray(b"".join(self._vectors(texts, role)))
        return np.frombuffer(vectors, np.float32).reshape(len(texts), self.dimension)


class _RemoteReranker(Reranker):
    """A cross-encoder of the server's."""

    def __init__(self, spec: ModelSpec, models: ServerModels) -> None:
        super().__init__(spec)
        self._models = models

    def _computed(self, pairs: list[tuple[str, str]], until: float | None, kept: Mapping[str, bytes]) -> list[float]:
        found = self._models.scores(self.spec, pairs, until, kept)
        if found is not None:
            return found
        verified(self.spec)
        return super()._computed(pairs, until, kept)
