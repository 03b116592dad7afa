"""Write a trained reader as a model folder, and check it: the same logits as torch's, in any company.

    python training/export_reader.py RUN/model.safetensors --weights WEIGHTS --cache CACHE --out FOLDER

`model.onnx` goes from a query's states and what is kept of texts to logits, as `sqlrag.models.reading` runs it. Weights
have 16 bits, which ONNX Runtime widens when it opens the file; the form, the rareness of word pieces and the table of
words (int8) are in it too. The check scores held-back lists in several orders, and says how long a pair takes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import onnx
import torch
from evaluate_reader import logits, read_model
from numpy.typing import NDArray
from onnx import numpy_helper
from reader import Batch, Reader
from torch import Tensor, nn
from train_reader import Data, held_back, read_data, word_vectors

from sqlrag.models.export.graph import strip_graph
from sqlrag.models.kept import LEVELS, Form
from sqlrag.models.manifest import file_hash
from sqlrag.models.named_models import named_model
from sqlrag.models.reading import BLOCK, CONSTANTS, INPUTS, OnnxReader
from sqlrag.models.spec import MODEL_FILE, TOKENIZER_FILE, ModelSpec

ENCODER = "all-MiniLM-L6-v2"
_PER_BYTE = 4


class Graph(nn.Module):
    """A reader of one query and its candidates; `codes`, `(pairs, tokens, components / 4)`, are bytes as kept.

    `scale` and `offset` make the logit's sigmoid a probability.
    """

    def __init__(self, reader: Reader, form: Form, scale: float, offset: float) -> None:
        super().__init__()
        self.reader, self.scale, self.offset = reader, scale, offset
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
        return self.reader(Batch(*one, passage, kept, vectors, same, words)) * self.scale + self.offset


def write(network: Graph, constants: dict[str, NDArray[np.generic]], path: Path) -> None:
    """Write the graph, with free numbers of candidates and tokens, and constants as further outputs."""
    dims = {name: torch.export.Dim(name, min=2, max=most) for name, most in (("n", 1024), ("l", 64), ("p", 512))}
    n, rows, p = dims["n"], dims["l"], dims["p"]
    shapes = ({0: rows}, {0: rows}, {}, {0: rows}, {0: n, 1: p}, {0: n, 1: p}, {0: n}, {0: n, 1: rows, 2: p})
    given = (
        torch.ones(12), torch.randn(12, 384), torch.randn(384), torch.rand(12),
        torch.zeros(BLOCK, 50, len(network.step) // _PER_BYTE, dtype=torch.uint8), torch.ones(BLOCK, 50),
        torch.randn(BLOCK, 384), torch.zeros(BLOCK, 12, 50), torch.zeros(BLOCK, 12, 50),
    )  # fmt: skip
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(), given, str(path), input_names=list(INPUTS), output_names=["logits"],
            dynamic_shapes=((*shapes, shapes[-1]),), opset_version=20, external_data=False, dynamo=True, verbose=False,
        )  # fmt: skip
    strip_graph(path)
    model = narrow(onnx.load(path))
    for name, values in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(values, f"{name}.kept"))
        model.graph.node.append(onnx.helper.make_node("Identity", [f"{name}.kept"], [name]))
        kind = onnx.helper.np_dtype_to_tensor_dtype(values.dtype)
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, kind, values.shape))
    onnx.save(model, path)


def narrow(model: onnx.ModelProto) -> onnx.ModelProto:
    """Keep weights in 16 bits; ONNX Runtime widens them once, when it opens the file."""
    casts = []
    for table in model.graph.initializer:
        values = numpy_helper.to_array(table)
        if values.dtype == np.float32 and values.size > 4_096:
            name = table.name
            table.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.16"))
            casts.append(onnx.helper.make_node("Cast", [f"{name}.16"], [name], to=onnx.TensorProto.FLOAT))
    for node in reversed(casts):
        model.graph.node.insert(0, node)
    return model


def narrowed(reader: Reader) -> Reader:
    """Round a reader's weights as `narrow` does, so that both are compared with the same ones."""
    with torch.no_grad():
        for value in reader.parameters():
            if value.numel() > 4_096:
                value.copy_(value.half().float())
    return reader


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
    reader, form, rare, _ = read_model(arguments.model)
    table = word_vectors(arguments.weights).numpy()
    data = read_data(arguments.cache, arguments.weights)
    scale, offset = calibrated(narrowed(reader), data)
    spec = export(reader, form, rare.numpy(), table, arguments.out, scale, offset)
    print(f"{spec.id}: {(arguments.out / MODEL_FILE).stat().st_size / 1e6:.1f} MB")
    texts = json.loads((arguments.cache / "texts.json").read_text(encoding="utf-8"))
    runtime = OnnxReader(replace(spec, activation="identity"), named_model(ENCODER), arguments.threads)
    check(Graph(reader, form, scale, offset), data, texts, runtime, arguments.lists)


def export(
    reader: Reader, form: Form, rare: NDArray[np.float32], table: NDArray[np.float32], folder: Path,
    scale: float = 1.0, offset: float = 0.0,
) -> ModelSpec:  # fmt: skip
    """Write the model folder. `rare`: of each word piece; `table`: the word embeddings, `(words, 384)`."""
    folder.mkdir(parents=True, exist_ok=True)
    words = np.round(table / np.abs(table).max(1, keepdims=True) * 127).astype(np.int8)
    lengths = np.linalg.norm(words.astype(np.float32), axis=1)
    constants = (*(getattr(form, field.name) for field in fields(form)), rare, words, 1 / lengths)
    write(Graph(reader, form, scale, offset), dict(zip(CONSTANTS, constants, strict=True)), folder / MODEL_FILE)
    encoder = named_model(ENCODER)
    assert encoder.folder is not None
    (folder / TOKENIZER_FILE).write_bytes((encoder.folder / TOKENIZER_FILE).read_bytes())
    spec = ModelSpec(
        name=folder.name,
        kind="cross-encoder",
        weights_hash=file_hash(folder / MODEL_FILE),
        max_tokens=2 * encoder.max_tokens,
        licence="Apache-2.0",
        source=f"trained by this project on the states of {ENCODER}",
        encoder=encoder.id,
        folder=folder,
    )
    spec.save(folder)
    return spec


def calibrated(reader: Reader, data: Data) -> tuple[float, float]:
    """Return scale and offset that make the sigmoid of the logit a probability on held-back lists (Platt, 1999).

    What a graded list gives 2 or 3 of 3 is relevant. Each collection counts the same, so that no kind of text decides.
    """
    scores, relevant, weight = [], [], []
    numbers = held_back(data.lists, 40)
    sizes = Counter(data.lists.collections[number].split()[0] for number in numbers)
    for number in numbers:
        candidates = data.lists.candidates[number]
        scores.append(torch.from_numpy(logits(reader, data, number, candidates)))
        relevant.append((torch.tensor(data.lists.grades[number]) > 0.5).float())
        share = 1 / (sizes[data.lists.collections[number].split()[0]] * len(candidates))
        weight.append(torch.full((len(candidates),), share))
    score, known, weights = torch.cat(scores), torch.cat(relevant), torch.cat(weight)
    fit = torch.tensor([1.0, -float(score.mean())], requires_grad=True)
    optimizer = torch.optim.LBFGS([fit], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        logit = score * fit[0] + fit[1]
        loss = nn.functional.binary_cross_entropy_with_logits(logit, known, weights, reduction="sum")
        loss.backward()
        return loss

    optimizer.step(closure)
    likely = torch.sigmoid(score * fit[0] + fit[1]).detach()
    for low, high in itertools.pairwise((0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.01)):
        within = (likely >= low) & (likely < high)
        share, good = weights[within].sum() / weights.sum(), (known * weights)[within].sum() / weights[within].sum()
        print(f"score {low:.2f} to {high:.2f}: {share:.3f} of the pairs, of these {good:.2f} relevant")
    return fit[0].item(), fit[1].item()


def check(network: Graph, data: Data, texts: list[str], runtime: OnnxReader, count: int) -> None:
    """Print how far the graph is from torch, how many logits depend on their company, and the time."""
    drawn, errors, other, pairs, seconds, processor = np.random.default_rng(0), [], 0, 0, 0.0, 0.0
    for number, candidates in lists_of(data, count):
        asked = [(data.lists.queries[number], texts[candidate]) for candidate in candidates]
        kept = dict(zip([text for _, text in asked], runtime.encode([text for _, text in asked])[1], strict=True))
        began, used = time.perf_counter(), time.process_time()
        found = runtime.score(asked, kept=kept)
        seconds, processor = seconds + time.perf_counter() - began, processor + time.process_time() - used
        errors.append(found - logits(network.reader, data, number, candidates) * network.scale - network.offset)
        order = drawn.permutation(len(candidates))
        other += int((runtime.score([asked[place] for place in order], kept=kept) != found[order]).sum())
        other += int(runtime.score(asked[:1])[0] != found[0])
        pairs += len(candidates)
    error = np.sqrt(np.mean(np.concatenate(errors) ** 2))
    print(f"{pairs} pairs: {error:.4f} from torch (root mean square), {other} logits that depend on the others")
    print(f"{1000 * seconds / pairs:.2f} ms a pair, {1000 * processor / pairs:.2f} ms of processor time")


if __name__ == "__main__":
    main()
