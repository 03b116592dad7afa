"""Writing a torch network as an ONNX graph, quantizing its weights to int8, and cleaning it up."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlrag.models.spec import DATA_FILE

if TYPE_CHECKING:
    from sqlrag.models.export.int8 import Rounded

__all__ = ["nodes_of", "quantize_graph", "save_graph", "strip_graph", "write_graph"]

# A message of Protocol Buffers has less than 2 GiB; this leaves room for the operators.
_MOST_IN_ONE_FILE = (1 << 31) - (1 << 27)


# The first opset in which Gelu is one operator. The five operators that it replaces cost a tenth of the time.
_OPSET = 20
# The key under which torch.onnx notes the module that an operator comes from.
_ORIGIN = "pkg.torch.onnx.class_hierarchy"


def write_graph(network: Any, example: dict[str, Any], path: Path, output: str) -> None:
    """Write a torch module as a graph for any batch size and length.

    `example` holds the arguments of a call by keyword, `(1, length)` each. `output` is the key of the result that the
    graph returns.
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
            external_data=sum(weight.nbytes for weight in network.state_dict().values()) > _MOST_IN_ONE_FILE,
            dynamo=True,
            verbose=False,
        )


def save_graph(model: Any, path: Path) -> None:
    """Write a graph, with its weights in a file beside it if they are too many for one file."""
    import onnx

    size = _size(model)
    path.with_name(DATA_FILE).unlink(missing_ok=True)  # the weights are in memory
    onnx.save(model, path, save_as_external_data=size > _MOST_IN_ONE_FILE, location=DATA_FILE, size_threshold=1024)


def nodes_of(graph: Any, layer: str) -> list[Any]:
    """Return a graph's matrix products that come from torch modules of the class named `layer`."""
    return [
        node
        for node in graph.node
        if node.op_type == "MatMul" and any(note.key == _ORIGIN and layer in note.value for note in node.metadata_props)
    ]


def quantize_graph(path: Path, rounded: Rounded) -> None:
    """Replace the weights of the layers that `int8.prepare` prepared by its integers. The rest stays fp32."""
    import onnx
    from onnx import numpy_helper
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(path)
    # Such a layer may have a second product: its rotation, which stays fp32.
    products = nodes_of(model.graph, "_RowScaledLinear")
    prepared = [node.name for node in products if node.input[1].endswith(".weight")]
    # The quantizer transposes weights and fails on their recorded shapes. Without these the graph is also faster,
    # because ONNX Runtime then omits some fusions that do not pay.
    del model.graph.value_info[:]
    if rounded:
        quantize_dynamic(
            model,
            path,
            per_channel=True,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul"],
            nodes_to_quantize=prepared,
            use_external_data_format=_size(model) > _MOST_IN_ONE_FILE,
        )
        # The quantizer does not bound pairs of weights, so its integers are replaced by ours.
        model = onnx.load(path)
        ours: dict[str, Any] = {}
        for layer, (codes, scale) in rounded.items():
            ours[f".{layer}.weight_quantized"], ours[f".{layer}.weight_scale"] = codes, scale
        for table in model.graph.initializer:
            for ending in [ending for ending in ours if table.name.endswith(ending)]:
                table.CopyFrom(numpy_helper.from_array(ours.pop(ending), table.name))
        if ours:
            raise ValueError(f"no weights in the graph for {sorted(ours)}")
        save_graph(model, path)


def strip_graph(path: Path) -> None:
    """Remove the exporter's notes from the graph: they hold stack traces with paths of this machine."""
    import onnx

    model = onnx.load(path)
    graph = model.graph
    for part in (graph, *graph.node, *graph.value_info, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    del model.metadata_props[:]
    save_graph(model, path)


def _size(model: Any) -> int:
    return sum(table.ByteSize() for table in model.graph.initializer)
