"""Measuring how fast a model is: tokens or pairs per second on ONNX Runtime, and on torch if it is installed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from sqlrag.errors import Error
from sqlrag.models.hub import in_cache, is_hub_name
from sqlrag.models.manifest import Manifest
from sqlrag.models.named_models import DEFAULT_EMBEDDER, open_model

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlrag.models.spec import ModelSpec

__all__ = ["Speed", "bench"]

_QUESTIONS = ("how is it called?", "what does it return?", "when does it fail?")


@dataclass(frozen=True)
class Speed:
    """The speed of a model. `onnx` and `torch` are medians of the rounds, in `unit`; `ratio` is onnx / torch.

    `torch` is None if it was not measured, and `note` says why.
    """

    model: str
    kind: str
    unit: str
    onnx: float
    torch: float | None
    ratio: float | None
    note: str = ""


def bench(spec: ModelSpec, texts: Sequence[str], rounds: int = 3) -> Speed:
    """Run texts through both backends of a model in turn, after one run to warm up.

    A bi-encoder embeds the texts; a cross-encoder scores each of them with a question. torch runs the model that the
    ONNX model was exported from.
    """
    runs = {"onnx": _run(spec, str(spec.folder), "onnx", texts)}
    note, source = _torch_source(spec)
    if source:
        try:
            runs["torch"] = _run(spec, source, "torch", texts)
        except Error as error:
            note = f"torch: {error}"
    seconds: dict[str, list[float]] = {backend: [] for backend in runs}
    for round_ in range(rounds):
        for backend, (run, _) in runs.items():
            started = time.perf_counter()
            run(round_)
            seconds[backend].append(time.perf_counter() - started)
    amount = runs["onnx"][1]
    speeds = {backend: amount / median(taken) for backend, taken in seconds.items()}
    torch = speeds.get("torch")
    return Speed(
        model=spec.name,
        kind=spec.kind,
        unit="tokens/s" if spec.kind == "bi-encoder" else "pairs/s",
        onnx=speeds["onnx"],
        torch=torch,
        ratio=speeds["onnx"] / torch if torch else None,
        note=note,
    )


def _run(spec: ModelSpec, model: str, backend: str, texts: Sequence[str]) -> tuple[Callable[[int], object], int]:
    """Return a function that does the work of a round, and the number of tokens or pairs in it."""
    if spec.kind == "bi-encoder":
        encoder = open_model("bi-encoder", model, backend, None)
        encoder.embed(texts[:1], "document")
        window = spec.max_tokens
        amount = sum(min(count, window) for count in encoder.tokenizer.counts(texts))
        return lambda _: encoder.embed(texts, "document"), amount
    scorer = open_model("cross-encoder", model, backend, None)
    scorer.score([(_QUESTIONS[0], texts[0])])
    return lambda round_: scorer.score([(_QUESTIONS[round_ % len(_QUESTIONS)], text) for text in texts]), len(texts)


def _torch_source(spec: ModelSpec) -> tuple[str, str]:
    """Return why torch cannot be measured ("" if it can), and the model that it opens."""
    if find_spec("sentence_transformers") is None:
        return 'torch: not installed (pip install "sqlrag[torch]")', ""
    manifest = Manifest.load(spec.folder) if spec.folder else None
    source = spec.source if spec.name == DEFAULT_EMBEDDER else manifest.source if manifest else ""
    if not source:
        return "torch: where its original weights are is not known", ""
    if is_hub_name(source):
        folder = in_cache(source)
        return ("", str(folder)) if folder else (f"torch: {source} is not in Hugging Face's cache", "")
    return ("", source) if Path(source).is_dir() else (f"torch: there is no folder {source} any more", "")
