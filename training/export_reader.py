"""Write a trained reader as a graph that needs no torch, and check it: the same logits, in any company.

    python training/export_reader.py RUN/model.safetensors --weights WEIGHTS --cache CACHE --out FOLDER

FOLDER gets `reader.onnx`, from what is kept of passages and a query's states to logits, with weights in 16 bits that
ONNX Runtime widens when it opens the file, and `kept.safetensors`: the form of what is kept, how rare word pieces are
and the table of words in int8. The check scores held-back lists with both, in several orders, and says what it takes.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from compact import LEVELS, Form
from evaluate_reader import logits, read_model
from numpy.typing import NDArray
from onnx import numpy_helper
from reader import Batch, Reader
from safetensors.numpy import save_file
from torch import Tensor, nn
from train_reader import Data, held_back, read_data, word_vectors

from sqlrag.models.export.graph import strip_graph

INPUTS = ("query", "states", "vector", "rare", "codes", "passage", "vectors", "same", "words")
BLOCK = 8
"""Candidates of a run; the last run has copies."""
ROWS = (4, 6, 12, 24, 36, 48)
"""Numbers of tokens that a query is padded to: kernels go through twelve or six rows at a time, and a sum must not
depend on where in such a group its row stands."""
_PER_BYTE = 4


class Graph(nn.Module):
    """A reader of one query and its candidates; `codes`, `(pairs, tokens, components / 4)`, are bytes as kept."""

    def __init__(self, reader: Reader, form: Form) -> None:
        super().__init__()
        self.reader = reader
        shifts = np.arange(_PER_BYTE) * 2
        levels = (np.arange(256)[:, None] >> shifts & (LEVELS - 1)) - (LEVELS - 1) / 2
        self.register_buffer("levels", torch.from_numpy(levels.astype(np.float32)))
        self.register_buffer("step", torch.from_numpy(form.step))
        self.register_buffer("centre", torch.from_numpy(form.centre))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the logits, `(pairs,)`."""
        query, states, vector, rare, codes, passage, vectors, same, words = inputs
        values = self.levels[codes.long()].flatten(2) * self.step + self.centre
        kept = nn.functional.normalize(values, dim=-1) * passage.unsqueeze(-1)
        one = (part.unsqueeze(0) for part in (query, rare, states, vector))
        return self.reader(Batch(*one, passage, kept, vectors, same, words))


def packed(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return codes of two bits, four to a byte, the first in the lowest bits."""
    four = codes.reshape(*codes.shape[:-1], -1, _PER_BYTE)
    return four[..., 0] | four[..., 1] << 2 | four[..., 2] << 4 | four[..., 3] << 6


def write(reader: Reader, form: Form, path: Path) -> None:
    """Write the graph, with free numbers of candidates and tokens."""
    dims = {name: torch.export.Dim(name, min=2, max=most) for name, most in (("n", 1024), ("l", 64), ("p", 512))}
    n, rows, p = dims["n"], dims["l"], dims["p"]
    shapes = ({0: rows}, {0: rows}, {}, {0: rows}, {0: n, 1: p}, {0: n, 1: p}, {0: n}, {0: n, 1: rows, 2: p})
    given = (
        torch.ones(12), torch.randn(12, 384), torch.randn(384), torch.rand(12),
        torch.zeros(BLOCK, 50, len(form.step) // _PER_BYTE, dtype=torch.uint8), torch.ones(BLOCK, 50),
        torch.randn(BLOCK, 384), torch.zeros(BLOCK, 12, 50), torch.zeros(BLOCK, 12, 50),
    )  # fmt: skip
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Graph(reader, form).eval(), given, str(path), input_names=list(INPUTS), output_names=["logits"],
            dynamic_shapes=((*shapes, shapes[-1]),), opset_version=20, external_data=False, dynamo=True, verbose=False,
        )  # fmt: skip
    strip_graph(path)
    narrow(path)


def narrow(path: Path) -> None:
    """Keep weights in 16 bits; ONNX Runtime widens them once, when it opens the file."""
    model = onnx.load(path)
    casts = []
    for table in model.graph.initializer:
        values = numpy_helper.to_array(table)
        if values.dtype == np.float32 and values.size > 4_096:
            name = table.name
            table.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.16"))
            casts.append(onnx.helper.make_node("Cast", [f"{name}.16"], [name], to=onnx.TensorProto.FLOAT))
    for node in reversed(casts):
        model.graph.node.insert(0, node)
    onnx.save(model, path)


def narrowed(reader: Reader) -> Reader:
    """Round a reader's weights as `narrow` does, so that both are compared with the same ones."""
    with torch.no_grad():
        for value in reader.parameters():
            if value.numel() > 4_096:
                value.copy_(value.half().float())
    return reader


class Runtime:
    """What scores candidates without torch: numpy around the graph.

    `words`, `scale`: int8 rows and what brings them to length one; integers below 2^24 make their products exact in
    floats, in whatever order they are added up.
    """

    def __init__(self, path: Path, words: NDArray[np.int8], scale: NDArray[np.float32], threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._words, self._scale = words, scale
        self._threads = threads

    def scores(self, data: Data, query: int, candidates: list[int]) -> NDArray[np.float32]:
        """Return the logits of passages by their numbers."""
        asked, _, unit = self._query(data, query)
        order = sorted(range(len(candidates)), key=lambda row: len(data.passages.of(candidates[row], 512)[0]))
        blocks = [order[begin : begin + BLOCK] for begin in range(0, len(order), BLOCK)]

        def run(block: list[int]) -> NDArray[np.float32]:
            filled = block + block[:1] * (BLOCK - len(block))
            feed = self._candidates(data, [candidates[row] for row in filled], unit)
            found: NDArray[np.float32] = self._session.run(None, asked | feed)[0]
            return found[: len(block)]

        with ThreadPoolExecutor(self._threads) as pool:
            scores = np.concatenate(list(pool.map(run, blocks)))
        found = np.empty(len(candidates), np.float32)
        found[order] = scores
        return found

    def _query(self, data: Data, query: int) -> tuple[dict[str, NDArray[np.float32]], int, NDArray[np.int64]]:
        ids, states = data.queries.of(query, 40)
        rows = next(rows for rows in ROWS if rows >= len(ids))
        padded = np.zeros(rows, np.int64)
        padded[: len(ids)] = ids
        mask = (np.arange(rows) < len(ids)).astype(np.float32)
        unit = np.zeros((rows, states.shape[1]), np.float32)
        unit[: len(ids)] = states.astype(np.float32) / 127
        rare = data.rare.numpy()[padded] * mask
        asked = {"query": mask, "states": unit, "vector": data.queries.vectors[query], "rare": rare}
        return asked, len(ids), padded

    def _candidates(
        self, data: Data, candidates: list[int], ids: NDArray[np.int64]
    ) -> dict[str, NDArray[np.float32] | NDArray[np.uint8]]:
        texts = [data.passages.of(number, 512) for number in candidates]
        longest = max(2, *(len(kept) for kept, _ in texts))
        passage_ids = np.zeros((len(texts), longest), np.int64)
        codes = np.zeros((len(texts), longest, texts[0][1].shape[1] // _PER_BYTE), np.uint8)
        passage = np.zeros(passage_ids.shape, np.float32)
        for row, (own, kept) in enumerate(texts):
            passage_ids[row, : len(own)] = own
            codes[row, : len(own)] = packed(kept)
            passage[row, : len(own)] = 1
        different, places = np.unique(passage_ids, return_inverse=True)
        products = self._words[ids].astype(np.float32) @ self._words[different].astype(np.float32).T
        spelled = products * self._scale[ids][:, None] * self._scale[different]
        same = ids[:, None] == passage_ids[:, None, :]
        return {
            "codes": codes,
            "passage": passage,
            "vectors": data.passages.vectors[candidates],
            "same": same.astype(np.float32),
            "words": np.moveaxis(spelled[:, places.reshape(passage_ids.shape)], 0, 1),
        }


def lists_of(data: Data, count: int) -> Iterator[tuple[int, list[int]]]:
    """Yield held-back lists, about as many of each collection."""
    numbers = held_back(data.lists, 20)
    for number in numbers[:: max(1, len(numbers) // count)][:count]:
        yield number, data.lists.candidates[number]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="what train_reader.py wrote")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--lists", type=int, default=40, help="how many to check")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    reader, form, rare, _ = read_model(arguments.model)
    path = arguments.out / "reader.onnx"
    write(narrowed(reader), form, path)
    table = word_vectors(arguments.weights).numpy()
    words = np.round(table / np.abs(table).max(1, keepdims=True) * 127).astype(np.int8)
    scale = 1 / np.linalg.norm(words.astype(np.float32), axis=1)
    save_file({**vars(form), "rare": rare.numpy(), "words": words, "scale": scale}, arguments.out / "kept.safetensors")
    data, runtime = read_data(arguments.cache, arguments.weights), Runtime(path, words, scale, arguments.threads)
    print(f"{path.stat().st_size / 1e6:.1f} MB")
    check(reader, data, runtime, arguments.lists)


def check(reader: Reader, data: Data, runtime: Runtime, count: int) -> None:
    """Print how far the graph is from torch, how many logits depend on their company, and the time."""
    drawn, errors, other, pairs, seconds, processor = np.random.default_rng(0), [], 0, 0, 0.0, 0.0
    for number, candidates in lists_of(data, count):
        began, used = time.perf_counter(), time.process_time()
        found = runtime.scores(data, number, candidates)
        seconds, processor = seconds + time.perf_counter() - began, processor + time.process_time() - used
        errors.append(np.abs(found - logits(reader, data, number, candidates)).max())
        order = drawn.permutation(len(candidates))
        again = runtime.scores(data, number, [candidates[place] for place in order])
        alone = runtime.scores(data, number, candidates[:1])
        other += int((again != found[order]).sum()) + int(alone[0] != found[0])
        pairs += len(candidates)
    print(f"{pairs} pairs: at most {max(errors):.2e} from torch, {other} logits that depend on the others")
    print(f"{1000 * seconds / pairs:.2f} ms a pair, {1000 * processor / pairs:.2f} ms of processor time")


if __name__ == "__main__":
    main()
