"""A model's folder as an export reads it: its own files, and in the place of some what the user says of the model."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from sqlrag.errors import InputError, ModelFileError
from sqlrag.models.conventions import read_settings
from sqlrag.models.weights import check_weights, weight_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlrag.models.export.plan import Options
    from sqlrag.models.spec import Kind

__all__ = ["overlaid"]

_SETTINGS = "config_sentence_transformers.json"
_WINDOW = "sentence_bert_config.json"
_MODULES = "modules.json"


@contextmanager
def overlaid(folder: Path, kind: Kind, options: Options) -> Iterator[Path]:
    """Yield a folder with a model's files in which the options are settings of sentence-transformers.

    It is the folder itself if there is nothing to change. Pickled weights, where the options allow them, are converted
    to safetensors. Raises InputError for an option that the model cannot have, ModelFileError for damaged weights.
    """
    pickles = weight_files(folder, ".bin") if options.allow_bin and not weight_files(folder) else []
    if not (pickles or options.dimensions or options.window or options.pooling or options.prompts):
        yield folder
        return
    check_weights(folder)
    with TemporaryDirectory(prefix="sqlrag-") as made:
        copy = Path(made)
        for path in folder.rglob("*"):
            target = copy / path.relative_to(folder)
            if path.is_dir():
                target.mkdir(parents=True, exist_ok=True)
            elif path not in pickles and path.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                _link(path.resolve(), target)
        for path in pickles:
            _convert(path, copy / path.relative_to(folder))
        _say(copy, kind, options)
        yield copy


def _say(folder: Path, kind: Kind, options: Options) -> None:
    """Write the options into the settings of sentence-transformers."""
    if options.window:
        first = read_settings(folder / _MODULES, list)
        path = folder / str(first[0].get("path", "")) if first else folder
        _write(path / _WINDOW, read_settings(path / _WINDOW) | {"max_seq_length": options.window})
        tokenizer = path / "tokenizer_config.json"
        _write(tokenizer, read_settings(tokenizer) | {"model_max_length": options.window})
    if kind == "cross-encoder":
        if options.dimensions or options.pooling or options.prompts:
            raise InputError("dimensions, pooling and prompts are those of a bi-encoder; the model is a cross-encoder")
        return
    if options.pooling:
        if (folder / _MODULES).is_file():
            raise InputError(
                f"pooling is {options.pooling!r}, but the model's own files say how it pools: leave it out"
            )
        _add_pooling(folder, options.pooling)
    if options.dimensions or options.prompts:
        if not (folder / _MODULES).is_file():
            _add_pooling(folder, "mean")
        changed: dict[str, Any] = read_settings(folder / _SETTINGS)
        if options.dimensions:
            changed["truncate_dim"] = options.dimensions
        if options.prompts:
            changed["prompts"] = {"query": "", "document": "", **options.prompts}
            changed["default_prompt_name"] = None
        _write(folder / _SETTINGS, changed)


def _add_pooling(folder: Path, pooling: str) -> None:
    """Make a bare Transformer a SentenceTransformer."""
    kind = "sentence_transformers.models."
    _write(
        folder / _MODULES,
        [
            {"idx": 0, "name": "0", "path": "", "type": f"{kind}Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{kind}Pooling"},
        ],
    )
    config = read_settings(folder / "config.json")
    size = next(
        (config[name] for name in ("hidden_size", "dim", "d_model", "n_embd", "emb_dim") if name in config), None
    )
    (folder / "1_Pooling").mkdir(exist_ok=True)
    _write(folder / "1_Pooling" / "config.json", {"embedding_dimension": size, "pooling_mode": pooling})


def _write(path: Path, values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # it may be a link
    path.write_text(json.dumps(values), encoding="utf-8")


def _link(path: Path, target: Path) -> None:
    try:
        target.symlink_to(path)
    except OSError:  # Windows lets only some users make links
        shutil.copyfile(path, target)


def _convert(path: Path, target: Path) -> None:
    """Write the tensors of a pickled file as safetensors. `weights_only` unpickles numbers and runs no code."""
    import torch
    from safetensors.torch import save_file

    if path.name in ("training_args.bin", "optimizer.bin"):
        return
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        tensors = {name: tensor.contiguous().clone() for name, tensor in found.items() if torch.is_tensor(tensor)}
    except Exception as error:  # torch and pickle raise anything
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ModelFileError(f"{str(path)!r} holds something else than weights, or is damaged: {first}") from error
    name = "model" + target.stem.removeprefix("pytorch_model") + ".safetensors"
    save_file(tensors, target.with_name(name), metadata={"format": "pt"})
    index = path.with_name("pytorch_model.bin.index.json")
    if index.is_file():
        known = read_settings(index)
        renamed = {
            key: str(file).replace("pytorch_model", "model").removesuffix(".bin") + ".safetensors"
            for key, file in known.get("weight_map", {}).items()
        }
        _write(target.with_name("model.safetensors.index.json"), known | {"weight_map": renamed})
