"""What an embedder and a reranker have in common: the backend that computes, recent results, and checked inputs."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from sqlrag.errors import InputError
from sqlrag.models.named_models import open_model
from sqlrag.models.recent_cache import RecentCache
from sqlrag.process.forks import renew_locks

if TYPE_CHECKING:
    from sqlrag.models.spec import Kind, ModelSpec
    from sqlrag.models.tokenizer import ModelTokenizer

__all__ = ["Backend", "Model", "as_text", "as_texts"]

_SURROGATES = re.compile("[\ud800-\udfff]")
_SHOWN = 60


class Backend(Protocol):
    """What computes for a model: ONNX Runtime, torch, or a client of the process that holds the models."""

    spec: ModelSpec
    tokenizer: ModelTokenizer


Computing = TypeVar("Computing", bound=Backend)
Value = TypeVar("Value")


class Model(Generic[Computing, Value]):
    """A model that several threads may use, with the most recent of its results and a count of what it computed."""

    kind: ClassVar[Kind]
    """Which kind of model it is."""

    _results_kept: ClassVar[int]

    def __init__(self, model: Any = None, *, backend: str = "onnx", threads: int | None = None) -> None:
        self._backend: Computing = open_model(self.kind, model, backend, threads)
        self._recent: RecentCache[Value] = RecentCache(self._results_kept)
        self._lock = threading.Lock()
        self._done = 0
        renew_locks(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"

    @property
    def spec(self) -> ModelSpec:
        """The model's specification."""
        return self._backend.spec

    @property
    def name(self) -> str:
        """The model's name."""
        return self.spec.name

    @property
    def id(self) -> str:
        """The model's name and the start of its weights' hash: `name@0123456789ab`."""
        return self.spec.id

    @property
    def max_tokens(self) -> int:
        """The model's window in tokens, special tokens included; for a pair, those of query and document together."""
        return self.spec.max_tokens

    def _count(self, done: int) -> None:
        with self._lock:
            self._done += done


def as_text(value: Any, name: str) -> str:
    """Return `value` as a text that every tokenizer takes: lone surrogates become U+FFFD.

    Raises InputError if it is not a str, naming the argument and the value.
    """
    if not isinstance(value, str):
        shown = repr(value)
        shown = shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"
        raise InputError(f"{name} must be a str, not {type(value).__name__}: {shown}")
    # UTF-8 has no lone surrogates, but SQLite and files can deliver them.
    return value if value.isascii() else _SURROGATES.sub("\ufffd", value)


def as_texts(values: Any, name: str) -> list[str]:
    """Return an iterable of texts as a list. Each is checked by `as_text`, and named by its position in errors."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        shown = repr(values)[:_SHOWN]
        raise InputError(f"{name} must be a sequence of str, not {type(values).__name__}: {shown}")
    return [as_text(value, f"{name}[{position}]") for position, value in enumerate(values)]
