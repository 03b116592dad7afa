"""The user's cache of exported models. Each model is a folder, which is complete or does not exist."""

from __future__ import annotations

import os
import re
import sys
import threading
from pathlib import Path

from sqlrag.errors import Error
from sqlrag.models.manifest import MANIFEST_FILE, Manifest
from sqlrag.models.spec import ModelSpec
from sqlrag.process.forks import renew_locks

__all__ = [
    "BUNDLED",
    "REPLACED",
    "UNFINISHED",
    "cached_models",
    "find_cached",
    "folder_of",
    "is_bundled",
    "models_folder",
    "verified",
]

BUNDLED = Path(__file__).parent / "bundled"
"""The folder of the models that come with the package."""

UNFINISHED = ".making-"
REPLACED = ".replaced-"
"""Prefixes of the folders of a model that is still being written, and of one that was replaced."""

_verified: set[tuple[str, str, int, int]] = set()
_lock = threading.Lock()
renew_locks(sys.modules[__name__])


def is_bundled(folder: Path) -> bool:
    """Return whether a model's folder is one of those that come with the package."""
    return folder.parent == BUNDLED


def models_folder() -> Path:
    r"""Return the folder of pulled models: `models` in SQLRAG_CACHE, or in the system's folder for caches.

    The system's folder is `$XDG_CACHE_HOME/sqlrag` or `~/.cache/sqlrag`, on macOS `~/Library/Caches/sqlrag`, on Windows
    `%LOCALAPPDATA%\\sqlrag`.
    """
    if chosen := os.environ.get("SQLRAG_CACHE"):
        return Path(chosen).expanduser() / "models"
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "sqlrag" / "models"


def folder_of(name: str, key: str = "") -> Path:
    """Return the cache folder for a Hugging Face name, or for a folder of that name whose hash is `key`."""
    plain = re.sub(r"[^\w.-]", "-", name.replace("/", "--"))
    return models_folder() / (f"{plain}@{key[:16]}" if key else plain)


def cached_models() -> list[ModelSpec]:
    """Return the specifications of the models in the cache, by name. Folders that are not models are left out."""
    found = []
    for path in sorted(models_folder().glob(f"*/{MANIFEST_FILE}")):
        if path.parent.name.startswith((UNFINISHED, REPLACED)):
            continue
        try:
            found.append(ModelSpec.load(path.parent))
        except Error:
            continue  # `sqlrag models pull` makes it again
    return found


def find_cached(name: str, identity: str | None = None) -> ModelSpec | None:
    """Return the cached model of this identity, or else of this name; None if there is none."""
    found = cached_models()
    same = [spec for spec in found if identity and spec.made(identity)]
    named = [spec for spec in found if spec.name == name]
    return next((spec for spec in same if spec.name == name), next(iter(same + named), None))


def verified(spec: ModelSpec) -> ModelSpec:
    """Compare a model's files with its manifest, if it has one, and return its specification.

    Files are hashed once per process. Raises ModelFileError, which names the file and says how to make it again.
    """
    folder = spec.folder
    manifest = Manifest.load(folder) if folder is not None else None
    if folder is None or manifest is None:
        return spec
    keys = set()
    for name in manifest.files:
        path = folder / name
        if not path.is_file():
            manifest.verify(folder)
        state = path.stat()
        keys.add((str(path), manifest.files[name], state.st_size, state.st_mtime_ns))
    with _lock:
        if not keys <= _verified:
            manifest.verify(folder)
            _verified.update(keys)
    return spec
