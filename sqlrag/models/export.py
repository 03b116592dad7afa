"""From a sentence-transformers model to a model folder: an ONNX graph, its tokenizer and `sqlrag.json`.

Needs the `torch` extra. The graph of a bi-encoder ends with the last hidden state (pooling is the spec's),
that of a cross-encoder with its logit.
"""

from __future__ import annotations

import hashlib
import inspect
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlrag.errors import InputError, MissingDependencyError
from sqlrag.models.spec import MODEL_FILE, TOKENIZER_FILE, Kind, ModelSpec

if TYPE_CHECKING:
    import os

    from sqlrag.models.tokenizer import ModelTokenizer

__all__ = ["export_onnx", "file_hash"]

# The first with Gelu as one operator: five operators in its place cost a tenth of the time.
_OPSET = 20
# What calibration sees: enough tokens that every channel has shown how large it becomes.
_EXAMPLES = 24
_EXAMPLE_TOKENS = 128
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def export_onnx(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    kind: Kind,
    name: str,
    quantize: bool = True,
    licence: str = "",
    source: str = "",
) -> ModelSpec:
    """Write the sentence-transformers model in `folder` (or of that Hugging Face name) as model folder `out`.

    `quantize`: weights as int8, one scale per channel, activations quantised when run; else fp32.
    Raises MissingDependencyError without the `torch` extra, InputError for a model whose output a
    ModelSpec cannot describe.
    """
    try:
        import onnx  # noqa: F401 - named here, before any work is done
        import onnxscript  # noqa: F401
    except ImportError as error:
        msg = f'export needs {error.name}: pip install "sqlrag[torch]"'
        raise MissingDependencyError(msg) from error
    from sqlrag.models.torch import TorchEncoder, TorchScorer

    loaded = TorchEncoder(str(folder)) if kind == "bi-encoder" else TorchScorer(str(folder))
    output = _pooling(loaded.model, str(folder)) if kind == "bi-encoder" else {}
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    network = loaded.model[0].auto_model.float().cpu().eval()
    # Eager attention is plain matrix products, which ONNX Runtime knows how to fuse.
    network.set_attn_implementation("eager")
    examples = _examples(network, loaded.tokenizer, kind)
    if quantize:
        _quantized(network, examples, out / MODEL_FILE, kind)
    else:
        _write(network, examples, out / MODEL_FILE, kind)
    _strip(out / MODEL_FILE)
    loaded.model.tokenizer.backend_tokenizer.save(str(out / TOKENIZER_FILE), pretty=False)
    spec = replace(
        loaded.spec,
        name=name,
        folder=out,
        weights_hash=file_hash(out / MODEL_FILE),
        licence=licence,
        source=source,
        **output,
    )
    spec.save(out)
    return spec


def file_hash(path: str | os.PathLike[str]) -> str:
    """Return the hex SHA-256 of a file."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _pooling(model: Any, folder: str) -> dict[str, Any]:
    """Return the spec's `pooling` of a SentenceTransformer: Transformer, Pooling and perhaps Normalize."""
    modules = [type(module).__name__ for module in model]
    if modules not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        msg = f"model {folder!r} has the modules {modules}; exported are only Transformer, Pooling, Normalize"
        raise InputError(msg)
    # An attribute since sentence-transformers 6, a method before.
    mode = getattr(model[1], "pooling_mode", None) or model[1].get_pooling_mode_str()
    if mode not in ("mean", "cls") or not model[1].include_prompt:
        msg = (
            f"model {folder!r} pools by {mode!r} (prompt included: {model[1].include_prompt}); exported are "
            'only mean and cls of the whole text: use backend="torch"'
        )
        raise InputError(msg)
    return {"pooling": mode}


def _examples(network: Any, tokenizer: ModelTokenizer, kind: Kind) -> list[dict[str, Any]]:
    """Return inputs of random words of the model's vocabulary, texts or pairs as the model reads them."""
    import torch

    generator = torch.Generator().manual_seed(0)
    words = torch.randint(tokenizer.loaded.get_vocab_size(), (_EXAMPLES, _EXAMPLE_TOKENS), generator=generator)
    texts = [tokenizer.loaded.decode(row) for row in words.tolist()]
    if kind == "bi-encoder":
        encodings = tokenizer.singles(texts, _EXAMPLE_TOKENS)
    else:
        encodings = tokenizer.pairs([(text[:40], text) for text in texts], _EXAMPLE_TOKENS)
    accepted = inspect.signature(network.forward).parameters
    examples = []
    for encoding in encodings:
        columns = (encoding.ids, encoding.attention_mask, encoding.type_ids)
        given = dict(zip(_INPUTS, columns, strict=True))
        examples.append({name: torch.tensor([given[name]]) for name in _INPUTS if name in accepted})
    return examples


def _quantized(network: Any, examples: list[dict[str, Any]], path: Path, kind: Kind) -> None:
    """Write a Transformer as a graph with int8 weights."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from sqlrag.models.int8 import prepare

    prepare(network, examples)
    _write(network, examples, path, kind)
    # The quantiser transposes the weights of each Gemm and trips over the shapes noted for them.
    model = onnx.load(path)
    gemms = [node for node in model.graph.node if node.op_type == "Gemm"]
    stale = {name for node in gemms for name in node.input}
    shapes = [shape for shape in model.graph.value_info if shape.name not in stale]
    del model.graph.value_info[:]
    model.graph.value_info.extend(shapes)
    quantize_dynamic(
        model,
        path,
        per_channel=True,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["MatMul"],
        # A Gemm is a layer that sees one vector per text: fp32 costs nothing there.
        nodes_to_exclude=[f"{node.name}_MatMul" for node in gemms],
    )


def _write(network: Any, examples: list[dict[str, Any]], path: Path, kind: Kind) -> None:
    """Write a Transformer as a graph with free batch and length."""
    import torch

    names = list(examples[0])
    output = "last_hidden_state" if kind == "bi-encoder" else "logits"

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
            tuple(torch.cat([examples[0][name]] * 2) for name in names),
            str(path),
            input_names=names,
            output_names=[output],
            dynamic_shapes=((shape,) * len(names),),
            opset_version=_OPSET,
            external_data=False,
            dynamo=True,
            verbose=False,
        )


def _strip(path: Path) -> None:
    """Take out what the exporter noted beside the graph: stack traces, with the paths of this machine."""
    import onnx

    model = onnx.load(path)
    graph = model.graph
    for part in (graph, *graph.node, *graph.value_info, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    del model.metadata_props[:]
    onnx.save(model, path)
