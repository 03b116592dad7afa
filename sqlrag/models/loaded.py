"""One loaded model per process: asking for the same model again returns the same object."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from sqlrag.models.embedder import Embedder
from sqlrag.models.named_models import check_backend, is_own, is_remote, path_of, resolve
from sqlrag.models.reranker import Reranker
from sqlrag.process.forks import in_child, leave, renew_locks

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlrag.models.spec import Kind, ModelSpec

__all__ = ["load_embedder", "load_reranker"]

Opened = TypeVar("Opened")

_loaded: dict[tuple[str, str, str, str], Any] = {}
_lock = threading.Lock()
renew_locks(sys.modules[__name__])


@in_child
def _forget_torch() -> None:
    """Forget torch's models in a forked child, where they must be opened again."""
    for key in [key for key in _loaded if "torch" in key]:
        leave(_loaded.pop(key))


def load_embedder(
    model: str | os.PathLike[str] | Embedder | ModelSpec | None = None, backend: str = "onnx"
) -> Embedder:
    """Return the Embedder of a model: in one process always the same object for the same model.

    An Embedder is returned as it is. The errors are those of Embedder.
    """
    return model if isinstance(model, Embedder) else _load(Embedder, model, "bi-encoder", backend)


def load_reranker(
    model: str | os.PathLike[str] | Reranker | ModelSpec | None = None, backend: str = "onnx"
) -> Reranker:
    """Return the Reranker of a model: in one process always the same object for the same model.

    A Reranker is returned as it is. The errors are those of Reranker.
    """
    return model if isinstance(model, Reranker) else _load(Reranker, model, "cross-encoder", backend)


def _load(
    opened_as: Callable[..., Opened], model: str | os.PathLike[str] | ModelSpec | None, kind: Kind, backend: str
) -> Opened:
    check_backend(backend, None)
    if is_remote(model) or is_own(model, kind):
        # By the object itself, which stays alive in what is remembered.
        key = (kind, "own", str(model) if isinstance(model, str) else str(id(model)), "")
    elif backend == "onnx":
        spec = resolve(model, kind)
        key = (kind, backend, str(spec.folder), spec.identity)
        model = spec
    else:
        key = (kind, backend, "" if model is None else path_of(model), "")
    # Two threads that ask for the same model must not both load it.
    with _lock:
        if key not in _loaded:
            _loaded[key] = opened_as(model, backend=backend)
        opened: Opened = _loaded[key]
        return opened
