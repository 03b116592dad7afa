"""Token states of texts by the bundled embedder, computed once and kept: what the reranker's lower layers give.

The six layers are not trained, so their output for a text is a constant. It is kept as int8 unit vectors
(`(tokens, 384)`, scale 1/127), for the layers in LAYERS: 384 bytes a token and layer.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

BUNDLED = Path(__file__).parent.parent / "sqlrag" / "models" / "bundled" / "all-MiniLM-L6-v2"
LAYERS = (3, 6)
"""Layers whose states are kept."""
DIMENSION = 384


@dataclass
class Encodings:
    """Token ids and unit token states of many texts, one after the other; text i is `start[i]:start[i + 1]`."""

    start: NDArray[np.int64]
    ids: NDArray[np.int32]
    states: NDArray[np.int8]
    vectors: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.start) - 1


def open_session(threads: int = 1) -> onnxruntime.InferenceSession:
    """Return the embedder with the states of LAYERS as its outputs."""
    model = onnx.load(BUNDLED / "model.onnx")
    norms = [node.output[0] for node in model.graph.node if node.op_type == "LayerNormalization"]
    names = [norms[2 * layer] for layer in LAYERS]
    shape = model.graph.output[0].type
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_value_info(name, shape) for name in names)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def encode(texts: list[str], max_tokens: int, cache: Path, label: str) -> Encodings:
    """Return the encodings of texts, cut at `max_tokens`; those of an earlier call are read from `cache`."""
    digest = hashlib.sha256("\0".join([str(max_tokens), str(LAYERS), *texts]).encode()).hexdigest()[:16]
    path = cache / f"{label}-{digest}"
    if not (path / "done").exists():
        path.mkdir(parents=True, exist_ok=True)
        _encode(texts, max_tokens, path, label)
        (path / "done").touch()
    return Encodings(
        np.load(path / "start.npy"),
        np.load(path / "ids.npy"),
        np.load(path / "states.npy", mmap_mode="r"),
        np.load(path / "vectors.npy"),
    )


def _encode(texts: list[str], max_tokens: int, path: Path, label: str) -> None:
    tokenizer = Tokenizer.from_file(str(BUNDLED / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    ids = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
    start = np.concatenate([[0], np.cumsum([len(row) for row in ids])]).astype(np.int64)
    np.save(path / "start.npy", start)
    np.save(path / "ids.npy", np.concatenate(ids).astype(np.int32))
    shape = (int(start[-1]), len(LAYERS), DIMENSION)
    states = np.lib.format.open_memmap(path / "states.npy", mode="w+", dtype=np.int8, shape=shape)
    vectors = np.zeros((len(texts), DIMENSION), np.float32)
    session = open_session()

    def run(number: int) -> None:
        given = np.array([ids[number]], np.int64)
        outputs = session.run(
            None,
            {"input_ids": given, "attention_mask": np.ones_like(given), "token_type_ids": np.zeros_like(given)},
        )
        mean = outputs[-1][0].mean(0)
        vectors[number] = mean / np.linalg.norm(mean)
        for layer, output in enumerate(outputs):
            unit = output[0] / np.linalg.norm(output[0], axis=-1, keepdims=True)
            states[start[number] : start[number + 1], layer] = np.round(unit * 127)

    began = time.monotonic()
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ThreadPoolExecutor(threads) as pool:
        for done, _ in enumerate(pool.map(run, range(len(texts)), chunksize=64), start=1):
            if done % 5000 == 0:
                rate = start[done] / (time.monotonic() - began)
                print(f"{label}: {done:,} of {len(texts):,} texts, {rate:,.0f} tokens/s", file=sys.stderr, flush=True)
    states.flush()
    np.save(path / "vectors.npy", vectors)
