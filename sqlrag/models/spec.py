"""The specification of a model: name, weights, window, prompts, and how its output becomes a vector or a score."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sqlrag.errors import InputError, UnknownModelError

if TYPE_CHECKING:
    import os

__all__ = [
    "MODEL_FILE",
    "POOLINGS",
    "PRECISIONS",
    "SPEC_FILE",
    "TOKENIZER_FILE",
    "Kind",
    "ModelSpec",
    "Role",
    "default_precision",
    "read_json",
    "shown",
]

Kind = Literal["bi-encoder", "cross-encoder"]
Role = Literal["query", "document"]

SPEC_FILE = "sqlrag.json"
MODEL_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"

POOLINGS = ("mean", "cls", "max", "lasttoken")
"""How token vectors become one vector: their mean, the first, the largest of each dimension, or the last."""

PRECISIONS = ("int8", "int16", "fp32")
"""Of an exported model: 8 bits, two times 8 bits, or 32. Each keeps more than the one before, and is slower."""

# A model's numbers mean nothing without its specification, so an unknown choice is an error and not guessed.
_CHOICES: dict[str, tuple[str, ...]] = {
    "kind": ("bi-encoder", "cross-encoder"),
    "pooling": POOLINGS,
    "activation": ("sigmoid", "identity"),
}
_TEXTS = ("name", "weights_hash", "licence", "source", "encoder")

MOST_TOKENS = 1 << 20
"""The largest window. A window that is too large for the graph shows when the model runs."""
MOST_DIMENSIONS = 1 << 16
MOST_BYTES = 1 << 20
"""The largest `sqlrag.json` or manifest."""


def read_json(path: Path) -> Any:
    """Return the content of a small JSON file. Raises ValueError for a large one, and the errors of `json.loads`."""
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
    return json.loads(content)


def shown(value: object) -> str:
    """Return a value as an error message shows it: shortened if it is long."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _is_whole(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def default_precision(kind: Kind) -> str:
    """Return the precision of an export for which none was chosen.

    8 bits hardly change the neighbours of a vector. They do change the order of a reranker's results, which is all that
    a reranker is for: of 108 of NFCorpus' queries 81.5 % keep their top 3 of 25 with int8, rotation included, and all
    of them with int16 (tests/models/test_precision_order.py).
    """
    return "int8" if kind == "bi-encoder" else "int16"


@dataclass(frozen=True)
class ModelSpec:
    """A model's identity and conventions. In a model folder it is the file `sqlrag.json`.

    `weights_hash` is the hex SHA-256 of the weights file, `max_tokens` the window including special tokens. `prompts`
    are the strings put before a "query" and before a "document", "" for none. `dimension` is the length of a vector,
    None for a cross-encoder. `pooling` and `normalize` are for bi-encoders. `normalize` is False if the model's own
    files do not normalize its vectors; an Embedder does so for all models. `activation` is for cross-encoders: it turns
    the logit into the score. `encoder` is for a cross-encoder that reads the states of a bi-encoder: the bi-encoder's
    `id`, a name and the start of its weights' hash.
    """

    name: str
    kind: Kind
    weights_hash: str
    max_tokens: int
    folder: Path | None = None
    dimension: int | None = None
    prompts: dict[str, str] = field(default_factory=lambda: {"query": "", "document": ""})
    pooling: str = "mean"
    normalize: bool = True
    activation: str = "sigmoid"
    licence: str = ""
    source: str = ""
    encoder: str = ""

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise self._wrong(name, f"one of {choices}")
        for name in _TEXTS:
            if not isinstance(getattr(self, name), str):
                raise self._wrong(name, "a text")
        if not _is_whole(self.max_tokens, MOST_TOKENS):
            raise self._wrong("max_tokens", f"a whole number from 1 to {MOST_TOKENS:,}")
        if self.kind == "bi-encoder" and not _is_whole(self.dimension, MOST_DIMENSIONS):
            raise self._wrong("dimension", f"a whole number from 1 to {MOST_DIMENSIONS:,}")
        if not isinstance(self.normalize, bool):
            raise self._wrong("normalize", "true or false")
        if not isinstance(self.prompts, dict) or not all(
            isinstance(text, str) for pair in self.prompts.items() for text in pair
        ):
            raise self._wrong("prompts", "texts by the names of roles")

    def _wrong(self, name: str, right: str) -> InputError:
        return InputError(f"model {shown(self.name)}: {name} must be {right}, not {shown(getattr(self, name))}")

    @property
    def id(self) -> str:
        """The name and the start of the weights' hash: `name@0123456789ab`."""
        return f"{self.name}@{self.weights_hash[:12]}"

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> ModelSpec:
        """Read a model folder's `sqlrag.json`.

        Raises UnknownModelError if the folder lacks one of its three files, InputError if the file is not a
        specification.
        """
        folder = Path(folder)
        for name in (SPEC_FILE, MODEL_FILE, TOKENIZER_FILE):
            if not (folder / name).is_file():
                raise UnknownModelError(
                    f"model folder {str(folder)!r} has no {name}: a model folder holds {SPEC_FILE}, "
                    f"{MODEL_FILE} and {TOKENIZER_FILE} (`sqlrag models export` makes one of a "
                    "sentence-transformers folder)"
                )
        try:
            values = read_json(folder / SPEC_FILE)
            known = {item.name for item in fields(cls)} - {"folder"}
            return cls(**{name: values[name] for name in known & values.keys()}, folder=folder)
        except InputError:
            raise
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(f"{str(folder / SPEC_FILE)!r} is not a model specification: {error}") from error

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write `sqlrag.json` into a model folder."""
        values = {name: value for name, value in asdict(self).items() if name != "folder"}
        path = Path(folder) / SPEC_FILE
        path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
