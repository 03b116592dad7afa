"""Checking on a few texts whether an exported graph computes what the original weights do."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

from sqlrag.errors import ModelFileError
from sqlrag.models.spec import Kind, ModelSpec

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Reference"]

QUERIES = (
    "how do vaccines protect against disease?",
    "return a copy of a list without duplicates",
    "price of wheat 1973",
)
_PASSAGES = (
    "A vaccine shows the immune system a harmless part of a germ, so that antibodies are ready when the germ comes.",
    "def unique(items):\n    return list(dict.fromkeys(items))",
    "In 1973 the price of wheat tripled within a year, after a poor harvest and large purchases abroad.",
    "Measles spreads through the air; one sick person infects a dozen others who are not immune.",
    "The list method sort() changes the list in place and returns None.",
    "Bread was rationed again that winter.",
    "Der Zug nach Leipzig fährt heute von Gleis 7.",
    "東京の天気は晴れです。 🌤️",
    "Yes.",
)
# Longer than the local attention that some models have (128 tokens), and as long as most windows.
_LONG = " ".join(f"{number}. {text}" for number, text in enumerate(_PASSAGES * 4, start=1))
PASSAGES = (*_PASSAGES, _LONG)

# fp32 must compute the same numbers, but for the order of additions.
_FP32_COSINE = 0.9999
_FP32_SCORE = 1e-3
# int16 must keep vectors as fp32 does, and scores to a hundredth of their range: int8 loses far more.
_INT16_SCORE = 0.01
# all-MiniLM-L6-v2 has a mean cosine of 0.998 with int8. A cross-encoder made from it orders all pairs alike, and small
# random ones 0.98 of them. A model whose activations do not fit into 8 bits falls below these bounds.
_INT8_COSINE = 0.99
_INT8_ORDER = 0.9
# The order of two passages does not count if their scores differ by less than this share of the range.
_TIE = 0.02


class Reference:
    """The results of the original weights, in fp32 on the CPU, with which several exports can be compared."""

    def __init__(self, source: Path, kind: Kind, name: str) -> None:
        self.kind = kind
        self._values = _answers_of_torch(source, kind, name)

    def measure(self, folder: Path) -> dict[str, float]:
        """Return how close an exported model is: `cosine_mean` and `cosine_min`, or `score_error` and `order`.

        `score_error` is the largest difference of two logits as a share of their range. `order` is the share of passage
        pairs with clearly different scores that have the same order for a query.
        """
        found = _answers_of_onnx(folder, self.kind)
        if self.kind == "bi-encoder":
            cosines = (_unit(self._values) * _unit(found)).sum(1)
            return {"cosine_mean": float(cosines.mean()), "cosine_min": float(cosines.min())}
        spread = float(max(self._values.max() - self._values.min(), 1e-6))
        error = float(abs(found - self._values).max()) / spread
        return {"score_error": error, "order": _order(self._values, found, _TIE * spread)}

    def accepts(self, measured: dict[str, float], precision: str) -> bool:
        """Return whether an export of this precision is close enough."""
        if self.kind == "bi-encoder":
            if precision == "int8":
                return measured["cosine_mean"] >= _INT8_COSINE
            return measured["cosine_min"] >= _FP32_COSINE
        if precision == "int8":
            return measured["order"] >= _INT8_ORDER
        return measured["score_error"] <= (_INT16_SCORE if precision == "int16" else _FP32_SCORE)


def _answers_of_torch(source: Path, kind: Kind, name: str) -> NDArray[np.float32]:
    """Return what sentence-transformers itself computes, one text at a time.

    Its own code reads the files here, so that a convention that sqlrag reads wrongly shows.
    """
    import numpy as np
    import torch

    from sqlrag.models.torch import TorchEncoder, TorchScorer
    from sqlrag.models.torch_loading import is_static

    opened_as = TorchEncoder if kind == "bi-encoder" else TorchScorer
    loaded = opened_as(str(source), name, device="cpu", dtype="float32")
    model, spec = loaded.model, loaded.spec
    if not is_static(model):
        model.max_seq_length = spec.max_tokens
    one: dict[str, Any] = {"batch_size": 1, "show_progress_bar": False}
    if kind == "cross-encoder":
        logits = model.predict(_pairs(), activation_fn=torch.nn.Identity(), **one)
        return _finite(np.asarray(logits, np.float32), str(source)).reshape(len(QUERIES), -1)
    # A prompt that only the card names has to be given.
    given = (
        {} if any(model.prompts.values()) else {role: {"prompt": text or None} for role, text in spec.prompts.items()}
    )
    vectors = np.concatenate(
        [
            model.encode_query(list(QUERIES), **one, **given.get("query", {})),
            model.encode_document(list(PASSAGES), **one, **given.get("document", {})),
        ]
    )
    return _finite(vectors, spec.name)


def _answers_of_onnx(folder: Path, kind: Kind) -> NDArray[np.float32]:
    from dataclasses import replace

    from sqlrag.models.onnx import OnnxEncoder, OnnxScorer

    spec = ModelSpec.load(folder)
    if kind == "bi-encoder":
        return _vectors(OnnxEncoder(spec))
    # The logits are compared, because large ones are all alike after a sigmoid.
    scores = OnnxScorer(replace(spec, activation="identity")).score(_pairs())
    return _finite(scores, str(folder)).reshape(len(QUERIES), -1)


def _vectors(encoder: Any) -> NDArray[np.float32]:
    import numpy as np

    vectors = np.concatenate([encoder.embed(QUERIES, "query"), encoder.embed(PASSAGES, "document")])
    return _finite(vectors, encoder.spec.name)


def _pairs() -> list[tuple[str, str]]:
    return [(query, passage) for query in QUERIES for passage in PASSAGES]


def _finite(values: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    import numpy as np

    if not np.isfinite(values).all():
        raise ModelFileError(
            f"model {name!r} answers with NaN or infinity: its weights are damaged, or it is not made for fp32"
        )
    return values


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    import numpy as np

    unit: NDArray[np.float32] = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return unit


def _order(expected: NDArray[np.float32], found: NDArray[np.float32], tie: float) -> float:
    alike = [
        bool((one[a] - one[b]) * (other[a] - other[b]) > 0)
        for one, other in zip(expected, found, strict=True)
        for a, b in combinations(range(len(one)), 2)
        if abs(one[a] - one[b]) > tie
    ]
    return sum(alike) / len(alike) if alike else 1.0
