"""Finding the model that a name stands for, and opening it with a backend."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlrag.errors import InputError, ModelFileError, UnknownModelError
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
    "is_own",
    "is_remote",
    "model_names",
    "named_model",
    "open_model",
    "path_of",
    "resolve",
    "run_through",
]

DEFAULT_EMBEDDER = "all-MiniLM-L6-v2"
DEFAULT_RERANKER = "reranker-v1"
BACKENDS = ("onnx", "torch")
PROVIDERS = ("openai", "ollama", "jina", "cohere")
"""What stands before the colon in the name of a model at a remote endpoint (`remote`)."""

_wrappers: dict[Kind, Callable[[Any], Any]] = {}


def bundled_models() -> dict[str, ModelSpec]:
    """Return the specifications of the models that come with the package, by name."""
    folders = sorted(path.parent for path in BUNDLED.glob(f"*/{SPEC_FILE}"))
    return {folder.name: ModelSpec.load(folder) for folder in folders}


def resolve(model: str | os.PathLike[str] | ModelSpec | None, kind: Kind, *, verify: bool = True) -> ModelSpec:
    """Return the specification of a model: None (the default of this kind), a name or a folder.

    A name or folder is, in this order: a bundled model, a model folder, a folder that sentence-transformers saved
    (which is exported to the cache at its first use), a pulled model. A specification is returned as it is, without
    reading the model's files. `verify=False` leaves those of any model unread, for a model that another process runs.

    Raises UnknownModelError if there is no such model, InputError if it is of the other kind, ModelFileError if its
    files are not those that were exported.
    """
    if model is None:
        model = DEFAULT_EMBEDDER if kind == "bi-encoder" else DEFAULT_RERANKER
    name = model.name if isinstance(model, ModelSpec) else path_of(model)
    if isinstance(model, ModelSpec):
        spec = model
    # A bundled model takes precedence over a folder that happens to have its name.
    elif _is_bundled(name):
        spec = ModelSpec.load(BUNDLED / name)
    elif Path(name).is_dir():
        spec = _of_folder(name, kind, verify=verify)
    else:
        spec = named_model(name, verify=verify)
    if spec.kind != kind:
        raise InputError(f"model {name!r} is a {spec.kind}; a {kind} is needed here")
    return spec


def named_model(name: str, identity: str | None = None, *, verify: bool = True) -> ModelSpec:
    """Return the specification of a bundled or pulled model by its name, never by a path.

    A pulled model of this `identity` is found even by another name. Raises UnknownModelError, which says how to get the
    model, and ModelFileError if its files are not those that were exported. `verify=False` leaves the files unread.
    """
    if _is_bundled(name):
        return ModelSpec.load(BUNDLED / name)
    spec = find_cached(name, identity)
    if spec is None:
        raise UnknownModelError(_unknown(name))
    return verified(spec) if verify else spec


def model_names(kind: Kind) -> list[str]:
    """Return the names of the bundled and the pulled models of a kind."""
    pulled = [spec.name for spec in cached_models() if spec.kind == kind]
    return [name for name, spec in bundled_models().items() if spec.kind == kind] + list(dict.fromkeys(pulled))


def open_model(kind: Kind, model: Any, backend: str, threads: int | None) -> Any:
    """Open what computes for a model, an Encoder or a Scorer. The arguments and errors are those of Embedder."""
    check_backend(backend, threads)
    is_encoder = kind == "bi-encoder"
    if is_remote(model):
        from sqlrag.models.remote import open_remote  # which imports an HTTP client

        model = open_remote(model, kind)
    if not isinstance(model, (str, os.PathLike, ModelSpec, type)) and is_own(model, kind):
        from sqlrag.models.own import OwnEncoder, OwnScorer

        return (OwnEncoder if is_encoder else OwnScorer)(model)
    # The bundled rerankers exist as ONNX only, so ONNX Runtime runs them even with backend="torch".
    if backend == "torch" and (is_encoder or (model is not None and not _is_bundled(path_of(model)))):
        from sqlrag.models.torch import TorchEncoder, TorchScorer

        opened: Any = (TorchEncoder if is_encoder else TorchScorer)(_torch_name(model))
    else:
        opened = _onnx(resolve(model, kind), threads)
    return _wrappers[kind](opened) if kind in _wrappers else opened


def _onnx(spec: ModelSpec, threads: int | None) -> Encoder | Scorer:
    """Open a model with ONNX Runtime. One that reads the states of an encoder opens this too."""
    from sqlrag.models.onnx import OnnxEncoder, OnnxScorer

    if spec.kind == "bi-encoder":
        return OnnxEncoder(spec, threads)
    if not spec.encoder:
        return OnnxScorer(spec, threads)
    from sqlrag.models.reading import OnnxReader

    encoder = named_model(spec.encoder.partition("@")[0])
    if encoder.id != spec.encoder:
        raise ModelFileError(
            f"model {spec.name!r} reads the states of {spec.encoder}, and the model of that name here is {encoder.id}: "
            "make one of them again"
        )
    return OnnxReader(spec, encoder, threads)


def is_remote(name: object) -> bool:
    """Return whether a name is that of a model at a remote endpoint: `openai:MODEL`."""
    return isinstance(name, str) and name.partition(":")[0] in PROVIDERS and ":" in name


def is_own(model: object, kind: Kind) -> bool:
    """Return whether a value is an object that embeds, or scores, as `own` describes it."""
    return callable(getattr(model, "embed" if kind == "bi-encoder" else "score", None))


def run_through(encoders: Callable[[Encoder], Encoder], scorers: Callable[[Scorer], Scorer]) -> None:
    """Wrap each model that this process opens from now on. The model server puts its queue around them."""
    _wrappers.update({"bi-encoder": encoders, "cross-encoder": scorers})


def _is_bundled(name: str) -> bool:
    return Path(name).name == name and (BUNDLED / name / SPEC_FILE).is_file()


def _of_folder(folder: str, kind: Kind, *, verify: bool) -> ModelSpec:
    if (Path(folder) / SPEC_FILE).is_file() or not is_source(folder):
        spec = ModelSpec.load(folder)  # says what is missing
        return verified(spec) if verify else spec
    from sqlrag.models.export.pull import exported

    return exported(folder, kind)


def _unknown(name: str) -> str:
    """Return the error message for an unknown name: which models there are, and how to get this one."""
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
    """Raise InputError for an unknown backend, and for `threads` that are neither a number nor None."""
    if not isinstance(backend, str) or backend not in BACKENDS:
        raise InputError(f"backend must be one of {BACKENDS}, not {backend!r}")
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise InputError(f"threads must be a whole number from 1, or None for one per usable CPU, not {threads!r}")


def _torch_name(model: str | os.PathLike[str] | ModelSpec | None) -> str:
    """Return the name by which sentence-transformers knows the model."""
    if model is None or model == DEFAULT_EMBEDDER:
        return f"sentence-transformers/{DEFAULT_EMBEDDER}"
    return path_of(model)


def path_of(model: Any) -> str:
    """Return the name or the folder of a model as text. Raises InputError for a value of another type."""
    if not isinstance(model, (str, os.PathLike)) or not os.fspath(model):
        raise InputError(f"model must be a name or a folder, not {type(model).__name__}: {model!r}")
    return os.fspath(model)
