"""A torch network as an ONNX graph: written, its weights brought to int8, and cleaned. Needs the `torch` extra."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlrag.models.export.int8 import Rounded

__all__ = ["nodes_of", "quantize_graph", "strip_graph", "write_graph"]

# The first with Gelu as one operator: five operators in its place cost a tenth of the time.
_OPSET = 20
# Which module an operator comes from, as torch.onnx notes it.
_ORIGIN = "pkg.torch.onnx.class_hierarchy"


def write_graph(network: Any, example: dict[str, Any], path: Path, output: str) -> None:
    """Write a torch module as a graph with free batch and length.

    `example`: a call of it by keyword, `(1, length)` each; `output`: the key of its result that the graph returns.
    """
    import torch

    names = list(example)

    class Graph(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, *inputs: Any) -> Any:
            return self.network(**dict(zip(names, inputs, strict=True)))[output]

    shape = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Graph().eval(),
            tuple(torch.cat([example[name]] * 2) for name in names),
            str(path),
            input_names=names,
            output_names=[output],
            dynamic_shapes=((shape,) * len(names),),
            opset_version=_OPSET,
            external_data=False,
            dynamo=True,
            verbose=False,
        )


def nodes_of(graph: Any, layer: str) -> list[Any]:
    """Return a written graph's matrix products that come from torch modules of a class."""
    return [
        node
        for node in graph.node
        if node.op_type == "MatMul" and any(note.key == _ORIGIN and layer in note.value for note in node.metadata_props)
    ]


def quantize_graph(path: Path, rounded: Rounded) -> None:
    """Bring the layers that `int8.prepare` made ready to the integers that it returned; the rest stays fp32."""
    import onnx
    from onnx import numpy_helper
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(path)
    # Such a layer may have a second product, its rotation, which stays fp32.
    products = nodes_of(model.graph, "_RowScaledLinear")
    prepared = [node.name for node in products if node.input[1].endswith(".weight")]
    # The quantiser transposes weights and trips over the shapes noted for them. Without them the graph is faster, too:
    # ONNX Runtime then leaves some fusions out that do not pay.
    del model.graph.value_info[:]
    if rounded:
        quantize_dynamic(
            model,
            path,
            per_channel=True,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul"],
            nodes_to_quantize=prepared,
        )
        # The quantiser knows no bound for pairs of weights: its integers make way for ours.
        model = onnx.load(path)
        ours: dict[str, Any] = {}
        for layer, (codes, scale) in rounded.items():
            ours[f".{layer}.weight_quantized"], ours[f".{layer}.weight_scale"] = codes, scale
        for table in model.graph.initializer:
            for ending in [ending for ending in ours if table.name.endswith(ending)]:
                table.CopyFrom(numpy_helper.from_array(ours.pop(ending), table.name))
        if ours:
            msg = f"no weights in the graph for {sorted(ours)}"
            raise ValueError(msg)
        onnx.save(model, path)


def strip_graph(path: Path) -> None:
    """Take out what the exporter noted beside the graph: stack traces, with the paths of this machine."""
    import onnx

    model = onnx.load(path)
    graph = model.graph
    for part in (graph, *graph.node, *graph.value_info, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    del model.metadata_props[:]
    onnx.save(model, path)
