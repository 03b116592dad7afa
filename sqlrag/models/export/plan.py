"""What `models pull` will do with a model, from its small files and the names and sizes of the others."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from sqlrag.errors import InputError, MissingDependencyError
from sqlrag.models.cached_models import models_folder
from sqlrag.models.conventions import read_settings
from sqlrag.models.detect import kind_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sqlrag.models.spec import Kind

__all__ = ["Options", "Plan", "check_extra", "plan_of", "precision_of"]

# The names under which ONNX files of each precision are published, the one that is taken first coming first.
_ONNX = {
    "fp32": ("model", "model_O1", "model_O2", "model_O3"),
    "int8": ("model_quantized", "model_quint8_avx2", "model_int8", "model_uint8", "model_qint8_avx512_vnni",
             "model_qint8_avx512", "model_qint8_arm64"),
    "fp16": ("model_fp16", "model_O4"),
    "q4": ("model_q4", "model_q4f16", "model_bnb4"),
}  # fmt: skip
_NEEDED = ("torch", "sentence_transformers", "onnx", "onnxscript")


@dataclass(frozen=True)
class Options:
    """What a user may say of a model that its files do not, or say otherwise.

    `onnx` takes an ONNX file of the repository as it is: True for the one that fits best, or its name. `allow_bin`
    reads weights of pickled files, and nothing else in them. `dimensions` cuts vectors, `window` is the number of
    tokens that are read. `prompts` and `pooling` are those of a bi-encoder.
    """

    precision: str | None = None
    onnx: bool | str = False
    allow_bin: bool = False
    dimensions: int | None = None
    window: int | None = None
    pooling: str | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)

    def said(self) -> dict[str, Any]:
        """Return what was asked for besides a precision, as a manifest keeps it."""
        values = {
            "onnx": self.onnx,
            "dimensions": self.dimensions,
            "window": self.window,
            "pooling": self.pooling,
            "prompts": dict(self.prompts),
        }
        return {name: value for name, value in values.items() if value}


@dataclass(frozen=True)
class Plan:
    """How a model is brought into the cache: `road` is "export", by torch, or "onnx", a file that is there.

    `files` are the weights that are needed, with `size` bytes. `missing` are packages that are not installed.
    """

    kind: Kind
    road: str
    files: tuple[str, ...]
    size: int
    notes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def plan_of(name: str, folder: Path, sizes: Mapping[str, int], kind: Kind | None, options: Options) -> Plan:
    """Return the plan for a model whose small files are in `folder`; `sizes` are the bytes of all its files.

    Raises InputError for a model that sqlrag cannot use, saying what can be done.
    """
    graphs = [one for one in sizes if one.endswith(".onnx") and PurePosixPath(one).parent.name in ("", "onnx")]
    kind = kind_of(folder, kind)
    config = read_settings(folder / "config.json")
    tensors = _weights(sizes, ".safetensors")
    pickles = _weights(sizes, ".bin")
    missing = tuple(one for one in _NEEDED if find_spec(one) is None)
    code = _needs_code(config, folder)
    use_graph = options.onnx or (graphs and (code or missing or not (tensors or (pickles and options.allow_bin))))
    if use_graph:
        chosen = _graph(name, graphs, options)
        files = (chosen, *(one for one in sizes if one.startswith((f"{chosen}_data", f"{chosen}.data"))))
        why = (
            "" if options.onnx
            else "its code is in the repository, and is not run" if code
            else "exporting its weights needs the extra `torch`" if missing and tensors
            else "it has no weights that can be read without risk"
        )  # fmt: skip
        return Plan(kind, "onnx", files, sum(sizes[one] for one in files), (f"takes {chosen}" + (why and f": {why}"),))
    if code:
        from sqlrag.models.torch_loading import needs_code

        raise InputError(needs_code(name))
    if tensors:
        return Plan(kind, "export", tensors, sum(sizes[one] for one in tensors), (), missing)
    if pickles and options.allow_bin:
        note = f"{PurePosixPath(pickles[0]).name} is a pickle: of it only numbers are read"
        return Plan(kind, "export", pickles, sum(sizes[one] for one in pickles), (note,), missing)
    if pickles:
        raise InputError(
            f"the weights of {name!r} are only {PurePosixPath(pickles[0]).name}, a pickle, which can run code when it "
            "is read: --allow-bin reads its numbers and nothing else (torch.load with weights_only=True)"
        )
    raise InputError(f"{name!r} has no weights: neither *.safetensors nor an ONNX file")


def check_extra(plan: Plan) -> None:
    """Raise MissingDependencyError before any work is done."""
    if plan.road == "export" and plan.missing:
        raise MissingDependencyError(
            f'exporting a model needs {", ".join(plan.missing)}: pip install "sqlrag[torch]" (only to export: what is '
            f"in {models_folder()} runs without it)"
        )


def precision_of(graph: str) -> str:
    """Return the precision that the name of an ONNX file says."""
    stem = PurePosixPath(graph).stem
    return next((precision for precision, stems in _ONNX.items() if stem in stems), "fp32")


def _weights(sizes: Mapping[str, int], suffix: str) -> tuple[str, ...]:
    exports = {"onnx", "openvino", "coreml", "gguf", "original"}
    found = (one for one in sizes if one.endswith(suffix) and not exports & set(PurePosixPath(one).parts[:-1]))
    return tuple(one for one in found if PurePosixPath(one).name not in ("training_args.bin", "optimizer.bin"))


def _graph(name: str, graphs: list[str], options: Options) -> str:
    """Return the ONNX file to take. Raises InputError if there is none like it."""
    if isinstance(options.onnx, str):
        if options.onnx not in graphs:
            raise InputError(f"{name!r} has no ONNX file {options.onnx!r}: it has {', '.join(graphs) or 'none'}")
        return options.onnx
    order = [options.precision] if options.precision else ["fp32", "fp16", "int8"]
    for precision in order:
        for stem in _ONNX.get(precision, ()):
            if found := [one for one in graphs if PurePosixPath(one).stem == stem]:
                return found[0]
    wanted = f" in {options.precision}" if options.precision else ""
    raise InputError(
        f"{name!r} has no ONNX file{wanted} that is known by its name: name one with --onnx-file"
        f" ({', '.join(graphs) or 'it has none'})"
    )


def _needs_code(config: Mapping[str, Any], folder: Path) -> bool:
    """Return whether classes of a model are in its repository; without transformers, whether it names any."""
    if find_spec("transformers") is not None and find_spec("torch") is not None:
        from sqlrag.models.torch_loading import remote_code

        return remote_code(config, folder)
    modules = read_settings(folder / "modules.json", list)
    kinds = [str(one.get("type")) for one in modules if isinstance(one, dict)]
    return bool(config.get("auto_map")) or any(not re.match(r"sentence_transformers\.", one) for one in kinds)
