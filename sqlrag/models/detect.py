"""Finding out from a folder's files which kind of model it holds, without loading the model."""

from __future__ import annotations

import re
from pathlib import Path

from sqlrag.errors import InputError, UnknownModelError
from sqlrag.models.conventions import card_header, read_settings
from sqlrag.models.spec import Kind

__all__ = ["is_source", "kind_of", "licence_of", "model_files"]

_SETTINGS = "config_sentence_transformers.json"
_MODULES = "modules.json"
# The names of sentence-transformers for its kinds of model.
_KINDS: dict[str, Kind] = {"SentenceTransformer": "bi-encoder", "CrossEncoder": "cross-encoder"}
# Those that a model card names.
_TASKS: dict[str, Kind] = {
    "text-ranking": "cross-encoder",
    "sentence-similarity": "bi-encoder",
    "feature-extraction": "bi-encoder",
}
_SUFFIXES = (".json", ".txt", ".model", ".jinja", ".safetensors", ".bin", ".onnx")


def is_source(folder: str | Path) -> bool:
    """Return whether a folder is a model that sentence-transformers or transformers saved."""
    return any((Path(folder) / name).is_file() for name in (_MODULES, "config.json"))


def kind_of(folder: str | Path, kind: Kind | None = None) -> Kind:
    """Return the kind of the model in a folder.

    The files of sentence-transformers name it. Without them an architecture `...ForSequenceClassification` with one
    label is a cross-encoder, one without a head a bi-encoder, and the card may name the task. If none of them says it,
    as for many causal language models, it is `kind`. Raises InputError if the files say another kind, or one that is
    neither, UnknownModelError if there is no model.
    """
    folder = Path(folder)
    _check_form(folder)
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


def _check_form(folder: Path) -> None:
    """Raise for what is not a whole model in the form of transformers: an adapter, GGUF, or nothing at all."""
    name = str(folder)
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        base = read_settings(folder / "adapter_config.json").get("base_model_name_or_path") or "another model"
        raise InputError(
            f"{name!r} is a PEFT adapter for {base}, not a whole model: merge the two with peft "
            "(merge_and_unload, save_pretrained), and pull that folder"
        )
    if is_source(folder):
        return
    if any(folder.glob("*.gguf")):
        raise InputError(
            f"{name!r} is in the form of llama.cpp (GGUF), which sqlrag does not run: pull the original repository, or "
            'let Ollama serve it and name it "ollama:MODEL"'
        )
    raise UnknownModelError(f"{name!r} is no model: it has neither {_MODULES} nor config.json")


def licence_of(folder: str | Path) -> str:
    """Return the licence that the header of a model card names, "" if there is none."""
    return _of_card(Path(folder), "license")


def model_files(folder: str | Path) -> list[Path]:
    """Return the files of a model, sorted: weights, tokenizer, configuration."""
    folder = Path(folder)
    return sorted(path for path in folder.rglob("*") if path.suffix in _SUFFIXES and path.is_file())


def _found(folder: Path) -> Kind | None:
    """Return the kind that the files name, None if they do not."""
    config = read_settings(folder / "config.json")
    modules = folder / _MODULES
    architecture = str((config.get("architectures") or [""])[0])
    late = architecture == "HF_ColBERT" or (folder / "artifact.metadata").is_file()
    if late or (modules.is_file() and b"pylate" in modules.read_bytes()):
        raise InputError(
            f"{str(folder)!r} is a late-interaction model (ColBERT) with a vector for each token; sqlrag takes models "
            "with one vector for a text, and cross-encoders"
        )
    if modules.is_file():
        name = read_settings(folder / _SETTINGS).get("model_type", "SentenceTransformer")
        if name not in _KINDS:
            raise InputError(f"{str(folder)!r} is a {name}; sqlrag takes {' and '.join(_KINDS)}")
        return _KINDS[name]
    if config.get("model_type") == "model2vec":
        return "bi-encoder"
    if not architecture.endswith("ForSequenceClassification"):
        return _without_head(folder, architecture)
    # transformers counts labels by their names, and assumes two if there are none.
    labels = len(config.get("id2label") or ()) or config.get("num_labels", 2)
    if labels != 1:
        raise InputError(f"{str(folder)!r} is a classifier with {labels} labels; a reranker has one")
    return "cross-encoder"


def _without_head(folder: Path, architecture: str) -> Kind | None:
    """Return the kind of a model that is no classifier, by its architecture's name and its card."""
    if architecture.endswith("ForMaskedLM") and re.search(r"\b(splade|sparse)", card_header(folder), re.IGNORECASE):
        raise InputError(
            f"{str(folder)!r} is a sparse encoder (SPLADE) with a number for each word of its vocabulary; sqlrag has "
            "full text (BM25) for words, and takes models with one dense vector for a text"
        )
    if kind := _TASKS.get(_of_card(folder, "pipeline_tag")):
        return kind
    return "bi-encoder" if re.search(r"(Encoder)?Model$", architecture) else None


def _of_card(folder: Path, field: str) -> str:
    found = re.search(rf"^{field}:\s*(\S+)", card_header(folder), re.MULTILINE)
    return found[1] if found else ""
