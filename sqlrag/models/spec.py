"""The specification of a model: name, weights, window, prompts, and how its output becomes a vector or a score."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sqlrag.errors import InputError, UnknownModelError

if TYPE_CHECKING:
    import os

__all__ = [
    "DATA_FILE",
    "IN_GRAPH",
    "MODEL_FILE",
    "MOST_TOKENS",
    "POOLINGS",
    "PRECISIONS",
    "SPEC_FILE",
    "TOKENIZER_FILE",
    "USUAL_WINDOW",
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

DATA_FILE = "model.onnx.data"
"""The weights of a graph that is too large for one file (2 GB)."""

POOLINGS = ("mean", "cls", "max", "lasttoken")
"""How token vectors become one vector: their mean, the first, the largest of each dimension, or the last."""

IN_GRAPH = "graph"
"""The pooling of a model whose graph gives the vector itself."""

PRECISIONS = ("int8", "int16", "fp32")
"""Of an exported model: 8 bits, two times 8 bits, or 32. Each keeps more than the one before, and is slower."""

# Precisions whose vectors are as good as alike.
_FULL = ("fp32", "int16", "fp16", "bf16")

# A model's numbers mean nothing without its specification, so an unknown choice is an error and not guessed.
_CHOICES: dict[str, tuple[str, ...]] = {
    "kind": ("bi-encoder", "cross-encoder"),
    "pooling": (*POOLINGS, IN_GRAPH),
    "activation": ("sigmoid", "identity"),
}
_TEXTS = ("name", "weights_hash", "licence", "source", "encoder", "precision", "output")

MOST_TOKENS = 1 << 20
"""The largest window. A window that is too large for the graph shows when the model runs."""
USUAL_WINDOW = 512
"""Of a model whose files name none, and which has no table of positions."""
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

    `weights_hash` is the hex SHA-256 of the original weights, `max_tokens` the window including special tokens.
    `prompts` are the strings put before a "query" and before a "document", "" for none. `dimension` is the length of a
    vector, None for a cross-encoder; if the model gives a longer one, `full_dimension` is its length, and the vector is
    cut (a Matryoshka model is trained for that). `pooling`, `include_prompt` (whether the tokens of the prompt are
    pooled as well) and `normalize` are for bi-encoders. `normalize` is False if the model's own files do not normalize
    its vectors; an Embedder does so for all models. `activation` is for cross-encoders: it turns the logit into the
    score. `template` are the three texts before, between and after a query and a document, for models that read a pair
    as one text; it is empty for the others. `encoder` is for a cross-encoder that reads the states of a bi-encoder: the
    bi-encoder's `id`, a name and the start of its identity. `output` is the name of the graph's output that is used, ""
    for the first.

    `precision` is that of the numbers ("int8", "fp32", …). It is "" in models that earlier versions made, whose
    `weights_hash` is that of `model.onnx`. `formerly` are identities under which indexes know the same model.
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
    precision: str = ""
    full_dimension: int | None = None
    include_prompt: bool = True
    template: tuple[str, ...] = ()
    output: str = ""
    formerly: tuple[str, ...] = ()

    def __post_init__(self) -> None:  # noqa: C901, PLR0912 - a check for each field
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
        if self.full_dimension is not None and not (
            _is_whole(self.full_dimension, MOST_DIMENSIONS) and self.full_dimension >= (self.dimension or 1)
        ):
            raise self._wrong("full_dimension", f"a whole number from {self.dimension} to {MOST_DIMENSIONS:,}")
        for name in ("normalize", "include_prompt"):
            if not isinstance(getattr(self, name), bool):
                raise self._wrong(name, "true or false")
        for name, lengths in (("template", (0, 3)), ("formerly", None)):
            values = getattr(self, name)  # a list, as JSON has it
            if not isinstance(values, (list, tuple)) or not all(isinstance(text, str) for text in values):
                raise self._wrong(name, "a list of texts")
            if lengths and len(values) not in lengths:
                raise self._wrong(name, "empty, or three texts")
            object.__setattr__(self, name, tuple(values))
        if not isinstance(self.prompts, dict) or not all(
            isinstance(text, str) for pair in self.prompts.items() for text in pair
        ):
            raise self._wrong("prompts", "texts by the names of roles")

    def _wrong(self, name: str, right: str) -> InputError:
        return InputError(f"model {shown(self.name)}: {name} must be {right}, not {shown(getattr(self, name))}")

    @cached_property
    def identity(self) -> str:
        """A hash, in hex, of the weights and of everything that decides a vector or a score.

        Two models with the same identity give vectors that can be compared: an export made by other versions of the
        libraries, or the same weights run by torch. int8 has an identity of its own. fp32, int16 and 16-bit floats
        share one, because their vectors differ by less than an index notices (a cosine of at least 0.9999).
        """
        if not self.precision:
            return self.weights_hash
        rounded = "full" if self.precision in _FULL else self.precision
        settled: tuple[object, ...] = (self.weights_hash, rounded, self.max_tokens, self.template)
        if self.kind == "bi-encoder":
            prompts = sorted(item for item in self.prompts.items() if item[1])
            settled += (self.pooling, self.normalize, self.dimension, self.include_prompt, prompts)
        else:
            settled += (self.activation,)
        return hashlib.sha256(repr(settled).encode()).hexdigest()

    def made(self, identity: str) -> bool:
        """Return whether vectors of a model with this identity can be compared with those of this one."""
        return identity in (self.identity, *self.formerly)

    @property
    def id(self) -> str:
        """The name and the start of the identity: `name@0123456789ab`."""
        return f"{self.name}@{self.identity[:12]}"

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
