"""Finding out from a folder's files which kind of model it holds, without loading the model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sqlrag.errors import InputError, UnknownModelError
from sqlrag.models.spec import Kind, read_json

__all__ = ["is_source", "kind_of", "licence_of", "model_files"]

_SETTINGS = "config_sentence_transformers.json"
_MODULES = "modules.json"
# The names of sentence-transformers for its kinds of model.
_KINDS: dict[str, Kind] = {"SentenceTransformer": "bi-encoder", "CrossEncoder": "cross-encoder"}
_SUFFIXES = (".json", ".txt", ".model", ".safetensors")


def is_source(folder: str | Path) -> bool:
    """Return whether a folder is a model that sentence-transformers or transformers saved."""
    return any((Path(folder) / name).is_file() for name in (_MODULES, "config.json"))


def kind_of(folder: str | Path, kind: Kind | None = None) -> Kind:
    """Return the kind of the model in a folder.

    The files of sentence-transformers name it, and an architecture `...ForSequenceClassification` with one label is a
    cross-encoder. If the files do not say, as for a bare Transformer or a causal language model, it is `kind`. Raises
    InputError if the files say another kind, or one that is neither, UnknownModelError if there is no model.
    """
    folder = Path(folder)
    if not is_source(folder):
        raise UnknownModelError(f"{str(folder)!r} is no model: it has neither {_MODULES} nor config.json")
    try:
        found = _found(folder)
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise InputError(f"the files of {str(folder)!r} are not as a model's are: {error}") from error
    if found is None:
        if kind is None:
            raise InputError(
                f"the files of {str(folder)!r} do not say whether it is a bi-encoder or a cross-encoder: "
                "say it with --kind (a bare Transformer as bi-encoder takes the mean of its token vectors)"
            )
        return kind
    if kind is not None and kind != found:
        raise InputError(f"model {str(folder)!r} is a {found} by its files; a {kind} is needed here")
    return found


def licence_of(folder: str | Path) -> str:
    """Return the licence that the header of a model card names, "" if there is none."""
    card = Path(folder) / "README.md"
    if not card.is_file():
        return ""
    head = re.match(r"---\s*\n(.*?)\n---", card.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
    found = re.search(r"^license:\s*(\S+)", head[1], re.MULTILINE) if head else None
    return found[1] if found else ""


def model_files(folder: str | Path) -> list[Path]:
    """Return the files of a model, sorted: weights, tokenizer, configuration."""
    folder = Path(folder)
    return sorted(path for path in folder.rglob("*") if path.suffix in _SUFFIXES and path.is_file())


def _found(folder: Path) -> Kind | None:
    """Return the kind that the files name, None if they do not."""
    config = _read(folder / "config.json")
    if (folder / _MODULES).is_file():
        name = _read(folder / _SETTINGS).get("model_type", "SentenceTransformer")
        if name not in _KINDS:
            raise InputError(f"{str(folder)!r} is a {name}; sqlrag takes {' and '.join(_KINDS)}")
        return _KINDS[name]
    if config.get("model_type") == "model2vec":
        return "bi-encoder"
    architecture = (config.get("architectures") or [""])[0]
    if not architecture.endswith("ForSequenceClassification"):
        return None
    # transformers counts labels by their names, and assumes two if there are none.
    labels = len(config.get("id2label") or ()) or config.get("num_labels", 2)
    if labels != 1:
        raise InputError(f"{str(folder)!r} is a classifier with {labels} labels; a reranker has one")
    return "cross-encoder"


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        values = read_json(path)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{str(path)!r} is not JSON: {error}") from error
    return values if isinstance(values, dict) else {}
