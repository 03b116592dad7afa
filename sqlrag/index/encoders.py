"""Which model answers: the database's own, an index's own, or one that a query names."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import TYPE_CHECKING

from sqlrag.errors import InputError, ModelMismatchError, UnknownModelError
from sqlrag.models.registry import bundled_models, load_embedder, load_reranker

if TYPE_CHECKING:
    from sqlrag.index.registry import IndexRecord
    from sqlrag.models import Embedder, Reranker
    from sqlrag.text.chunking import Chunker

__all__ = ["Encoders", "chunker_of"]


class Encoders:
    """The models of one connection, loaded when they are first needed.

    SQL may name a model that is bundled or that this connection was given, never a path: a database file
    may come from a stranger, and its views must not load anything.
    """

    def __init__(
        self,
        embedder: str | Embedder | None = None,
        reranker: str | Reranker | None = None,
        backend: str = "onnx",
    ) -> None:
        self._embedder_choice = embedder
        self._reranker_choice = reranker
        self._backend = backend
        self._recorded: str | None = None
        self._lock = threading.RLock()
        self._used: dict[str, Embedder] = {}

    def use_recorded(self, name: str | None) -> None:
        """Take the model that the database records as its default, unless the connection was given one."""
        self._recorded = name

    @property
    def embedder(self) -> Embedder:
        """The bi-encoder of the database."""
        choice = self._embedder_choice
        with self._lock:
            if choice is None and self._recorded is not None and self._recorded not in bundled_models():
                raise UnknownModelError(
                    f"this database was made with the embedder {self._recorded!r}, which is not bundled: "
                    f"open it with embedder={self._recorded!r}, and backend='torch' if it is not an ONNX folder"
                )
            return load_embedder(choice or self._recorded, self._backend if choice else "onnx")

    @property
    def reranker(self) -> Reranker:
        """The cross-encoder of the connection."""
        with self._lock:
            choice = self._reranker_choice
            return load_reranker(choice, self._backend if choice else "onnx")

    def loaded_embedders(self) -> list[Embedder]:
        """Return the bi-encoders that have made vectors for this connection."""
        return list(self._used.values())

    def embedder_named(self, name: object) -> Embedder:
        """Return the bi-encoder that a query names, the database's own for NULL."""
        embedder = self._embedder_named(name)
        self._used.setdefault(embedder.id, embedder)
        return embedder

    def _embedder_named(self, name: object) -> Embedder:
        if name is None:
            return self.embedder
        self._check_name(name)
        if self._embedder_choice is not None and self.embedder.name == name:
            return self.embedder
        self._check_bundled(name, "bi-encoder", self.embedder.name if self._embedder_choice else None)
        return load_embedder(str(name))

    def reranker_named(self, name: object) -> Reranker:
        """Return the cross-encoder that a query names, the connection's own for NULL."""
        if name is None:
            return self.reranker
        self._check_name(name)
        if self._reranker_choice is not None and self.reranker.name == name:
            return self.reranker
        self._check_bundled(name, "cross-encoder", self.reranker.name if self._reranker_choice else None)
        return load_reranker(str(name))

    def embedder_of(self, record: IndexRecord) -> Embedder:
        """Return the bi-encoder that made an index. Raises ModelMismatchError if its weights are others."""
        if self._embedder_choice is not None and self.embedder.name == record.embedder:
            embedder = self.embedder
        elif record.embedder in bundled_models():
            embedder = load_embedder(record.embedder)
        else:
            raise UnknownModelError(
                f"index {record.name!r} was made with the embedder {record.embedder!r}, which is not bundled: "
                f"open the database with embedder={record.embedder!r}, and backend='torch' if it is not an ONNX folder"
            )
        if embedder.spec.weights_hash != record.embedder_hash:
            raise ModelMismatchError(
                f"index {record.name!r} was made with {record.embedder} of weights {record.embedder_hash[:12]}, "
                f"here it has weights {embedder.spec.weights_hash[:12]}: vectors of the two can't be compared. "
                "Open it with the same weights, or ingest the documents into a new database"
            )
        return embedder

    def check_choice(self, records: list[IndexRecord]) -> None:
        """Raise ModelMismatchError if the connection was given an embedder that made none of the indexes."""
        if self._embedder_choice is None or not records:
            return
        spec = self.embedder.spec
        if any((r.embedder, r.embedder_hash) == (spec.name, spec.weights_hash) for r in records):
            return
        made = ", ".join(f"{r.name!r} with {r.embedder} ({r.embedder_hash[:12]})" for r in records)
        raise ModelMismatchError(
            f"embedder is {spec.name} ({spec.weights_hash[:12]}), but the database has {made}: leave embedder out, "
            "or ingest the documents into a new database with the other model"
        )

    @staticmethod
    def _check_name(name: object) -> None:
        if not isinstance(name, str):
            raise InputError(f"model is {name!r}: it is the name of a model, as text")

    @staticmethod
    def _check_bundled(name: object, kind: str, given: str | None) -> None:
        known = [bundled for bundled, spec in bundled_models().items() if spec.kind == kind]
        if name not in known:
            known += [given] if given else []
            raise UnknownModelError(
                f"model is {name!r}: a query may name {', '.join(map(repr, known))}; "
                "another one is given when the database is opened, as embedder= or reranker="
            )


@lru_cache(maxsize=8, typed=True)
def chunker_of(embedder: Embedder, max_tokens: object, overlap: object) -> Chunker:
    """Return the chunker that counts in a model's tokens; it remembers the words that it has counted.

    Raises InputError for sizes that cannot be.
    """
    from sqlrag.text.chunking import Chunker

    return Chunker(embedder.tokenizer, max_tokens, overlap)  # type: ignore[arg-type]  # it checks them
