"""Which model a name means, and its backend opened."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlrag.errors import InputError, UnknownModelError
from sqlrag.models.cached_models import BUNDLED, cached_models, find_cached, models_folder, verified
from sqlrag.models.detect import is_source
from sqlrag.models.hub import is_hub_name
from sqlrag.models.spec import SPEC_FILE, Kind, ModelSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlrag.models.embedder import Encoder
    from sqlrag.models.reranker import Scorer

__all__ = [
    "BACKENDS",
    "DEFAULT_EMBEDDER",
    "DEFAULT_RERANKER",
    "bundled_models",
    "check_backend",
    "model_names",
    "named_model",
    "open_encoder",
    "open_scorer",
    "path_of",
    "resolve",
    "run_through",
]

DEFAULT_EMBEDDER = "all-MiniLM-L6-v2"
DEFAULT_RERANKER = "reranker-v1"
BACKENDS = ("onnx", "torch")

_between: list[tuple[Callable[[Encoder], Encoder], Callable[[Scorer], Scorer]]] = []


def bundled_models() -> dict[str, ModelSpec]:
    """Return the specifications of the models that come with the package, by name."""
    folders = sorted(path.parent for path in BUNDLED.glob(f"*/{SPEC_FILE}"))
    return {folder.name: ModelSpec.load(folder) for folder in folders}


def resolve(model: str | os.PathLike[str] | ModelSpec | None, kind: Kind, *, verify: bool = True) -> ModelSpec:
    """Return the specification of a model: None (the default of this kind), a name or a folder.

    In this order: a bundled name, a model folder, a folder as sentence-transformers saves it (exported to the cache
    at its first use), the name of a pulled model. A specification is returned as it is, its files unread. So are those
    of other models with `verify=False`: for a model that another process runs.

    Raises UnknownModelError where there is no such model, InputError where it is of the other kind, ModelFileError
    where its files are not what was exported.
    """
    if model is None:
        model = DEFAULT_EMBEDDER if kind == "bi-encoder" else DEFAULT_RERANKER
    name = model.name if isinstance(model, ModelSpec) else path_of(model)
    if isinstance(model, ModelSpec):
        spec = model
    # A bare name is a bundled model before it is a folder that happens to be called so.
    elif _is_bundled(name):
        spec = ModelSpec.load(BUNDLED / name)
    elif Path(name).is_dir():
        spec = _of_folder(name, kind, verify=verify)
    else:
        spec = named_model(name, verify=verify)
    if spec.kind != kind:
        msg = f"model {name!r} is a {spec.kind}; a {kind} is needed here"
        raise InputError(msg)
    return spec


def named_model(name: str, weights_hash: str | None = None, *, verify: bool = True) -> ModelSpec:
    """Return the specification of a bundled or pulled model by its name, never by a path.

    `weights_hash` chooses among several of that name. Raises UnknownModelError that says how to get it, and
    ModelFileError where its files are not what was exported; these are not read with `verify=False`.
    """
    if _is_bundled(name):
        return ModelSpec.load(BUNDLED / name)
    spec = find_cached(name, weights_hash)
    if spec is None:
        raise UnknownModelError(_unknown(name))
    return verified(spec) if verify else spec


def model_names(kind: Kind) -> list[str]:
    """Return the names of the bundled and the pulled models of a kind."""
    pulled = [spec.name for spec in cached_models() if spec.kind == kind]
    return [name for name, spec in bundled_models().items() if spec.kind == kind] + list(dict.fromkeys(pulled))


def open_encoder(model: str | os.PathLike[str] | ModelSpec | None, backend: str, threads: int | None) -> Encoder:
    """Open a bi-encoder with a backend; see Embedder for the arguments and errors."""
    encoder = _encoder(model, backend, threads)
    for between, _ in _between:
        encoder = between(encoder)
    return encoder


def _encoder(model: str | os.PathLike[str] | ModelSpec | None, backend: str, threads: int | None) -> Encoder:
    check_backend(backend, threads)
    if backend == "torch":
        from sqlrag.models.torch import TorchEncoder

        return TorchEncoder(_torch_name(model))
    from sqlrag.models.onnx import OnnxEncoder

    return OnnxEncoder(resolve(model, "bi-encoder"), threads)


def open_scorer(model: str | os.PathLike[str] | ModelSpec | None, backend: str, threads: int | None) -> Scorer:
    """Open a cross-encoder with a backend; see Reranker for the arguments and errors.

    The bundled rerankers exist as ONNX only, so with `backend="torch"` they run on ONNX Runtime all the same.
    """
    scorer = _scorer(model, backend, threads)
    for _, between in _between:
        scorer = between(scorer)
    return scorer


def _scorer(model: str | os.PathLike[str] | ModelSpec | None, backend: str, threads: int | None) -> Scorer:
    check_backend(backend, threads)
    if backend == "torch" and model is not None and not _is_bundled(path_of(model)):
        from sqlrag.models.torch import TorchScorer

        return TorchScorer(_torch_name(model))
    from sqlrag.models.onnx import OnnxScorer

    return OnnxScorer(resolve(model, "cross-encoder"), threads)


def run_through(encoders: Callable[[Encoder], Encoder], scorers: Callable[[Scorer], Scorer]) -> None:
    """Put something between each model that this process loads from now on and those who call it: a server's queue."""
    _between[:] = [(encoders, scorers)]


def _is_bundled(name: str) -> bool:
    return Path(name).name == name and (BUNDLED / name / SPEC_FILE).is_file()


def _of_folder(folder: str, kind: Kind, *, verify: bool) -> ModelSpec:
    if (Path(folder) / SPEC_FILE).is_file() or not is_source(folder):
        spec = ModelSpec.load(folder)  # says what is missing
        return verified(spec) if verify else spec
    from sqlrag.models.export.pull import exported

    return exported(folder, kind)


def _unknown(name: str) -> str:
    """Return what an error says of a name that no model has: what there is, and what would bring it here."""
    there_is = f"bundled are {', '.join(bundled_models())}"
    if pulled := list(dict.fromkeys(spec.name for spec in cached_models())):
        there_is += f"; pulled are {', '.join(pulled)}"
    if not is_hub_name(name):
        return (
            f"there is no model {name!r}: {there_is}; a folder is given by its path, and a Hugging Face name has an "
            "owner (`sqlrag models pull OWNER/NAME`)"
        )
    extra = "" if find_spec("sentence_transformers") else 'after pip install "sqlrag[torch]", '
    return (
        f"there is no model {name!r} here: {extra}`sqlrag models pull {name}` brings it from Hugging Face, once, to "
        f"{models_folder()}; without a network, copy that folder from a machine that has one, or give a downloaded "
        f'folder by its path; backend="torch" runs it without an export ({there_is})'
    )


def check_backend(backend: str, threads: int | None) -> None:
    """Raise InputError unless there is such a backend, and threads are a number or None."""
    if not isinstance(backend, str) or backend not in BACKENDS:
        msg = f"backend must be one of {BACKENDS}, not {backend!r}"
        raise InputError(msg)
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        msg = f"threads must be a whole number from 1, or None for one per usable CPU, not {threads!r}"
        raise InputError(msg)


def _torch_name(model: str | os.PathLike[str] | ModelSpec | None) -> str:
    """Return what sentence-transformers calls the model."""
    if model is None or model == DEFAULT_EMBEDDER:
        return f"sentence-transformers/{DEFAULT_EMBEDDER}"
    return path_of(model)


def path_of(model: Any) -> str:
    """Return the name or the folder of a model as text; raise InputError for a value of another type."""
    if not isinstance(model, (str, os.PathLike)) or not os.fspath(model):
        msg = f"model must be a name or a folder, not {type(model).__name__}: {model!r}"
        raise InputError(msg)
    return os.fspath(model)
