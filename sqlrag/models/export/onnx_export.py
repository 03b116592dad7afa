"""Exporting a sentence-transformers model to a model folder: an ONNX graph, its tokenizer and `sqlrag.json`.

The graph of a bi-encoder ends with the last hidden state, which is pooled as the specification says. The graph of a
cross-encoder ends with the logit.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlrag.errors import MissingDependencyError
from sqlrag.models.export.graph import quantize_graph, strip_graph, write_graph
from sqlrag.models.export.network import network_of
from sqlrag.models.manifest import file_hash
from sqlrag.models.spec import MODEL_FILE, TOKENIZER_FILE, Kind, ModelSpec, default_precision
from sqlrag.models.torch_loading import quiet

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from sqlrag.models.torch import TorchEncoder, TorchScorer

__all__ = ["export_onnx", "file_hash"]

# How much calibration sees: enough tokens to show how large each channel becomes.
_EXAMPLES = 24
_EXAMPLE_TOKENS = 128
_TEXT_TOKENS = 200


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
    rotate: bool | None = None,
) -> ModelSpec:
    """Export the sentence-transformers model in `folder`, or of that Hugging Face name, to the model folder `out`.

    `precision` is one of PRECISIONS, by default the `default_precision` of the kind. `texts` are a hundred or more of
    the kind that a bi-encoder will read; int8 uses them to compensate for errors. `rotate` spreads each
    channel over its neighbours before int8 rounds it, by default for a cross-encoder. Raises MissingDependencyError
    without the `torch` extra, InputError for a model whose output a ModelSpec cannot describe.
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
    made = network_of(loaded.model, loaded.spec, str(folder))
    network = made.network
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    examples = _examples(made.inputs, loaded, kind)
    with quiet():
        if precision == "int8":
            seen = [_read(loaded, text) for text in texts]
            rounded = int8.prepare(
                network, examples, seen, rotate=kind == "cross-encoder" if rotate is None else rotate
            )
        elif precision == "int16":
            int16.prepare(network, examples)
        write_graph(network, examples[0], out / MODEL_FILE, made.output)
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
        precision=precision,
        licence=licence,
        source=source,
        template=made.template,
        # Indexes of earlier versions that torch filled have the numbers of any precision but int8.
        formerly=() if precision == "int8" else loaded.spec.formerly,
    )
    spec.save(out)
    return spec


def _read(loaded: TorchEncoder | TorchScorer, text: str) -> dict[str, Any]:
    """Return the inputs for a text."""
    import torch

    ids = loaded.tokenizer.loaded.encode(text).ids[:_TEXT_TOKENS]
    return {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.int64)}


def _examples(inputs: Sequence[str], loaded: TorchEncoder | TorchScorer, kind: Kind) -> list[dict[str, Any]]:
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
    examples = []
    for encoding in encodings:
        given = {
            "input_ids": encoding.ids,
            "attention_mask": encoding.attention_mask,
            "token_type_ids": encoding.type_ids,
            "pooled_mask": encoding.attention_mask,
        }
        examples.append({name: torch.tensor([given[name]]) for name in inputs})
    return examples
