"""Taking an ONNX file of a repository as it is. It needs no torch."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlrag.errors import Error, InputError, ModelFileError
from sqlrag.models.conventions import Conventions, base_model, card_names, read_conventions, read_settings
from sqlrag.models.detect import licence_of
from sqlrag.models.export.plan import precision_of
from sqlrag.models.hub import SMALL, open_repository
from sqlrag.models.manifest import file_hash
from sqlrag.models.onnx import INPUTS, OnnxEncoder, OnnxScorer
from sqlrag.models.spec import IN_GRAPH, MODEL_FILE, POOLINGS, TOKENIZER_FILE, USUAL_WINDOW, ModelSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlrag.models.export.plan import Options, Plan

__all__ = ["adopt"]

_HIDDEN = ("last_hidden_state", "token_embeddings")
_VECTOR = "sentence_embedding"
_TEXTS = ("How long does green tea steep?", "Copies are made every night.", "東京 naïve 😀")


def adopt(
    folder: Path, work: Path, *, name: str, source: str, plan: Plan, options: Options, tell: Callable[[str], None]
) -> tuple[ModelSpec, list[str]]:
    """Copy an ONNX file of a model's folder into `work`, with its specification; return that and what is to be said.

    Pooling, prompts, window and activation are read from the model's files, and of a conversion that has none of them
    from those of the model that it was made from. Raises InputError for a graph that does not give what is needed.
    """
    graph, *data = (folder / one for one in plan.files)
    tokenizer = next(
        (path for path in (folder / TOKENIZER_FILE, graph.parent / TOKENIZER_FILE) if path.is_file()), None
    )
    if tokenizer is None:
        raise InputError(
            f"model {name!r} has no {TOKENIZER_FILE}, which running its ONNX file needs: an export of its weights "
            'makes one of a sentencepiece model, pip install "sqlrag[torch]"'
        )
    _place(graph.resolve(), work / MODEL_FILE)
    for path in data:
        _place(path.resolve(), work / path.name)
    shutil.copyfile(tokenizer, work / TOKENIZER_FILE)
    outputs = _outputs(work / MODEL_FILE, name)
    hashes = [file_hash(path) for path in (graph, *data)]
    made_by = make_cross_encoder if plan.kind == "cross-encoder" else make_bi_encoder
    common: dict[str, Any] = {
        "name": name,
        "kind": plan.kind,
        "weights_hash": hashes[0] if len(hashes) == 1 else _joined(hashes),
        "folder": work,
        "licence": licence_of(folder),
        "source": source,
        "precision": precision_of(graph.name),
    }
    spec, notes = made_by(folder, outputs, common, options, tell)
    spec.save(work)
    taken = graph.relative_to(folder).as_posix()
    return spec, [f"{taken} ({spec.precision}) as the repository has it, not compared with other weights", *notes]


def make_bi_encoder(
    folder: Path, outputs: Sequence[str], common: dict[str, Any], options: Options, tell: Callable[[str], None]
) -> tuple[ModelSpec, list[str]]:
    """Return the specification of a bi-encoder whose graph has these outputs, tried on a few texts."""
    name, notes = str(common["name"]), []
    found = read_conventions(folder, [name, *card_names(folder)])
    if found.pooling is None and not options.pooling and (base := base_model(folder)):
        try:
            tell(f"reading the pooling of {base}, from which it was made")
            repository = open_repository(base)
            original = read_conventions(repository.get(repository.wanted(*SMALL)), [base])
        except Error as error:
            notes.append(f"the files of {base}, from which it was made, could not be read: {error}")
        else:
            notes.append(f"pooling, prompts and window are those of {base}, from which it was made")
            window = min((one for one in (found.max_tokens, original.max_tokens) if one), default=None)
            found = replace(original, max_tokens=window, modules=original.modules)
    pooling, output = _pooling(name, outputs, found, options)
    window = options.window or found.max_tokens
    if window is None:
        window = USUAL_WINDOW
        notes.append(f"its files name no window: {window} tokens are read (--window changes that)")
    spec = ModelSpec(
        **common,
        max_tokens=window,
        dimension=1,
        prompts={"query": "", "document": "", **(options.prompts or found.prompts)},
        pooling=pooling,
        normalize=found.normalize,
        output=output,
    )
    full = OnnxEncoder(spec, threads=1).width(_TEXTS[0])
    cut = options.dimensions or found.truncate or full
    if cut > full:
        raise InputError(f"dimensions is {cut}, but {name!r} has {full}")
    spec = replace(spec, dimension=cut, full_dimension=full if cut < full else None)
    vectors = OnnxEncoder(spec, threads=1).embed(_TEXTS, "document")
    if abs(vectors[0] - vectors[1]).max() < 1e-6:
        raise ModelFileError(f"the ONNX file of {name!r} gives different texts the same vector: it is damaged")
    return spec, notes


def make_cross_encoder(
    folder: Path, outputs: Sequence[str], common: dict[str, Any], options: Options, tell: Callable[[str], None]
) -> tuple[ModelSpec, list[str]]:
    """Return the specification of a cross-encoder whose graph has these outputs, tried on a few pairs."""
    del tell
    name, notes = str(common["name"]), []
    if (folder / "chat_template.jinja").is_file() or "chat_template" in read_settings(folder / "tokenizer_config.json"):
        raise InputError(
            f"model {name!r} reads a pair through its chat template, which only an export knows: "
            'pip install "sqlrag[torch]", and pull it without --onnx'
        )
    if "logits" not in outputs:
        raise InputError(f"the ONNX file of {name!r} has the outputs {', '.join(outputs)}: a cross-encoder has logits")
    window = options.window or read_conventions(folder, [name]).max_tokens
    if window is None:
        window = USUAL_WINDOW
        notes.append(f"its files name no window: {window} tokens are read (--window changes that)")
    spec = ModelSpec(**common, max_tokens=window, activation=_activation(folder, name), output="logits")
    scores = OnnxScorer(replace(spec, activation="identity"), threads=1).score([(_TEXTS[0], text) for text in _TEXTS])
    if abs(scores - scores[0]).max() < 1e-6:
        raise ModelFileError(f"the ONNX file of {name!r} gives different pairs the same score: it is damaged")
    return spec, notes


def _pooling(name: str, outputs: Sequence[str], found: Conventions, options: Options) -> tuple[str, str]:
    """Return the pooling, and the output of the graph that is used."""
    behind = set(found.modules) - {"Transformer", "Pooling", "Normalize"}
    hidden = next((one for one in _HIDDEN if one in outputs), None)
    pooling = options.pooling or found.pooling
    plain = pooling in POOLINGS and not behind and found.include_prompt
    if hidden and pooling and plain:
        return pooling, hidden
    if _VECTOR in outputs and found.include_prompt:
        return IN_GRAPH, _VECTOR
    if hidden and pooling is None:
        raise InputError(
            f"the files of {name!r} do not say how token vectors become one: say it with --pooling "
            f"({', '.join(POOLINGS)}), as the card of the model names it"
        )
    raise InputError(
        f"the ONNX file of {name!r} has the outputs {', '.join(outputs)}, but the model has the modules "
        f"{', '.join(found.modules) or 'of a bare Transformer'} with the pooling {pooling}: an export knows those, "
        'pip install "sqlrag[torch]", and pull it without --onnx'
    )


def _activation(folder: Path, name: str) -> str:
    config = read_settings(folder / "config.json")
    ours = config.get("sentence_transformers")
    named = ours.get("activation_fn") if isinstance(ours, dict) else None
    named = named or config.get("sbert_ce_default_activation_function") or "Sigmoid"
    activation = str(named).rsplit(".", 1)[-1].lower()
    if activation not in ("sigmoid", "identity"):
        raise InputError(f"model {name!r} has the activation {activation!r}; a reranker's is sigmoid or identity")
    return activation


def _outputs(path: Path, name: str) -> list[str]:
    """Return the outputs of a graph. Raises InputError for inputs that no text gives."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library raises its own types, none public
        raise ModelFileError(f"the ONNX file of {name!r} can't be opened by ONNX Runtime: {error}") from error
    inputs = [node.name for node in session.get_inputs()]
    if unknown := [one for one in inputs if one not in INPUTS or one == "pooled_mask"]:
        shown = ", ".join(unknown[:3]) + (f" and {len(unknown) - 3} more" if len(unknown) > 3 else "")
        made_for = "is made to write text" if any("past" in one for one in unknown) else "takes more than texts"
        raise InputError(
            f"the ONNX file of {name!r} {made_for} (inputs {shown}): take another file with --onnx-file, or export "
            'the weights, pip install "sqlrag[torch]"'
        )
    return [node.name for node in session.get_outputs()]


def _place(path: Path, target: Path) -> None:
    """Put a file at another place, without a second copy where the disk can do that."""
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)


def _joined(hashes: Sequence[str]) -> str:
    import hashlib

    return hashlib.sha256("".join(hashes).encode()).hexdigest()
