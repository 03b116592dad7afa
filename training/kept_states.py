"""The last layer's states of many texts by the bundled embedder, computed once and kept in int8.

What a text's tokens say does not depend on the query, so it is a constant of the training. Texts are encoded one by
one, as an index does it, in parts of PART texts: a run that was stopped goes on where it was.
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
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

BUNDLED = Path(__file__).parent.parent / "sqlrag" / "models" / "bundled" / "all-MiniLM-L6-v2"
DIMENSION = 384
PART = 2_048
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@dataclass
class States:
    """Token ids and unit states of texts, one after the other; text i is `start[i]:start[i + 1]`.

    `ids`: `(tokens,)` uint16, `states`: `(tokens, 384)` int8, unit vectors times 127; both without [CLS] and [SEP].
    `vectors`: the embeddings, `(texts, 384)`, unit length.
    """

    start: NDArray[np.int64]
    ids: NDArray[np.uint16]
    states: NDArray[np.int8]
    vectors: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.start) - 1


def encode(texts: list[str], max_tokens: int, cache: Path, label: str, threads: int = 2) -> list[Path]:
    """Encode texts, cut at `max_tokens`, and return the files of their parts; parts of an earlier call are kept."""
    cache.mkdir(parents=True, exist_ok=True)
    paths = []
    for begin in range(0, len(texts), PART):
        told = "\0".join([str(max_tokens), *texts[begin : begin + PART]])
        paths.append(cache / f"states-{hashlib.sha256(told.encode()).hexdigest()[:16]}.npz")
    missing = [number for number, path in enumerate(paths) if not path.exists()]
    if not missing:
        return paths
    encoder, began, tokens = _Encoder(max_tokens), time.monotonic(), 0
    with ThreadPoolExecutor(threads) as pool:
        for number in missing:
            part = encoder.encode(texts[number * PART : (number + 1) * PART], pool)
            unfinished = paths[number].with_suffix(f".{os.getpid()}.npz")
            np.savez(unfinished, **vars(part))
            unfinished.rename(paths[number])
            tokens += len(part.ids)
            rate = tokens / (time.monotonic() - began)
            print(f"{label}: part {number + 1} of {len(paths)}, {rate:,.0f} tokens/s", file=sys.stderr, flush=True)
    return paths


def read_states(path: Path) -> States:
    """Read a part."""
    with np.load(path) as part:
        return States(**{name: part[name] for name in ("start", "ids", "states", "vectors")})


class _Encoder:
    def __init__(self, max_tokens: int) -> None:
        self._tokenizer = Tokenizer.from_file(str(BUNDLED / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            BUNDLED / "model.onnx", options, providers=["CPUExecutionProvider"]
        )

    def encode(self, texts: list[str], pool: ThreadPoolExecutor) -> States:
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch(texts)]
        found = list(pool.map(self._run, ids, chunksize=32))
        return States(
            np.cumsum([0, *(len(row) - 2 for row in ids)]).astype(np.int64),
            np.concatenate([np.array(row[1:-1], np.uint16) for row in ids]),
            np.concatenate([states for states, _ in found]),
            np.array([vector for _, vector in found]),
        )

    def _run(self, ids: list[int]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        given = np.array([ids], np.int64)
        inputs = dict(zip(INPUTS, (given, np.ones_like(given), np.zeros_like(given)), strict=True))
        (output,) = self._session.run(None, inputs)
        mean = output[0].mean(0)
        unit = output[0, 1:-1] / np.linalg.norm(output[0, 1:-1], axis=-1, keepdims=True)
        return np.round(unit * 127).astype(np.int8), mean / np.linalg.norm(mean)
