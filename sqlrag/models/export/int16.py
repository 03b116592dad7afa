"""Quantize a Transformer to 16 bits, as two times 8: what a reranker needs to keep the order of its results.

The logits of similar candidates differ by less than 8 bits can express. Rounding the weights and rounding the
activations each changes the top 3 of a tenth of NFCorpus' queries, for a cross-encoder with all-MiniLM-L6-v2's weights;
with the rotation of `int8` and both rounded it is a fifth (tests/models/test_precision_order.py). Here a number is the
sum of a coarse part and a fine part of 8 bits each: x w = (x1 + x2) (w1 + w2), where x2 w2 is small enough to be left
out. Two bytes are half of four. Three products of integers take as long as one product of floats (Zen 4, 64 tokens) or
a seventh less (145 tokens), and int8 takes half as long.

A part of the weights has 7 bits, because ONNX Runtime adds two products of bytes in 16 bits on processors without VNNI,
which overflows with 8 bits (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from sqlrag.models.export.graph import nodes_of, save_graph
from sqlrag.models.export.int8 import RowScaledEmbedding, looked_up, observe

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["prepare", "split_graph"]

_LARGEST_WEIGHT = 63


class _TwoPartLinear(nn.Module):  # type: ignore[misc]
    """A linear layer, unchanged but for its class and its transposed weights, by which `split_graph` finds it."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.register_buffer("weight", linear.weight.T.contiguous())
        self.bias = linear.bias

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        product = torch.matmul(hidden, self.weight)
        return product if self.bias is None else product + self.bias


@torch.no_grad()  # type: ignore[untyped-decorator]
def prepare(network: Any, examples: list[dict[str, torch.Tensor]]) -> None:
    """Replace in place the embeddings of a Transformer and the linear layers that process every token.

    `examples` are inputs as the model will get them. They show which layers process every token.
    """
    seen, _ = observe(network, examples[:1])
    layers = dict(network.named_modules())
    for name in looked_up(network, examples[0]):
        network.set_submodule(name, RowScaledEmbedding(layers[name], torch.int16))
    for name in seen:
        network.set_submodule(name, _TwoPartLinear(layers[name]))


def split_graph(path: Path) -> None:
    """Replace the products of the layers that `prepare` prepared by products of parts. The rest stays fp32."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    graph = model.graph
    chosen = {node.output[0] for node in nodes_of(graph, _TwoPartLinear.__name__)}
    tables = {table.name: table for table in graph.initializer}
    nodes: list[Any] = []
    split: set[str] = set()  # activations and weights that have been split: query, key and value share theirs
    for node in graph.node:
        if node.output[0] not in chosen:
            nodes.append(node)
            continue
        hidden, weight = node.input
        if hidden not in split:
            nodes += _split_activations(hidden)
        if weight not in split:
            graph.initializer.extend(_split_weights(weight, numpy_helper.to_array(tables[weight])))
            graph.initializer.remove(tables[weight])
        split |= {hidden, weight}
        nodes += _sum_of_products(hidden, weight, node.output[0])
    del graph.node[:]
    graph.node.extend(nodes)
    # Without recorded shapes ONNX Runtime omits some fusions that do not pay.
    del graph.value_info[:]
    save_graph(model, path)


def _split_activations(name: str) -> list[Any]:
    """Return the operators that quantize an activation to 8 bits, and what remains of it to 8 bits again."""
    return [
        _node("DynamicQuantizeLinear", [name], f"{name}_part1", f"{name}_scale1", f"{name}_zero1"),
        _node("DequantizeLinear", [f"{name}_part1", f"{name}_scale1", f"{name}_zero1"], f"{name}_coarse"),
        _node("Sub", [name, f"{name}_coarse"], f"{name}_rest"),
        _node("DynamicQuantizeLinear", [f"{name}_rest"], f"{name}_part2", f"{name}_scale2", f"{name}_zero2"),
    ]


def _split_weights(name: str, weight: NDArray[np.float32]) -> list[Any]:
    """Return a weight in two parts, (in, out) int8 each, with a scale for each output channel."""
    from onnx import numpy_helper

    tensors = []
    rest = weight
    for part in (1, 2):
        scale = np.maximum(np.abs(rest).max(0), np.float32(1e-30)) / np.float32(_LARGEST_WEIGHT)
        codes = np.rint(rest / scale).astype(np.int8)
        rest = rest - codes * scale
        tensors += [
            numpy_helper.from_array(codes, f"{name}_part{part}"),
            numpy_helper.from_array(scale, f"{name}_scale{part}"),
        ]
    return tensors


def _sum_of_products(hidden: str, weight: str, output: str) -> list[Any]:
    """Return the operators for the product of an activation and a weight. The smallest summands are added first."""
    nodes = []
    for one, other in ((1, 1), (1, 2), (2, 1)):
        product = f"{output}_parts{one}{other}"
        nodes += [
            _node(
                "MatMulInteger",
                [f"{hidden}_part{one}", f"{weight}_part{other}", f"{hidden}_zero{one}"],
                f"{product}_int",
            ),
            _node("Cast", [f"{product}_int"], f"{product}_float", to=1),
            _node("Mul", [f"{hidden}_scale{one}", f"{weight}_scale{other}"], f"{product}_scale"),
            _node("Mul", [f"{product}_float", f"{product}_scale"], product),
        ]
    return [
        *nodes,
        _node("Add", [f"{output}_parts12", f"{output}_parts21"], f"{output}_fine"),
        _node("Add", [f"{output}_parts11", f"{output}_fine"], output),
    ]


def _node(operator: str, inputs: list[str], *outputs: str, **attributes: Any) -> Any:
    from onnx import helper

    return helper.make_node(operator, inputs, list(outputs), name=f"{outputs[0]}_{operator}", **attributes)
