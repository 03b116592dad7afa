"""The bundled pair, once per test session, and real texts of many lengths."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sqlrag.models import Embedder, Reranker

PASSAGES = Path(__file__).parents[1] / "passages.jsonl"


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Real passages, and what real tables hold besides: short, long, empty, and not English."""
    passages = [json.loads(line)["text"] for line in PASSAGES.read_text(encoding="utf-8").splitlines()][:8]
    return [*passages, " ".join(passages), "", "Why?", "naïve café 😀 👩‍👩‍👧 東京の天気", "x" * 300, "\n\t "]


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    """The bundled embedder with two threads, on whatever machine."""
    return Embedder(threads=2)


@pytest.fixture(scope="session")
def reranker() -> Reranker:
    """The bundled reranker with two threads; a test that counts pairs makes its own."""
    return Reranker(threads=2)


@pytest.fixture(autouse=True)
def _models_run(real_models) -> None:
    """These tests are about what the models compute."""
