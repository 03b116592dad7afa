"""The weights in a model's folder: which files they are, whether they are whole, and their hash. Nothing is loaded."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from sqlrag.errors import ModelFileError

__all__ = ["check_weights", "source_hash", "weight_files"]

# Exports of the same weights, which stand beside them in many repositories.
_EXPORTS = frozenset({"onnx", "openvino", "coreml", "gguf", "original"})
_POINTER = b"version https://git-lfs.github.com/spec/"
_MOST_HEADER = 100 << 20


def weight_files(folder: Path, suffix: str = ".safetensors") -> list[Path]:
    """Return the weights of a folder with this suffix, sorted, without those of exports beside them."""
    found = (path for path in folder.rglob(f"*{suffix}") if path.is_file())
    return sorted(path for path in found if not _EXPORTS & set(path.relative_to(folder).parts[:-1]))


def source_hash(folder: Path) -> str:
    """Return the hex SHA-256 of a folder's weights: its safetensors, or if there are none its `*.bin`."""
    digest = hashlib.sha256()
    for path in weight_files(folder) or weight_files(folder, ".bin"):
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def check_weights(folder: Path) -> None:
    """Raise ModelFileError for a file that is not whole: a pointer of Git LFS, or a download that broke off."""
    small = (path for name in ("tokenizer.json", "*.model") for path in sorted(folder.rglob(name)))
    for path in (*weight_files(folder), *weight_files(folder, ".bin"), *weight_files(folder, ".onnx"), *small):
        with path.open("rb") as file:
            start = file.read(len(_POINTER))
            if start == _POINTER:
                raise ModelFileError(
                    f"{str(path)!r} is a pointer of Git LFS, not the file itself: run `git lfs pull` in its folder, or "
                    "pull the model by its name"
                )
            if path.suffix == ".safetensors" and (problem := _problem(path)):
                raise ModelFileError(
                    f"{str(path)!r} is not whole ({problem}): download it again; `sqlrag models pull NAME` continues a "
                    "download that broke off"
                )


def _problem(path: Path) -> str:
    """Return what is wrong with a safetensors file, "" if its header describes as many bytes as there are."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, _MOST_HEADER):
            return f"{size:,} bytes are less than its header names"
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            expected = 8 + length + max(ends, default=0)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
            return "its header is damaged"
    return "" if size == expected else f"it has {size:,} bytes instead of {expected:,}"
