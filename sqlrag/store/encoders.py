"""Which model answers: the database's own, an index's own, or one that a query names."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import TYPE_CHECKING

from sqlrag.errors import InputError, ModelMismatchError, UnknownModelError
from sqlrag.models.hub import is_hub_name
from sqlrag.models.loaded import load_embedder, load_reranker
from sqlrag.models.named_models import is_remote, model_names, named_model
from sqlrag.process.forks import renew_locks

if TYPE_CHECKING:
    from sqlrag.models import Embedder, Reranker
    from sqlrag.models.spec import Kind, ModelSpec
    from sqlrag.store.registry import IndexRecord
    from sqlrag.text.chunking import Chunker

__all__ = ["Encoders", "chunker_of", "index_chunker"]


class Encoders:
    """The models of one connection, loaded when they are first needed.

    SQL, and what a database records, may name a model that is bundled, that the user has pulled or that this
    connection was given, never a path: a database file may come from a stranger, and must not load anything else.
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
        renew_locks(self)
        self._used: dict[str, Embedder] = {}
        self._given: dict[str, Embedder] = {}
        self._named: dict[tuple[str, str | None], Embedder] = {}

    def use_recorded(self, name: str | None) -> None:
        """Take the model that the database records as its default, unless the connection was given one."""
        self._recorded = name

    @property
    def embedder(self) -> Embedder:
        """The bi-encoder of the database."""
        choice = self._embedder_choice
        with self._lock:
            if choice is not None:
                return self._load_embedder(choice, self._backend)
            if self._recorded is None:
                return self._load_embedder()
            if self._recorded in self._given:
                return self._given[self._recorded]
            return self._named_embedder(self._recorded, f"this database was made with {self._recorded!r}")

    @property
    def reranker(self) -> Reranker:
        """The cross-encoder of the connection."""
        with self._lock:
            choice = self._reranker_choice
            return self._load_reranker(choice, self._backend if choice else "onnx")

    def loaded_embedders(self) -> list[Embedder]:
        """Return the bi-encoders that have made vectors for this connection."""
        return list(self._used.values())

    def give(self, embedder: str | Embedder) -> Embedder:
        """Return the embedder of a new index, by name, folder or itself, and know it from then on."""
        given = self._load_embedder(embedder, self._backend)
        with self._lock:
            self._given[given.name] = given
        return given

    def embedder_named(self, name: object) -> Embedder:
        """Return the bi-encoder that a query names, the database's own for NULL."""
        embedder = self._embedder_named(name)
        self._used.setdefault(embedder.id, embedder)
        return embedder

    def _embedder_named(self, name: object) -> Embedder:
        if name is None:
            return self.embedder
        checked = _checked(name)
        if self._embedder_choice is not None and self.embedder.name == checked:
            return self.embedder
        if checked in self._given:
            return self._given[checked]
        _check_known(checked, "bi-encoder", self.embedder.name if self._embedder_choice else None)
        return self._load_embedder(self._named_model(checked))

    def reranker_named(self, name: object) -> Reranker:
        """Return the cross-encoder that a query names, the connection's own for NULL."""
        if name is None:
            return self.reranker
        checked = _checked(name)
        if self._reranker_choice is not None and self.reranker.name == checked:
            return self.reranker
        _check_known(checked, "cross-encoder", self.reranker.name if self._reranker_choice else None)
        return self._load_reranker(self._named_model(checked))

    def embedder_of(self, record: IndexRecord) -> Embedder:
        """Return the bi-encoder that made an index. Raises ModelMismatchError if its weights are others."""
        given = ([self.embedder] if self._embedder_choice is not None else []) + list(self._given.values())
        same = [one for one in given if one.spec.made(record.embedder_hash)]
        named = [one for one in given if one.name == record.embedder]
        if same or named:
            embedder = (same + named)[0]
        else:
            made = f"index {record.name!r} was made with the embedder {record.embedder!r}"
            embedder = self._named_embedder(record.embedder, made, record.embedder_hash)
        if not embedder.spec.made(record.embedder_hash):
            raise ModelMismatchError(
                f"index {record.name!r} was made with {record.embedder}@{record.embedder_hash[:12]}, here it is "
                f"{embedder.id}{_precision_of(embedder.spec)}: other weights, prompts, pooling, window or precision, "
                "so vectors of the two can't be compared. Open it with the same model"
                f"{_other_precision(embedder.spec)}, or make it anew with this one: sqlrag reindex DB --index "
                f"{record.name} --model {record.embedder}"
            )
        return embedder

    def reader_of(self, record: IndexRecord) -> Reranker | None:
        """Return the connection's cross-encoder if it reads the states of an index's bi-encoder."""
        reranker = self.reranker
        made = f"{record.embedder}@{record.embedder_hash[:12]}"
        return reranker if reranker.encoder == made and not self.are_remote else None

    are_remote = False
    """Whether another process runs the models, which gives vectors and scores only."""

    def _named_embedder(self, name: str, made: str, identity: str | None = None) -> Embedder:
        # Looking through the cache costs a millisecond, which a query should not pay.
        key = (name, identity)
        if key in self._named:
            return self._named[key]
        if is_remote(name):
            raise UnknownModelError(
                f"{made}, which answers at a remote endpoint: nothing is sent there unless you name it yourself, with "
                f"embedder={name!r} in Python, or --embedder {name!r} at the command line"
            )
        try:
            spec = self._named_model(name, identity)
        except UnknownModelError as error:
            raise UnknownModelError(
                f"{made}, which is neither bundled nor pulled: `sqlrag models pull` it, or open the database with "
                f"embedder={name!r} and, if it was made so, backend='torch'"
            ) from error
        self._named[key] = self._load_embedder(spec)
        return self._named[key]

    # How models are opened; those of a model server are opened otherwise.

    _named_model = staticmethod(named_model)
    _load_embedder = staticmethod(load_embedder)
    _load_reranker = staticmethod(load_reranker)

    def check_choice(self, records: list[IndexRecord]) -> None:
        """Raise ModelMismatchError if the connection was given an embedder that made none of the indexes."""
        if self._embedder_choice is None or not records:
            return
        spec = self.embedder.spec
        if any(spec.made(r.embedder_hash) for r in records):
            return
        made = ", ".join(f"{r.name!r} with {r.embedder} ({r.embedder_hash[:12]})" for r in records)
        raise ModelMismatchError(
            f"embedder is {spec.name} ({spec.identity[:12]}{_precision_of(spec, ', ')}), but the database has {made}: "
            "leave embedder out"
            f"{_other_precision(spec)}, or give the index the other model: sqlrag reindex DB --model {spec.name}"
        )


def _precision_of(spec: ModelSpec, before: str = " in ") -> str:
    return f"{before}{spec.precision}" if spec.precision else ""


def _other_precision(spec: ModelSpec) -> str:
    """Return the remedy for an index that another precision of the model made."""
    if not spec.precision or not is_hub_name(spec.name):
        return ""
    other = "fp32" if spec.precision == "int8" else "int8"
    return f" (`sqlrag models pull {spec.name} --precision {other}` if only the precision differs)"


def _checked(name: object) -> str:
    if not isinstance(name, str):
        raise InputError(f"model is {name!r}: it is the name of a model, as text")
    return name


def _check_known(name: str, kind: Kind, given: str | None) -> None:
    """Raise UnknownModelError for a name that is neither bundled nor pulled."""
    known = model_names(kind)
    if name not in known:
        known += [given] if given else []
        raise UnknownModelError(
            f"model is {name!r}: a query may name {', '.join(map(repr, known))}; another one is pulled before "
            "(`sqlrag models pull`), or given when the database is opened, as embedder= or reranker="
        )


@lru_cache(maxsize=8, typed=True)
def chunker_of(embedder: Embedder, max_tokens: object, overlap: object, context_tokens: int = 0) -> Chunker:
    """Return the chunker that counts in a model's tokens; it remembers the words that it has counted.

    Raises InputError for sizes that cannot be.
    """
    from sqlrag.text.chunking import Chunker

    return Chunker(embedder.tokenizer, max_tokens, overlap, context_tokens)  # type: ignore[arg-type]  # it checks them


def index_chunker(embedder: Embedder, record: IndexRecord) -> Chunker:
    """Return the chunker of an index. A context takes what the window leaves beside the longest chunk."""
    from sqlrag.text.chunking import CONTEXT_TOKENS

    room = min(CONTEXT_TOKENS, max(0, record.window - record.max_tokens)) if record.context else 0
    return chunker_of(embedder, record.max_tokens, record.overlap, room)
