"""Exporting a sentence-transformers model to a model folder: an ONNX graph, its tokenizer and `sqlrag.json`.

The graph of a bi-encoder ends with the last hidden state, which is pooled as the specification says. The graph of a
cross-encoder ends with the logit.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlrag.errors import InputError, MissingDependencyError
from sqlrag.models.export.graph import quantize_graph, strip_graph, write_graph
from sqlrag.models.manifest import file_hash
from sqlrag.models.spec import MODEL_FILE, POOLINGS, TOKENIZER_FILE, Kind, ModelSpec, default_precision
from sqlrag.models.torch_loading import is_static, quiet

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from sqlrag.models.torch import TorchEncoder, TorchScorer

__all__ = ["export_onnx", "file_hash"]

# How much calibration sees: enough tokens to show how large each channel becomes.
_EXAMPLES = 24
_EXAMPLE_TOKENS = 128
_TEXT_TOKENS = 200
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def export_onnx(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    kind: Kind,
    name: str,
    precision: str | None = None,
    licence: str = "",
    source: str = "",
    texts: Sequence[str] = (),
) -> ModelSpec:
    """Export the sentence-transformers model in `folder`, or of that Hugging Face name, to the model folder `out`.

    `precision` is one of PRECISIONS, by default the `default_precision` of the kind. `texts` are a hundred or more of
    the kind that a bi-encoder will read; int8 uses them to compensate for errors. Raises MissingDependencyError without
    the `torch` extra, InputError for a model whose output a ModelSpec cannot describe.
    """
    try:
        import onnx  # noqa: F401 - so that the error comes before any work is done
        import onnxscript  # noqa: F401
    except ImportError as error:
        msg = f'export needs {error.name}: pip install "sqlrag[torch]"'
        raise MissingDependencyError(msg) from error
    from sqlrag.models.export import int8, int16
    from sqlrag.models.torch import TorchEncoder, TorchScorer

    precision = precision or default_precision(kind)
    opened_as = TorchEncoder if kind == "bi-encoder" else TorchScorer
    loaded = opened_as(str(folder), name, device="cpu", dtype="float32")
    output = _pooling(loaded.model, str(folder)) if kind == "bi-encoder" else _no_pooling(loaded.model, str(folder))
    network = _network(loaded.model)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    examples = _examples(network, loaded, kind)
    with quiet():
        if precision == "int8":
            seen = [_read(loaded, text) for text in texts]
            rounded = int8.prepare(network, examples, seen, rotate=kind == "cross-encoder")
        elif precision == "int16":
            int16.prepare(network, examples)
        write_graph(network, examples[0], out / MODEL_FILE, "last_hidden_state" if kind == "bi-encoder" else "logits")
        if precision == "int8":
            quantize_graph(out / MODEL_FILE, rounded)
        elif precision == "int16":
            int16.split_graph(out / MODEL_FILE)
    strip_graph(out / MODEL_FILE)
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
    """Return the `pooling` of a SentenceTransformer that is Transformer and Pooling, or a static table."""
    modules = [type(module).__name__ for module in model if type(module).__name__ != "Normalize"]
    if modules == ["StaticEmbedding"]:
        return {"pooling": "mean"}
    if modules != ["Transformer", "Pooling"]:
        raise InputError(
            f"model {folder!r} has the modules {modules}; exported are only Transformer, Pooling, Normalize and "
            'StaticEmbedding: use backend="torch"'
        )
    mode = model[1].pooling_mode
    if mode not in POOLINGS or not model[1].include_prompt:
        raise InputError(
            f"model {folder!r} pools by {mode!r} (prompt included: {model[1].include_prompt}); exported are "
            f'only {", ".join(POOLINGS)} of the whole text: use backend="torch"'
        )
    return {"pooling": mode}


def _no_pooling(model: Any, folder: str) -> dict[str, Any]:
    """Raise InputError unless a CrossEncoder is a Transformer, without a prompt, whose logit is the score."""
    modules = [type(module).__name__ for module in model]
    prompt = model.prompts.get(model.default_prompt_name)
    if modules != ["Transformer"] or model[0].transformer_task != "sequence-classification" or prompt:
        raise InputError(
            f"model {folder!r} has the modules {modules} for {model[0].transformer_task}"
            f"{f' and the prompt {prompt!r}' if prompt else ''}; exported are only rerankers that are one Transformer "
            'with a logit for the pair: use backend="torch"'
        )
    return {}


def _network(model: Any) -> Any:
    """Return the network that becomes the graph: from token ids to the last hidden state or the logit."""
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
    # Eager attention is made of plain matrix products, which ONNX Runtime can fuse.
    network.set_attn_implementation("eager")
    return network


def _read(loaded: TorchEncoder | TorchScorer, text: str) -> dict[str, Any]:
    """Return the inputs for a text."""
    import torch

    ids = loaded.tokenizer.loaded.encode(text).ids[:_TEXT_TOKENS]
    return {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.int64)}


def _examples(network: Any, loaded: TorchEncoder | TorchScorer, kind: Kind) -> list[dict[str, Any]]:
    """Return the inputs for texts or pairs of random words from the model's vocabulary."""
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
