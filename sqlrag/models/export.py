"""From a sentence-transformers model to a model folder: an ONNX graph, its tokenizer and `sqlrag.json`.

Needs the `torch` extra. The graph of a bi-encoder ends with the last hidden state (pooling is the spec's),
that of a cross-encoder with its logit.
"""

from __future__ import annotations

import inspect
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlrag.errors import InputError, MissingDependencyError
from sqlrag.models.loading import is_static, quiet
from sqlrag.models.manifest import file_hash
from sqlrag.models.spec import MODEL_FILE, POOLINGS, TOKENIZER_FILE, Kind, ModelSpec

if TYPE_CHECKING:
    import os

    from sqlrag.models.torch import TorchEncoder, TorchScorer

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

    opened_as = TorchEncoder if kind == "bi-encoder" else TorchScorer
    loaded = opened_as(str(folder), name, device="cpu", dtype="float32")
    output = _pooling(loaded.model, str(folder)) if kind == "bi-encoder" else _no_pooling(loaded.model, str(folder))
    network = _network(loaded.model)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    examples = _examples(network, loaded, kind)
    with quiet():
        if quantize:
            _quantized(network, examples, out / MODEL_FILE, kind)
        else:
            _write(network, examples, out / MODEL_FILE, kind)
    _strip(out / MODEL_FILE)
    loaded.tokenizer.loaded.save(str(out / TOKENIZER_FILE), pretty=False)
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


def _pooling(model: Any, folder: str) -> dict[str, Any]:
    """Return the spec's `pooling` of a SentenceTransformer: Transformer and Pooling, or a static table."""
    modules = [type(module).__name__ for module in model if type(module).__name__ != "Normalize"]
    if modules == ["StaticEmbedding"]:
        return {"pooling": "mean"}
    if modules != ["Transformer", "Pooling"]:
        msg = (
            f"model {folder!r} has the modules {modules}; exported are only Transformer, Pooling, Normalize and "
            'StaticEmbedding: use backend="torch"'
        )
        raise InputError(msg)
    mode = model[1].pooling_mode
    if mode not in POOLINGS or not model[1].include_prompt:
        msg = (
            f"model {folder!r} pools by {mode!r} (prompt included: {model[1].include_prompt}); exported are "
            f'only {", ".join(POOLINGS)} of the whole text: use backend="torch"'
        )
        raise InputError(msg)
    return {"pooling": mode}


def _no_pooling(model: Any, folder: str) -> dict[str, Any]:
    """Check that a CrossEncoder is a Transformer whose logit is the score, without a prompt."""
    modules = [type(module).__name__ for module in model]
    prompt = model.prompts.get(model.default_prompt_name)
    if modules != ["Transformer"] or model[0].transformer_task != "sequence-classification" or prompt:
        msg = (
            f"model {folder!r} has the modules {modules} for {model[0].transformer_task}"
            f"{f' and the prompt {prompt!r}' if prompt else ''}; exported are only rerankers that are one Transformer "
            'with a logit for the pair: use backend="torch"'
        )
        raise InputError(msg)
    return {}


def _network(model: Any) -> Any:
    """Return what becomes the graph: token ids to the last hidden state, or to the logit."""
    if is_static(model):
        import torch

        class Table(torch.nn.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.rows = torch.nn.Embedding.from_pretrained(model[0].embedding.weight.detach().float())

            def forward(self, input_ids: Any) -> dict[str, Any]:
                return {"last_hidden_state": self.rows(input_ids)}

        return Table().eval()
    network = model[0].auto_model.eval()
    # Eager attention is plain matrix products, which ONNX Runtime knows how to fuse.
    network.set_attn_implementation("eager")
    return network


def _examples(network: Any, loaded: TorchEncoder | TorchScorer, kind: Kind) -> list[dict[str, Any]]:
    """Return inputs of random words of the model's vocabulary, texts or pairs as the model reads them."""
    import torch

    tokenizer, length = loaded.tokenizer, min(_EXAMPLE_TOKENS, loaded.spec.max_tokens)
    generator = torch.Generator().manual_seed(0)
    words = torch.randint(tokenizer.loaded.get_vocab_size(), (_EXAMPLES, _EXAMPLE_TOKENS), generator=generator)
    texts = [tokenizer.loaded.decode(row) for row in words.tolist()]
    if kind == "bi-encoder":
        encodings = tokenizer.singles(texts, length)
    else:
        encodings = tokenizer.pairs([(text[:40], text) for text in texts], length)
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
