"""The models: the bi-encoder that makes vectors and the cross-encoder that scores pairs.

Public are the names in `__all__`.
"""

from __future__ import annotations

import os

from sqlrag.models.embedder import Embedder
from sqlrag.models.loaded import load_embedder, load_reranker
from sqlrag.models.named_models import (
    DEFAULT_EMBEDDER,
    DEFAULT_RERANKER,
    bundled_models,
)
from sqlrag.models.protocol import PairScorer, TextEncoder
from sqlrag.models.reranker import Reranker
from sqlrag.models.spec import ModelSpec

__all__ = [
    "DEFAULT_EMBEDDER",
    "DEFAULT_RERANKER",
    "Embedder",
    "ModelSpec",
    "PairScorer",
    "Reranker",
    "TextEncoder",
    "bundled_models",
    "load_embedder",
    "load_reranker",
]

# ONNX Runtime reports its use to Microsoft from 1.29 on, unless this is set before it is imported. The thread that does
# so is not there in a forked child, which would wait for it when it ends.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
