"""The user's cache of exported models: a folder each, complete or not there at all."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sqlrag.errors import Error, ModelFileError
from sqlrag.models.manifest import MANIFEST_FILE, Manifest
from sqlrag.models.spec import ModelSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["cached_models", "find_cached", "folder_of", "making", "models_folder", "verified"]

_MAKING = ".making-"
_REPLACED = ".replaced-"
# What is older was left by a process that was killed: an export takes minutes.
_STALE_SECONDS = 86_400

_verified: set[tuple[str, str, int, int]] = set()
_lock = threading.Lock()


def models_folder() -> Path:
    r"""Return where pulled models are kept: `models` in SQLRAG_CACHE, else in the system's place for caches.

    That is `$XDG_CACHE_HOME/sqlrag` or `~/.cache/sqlrag`, on macOS `~/Library/Caches/sqlrag`, on Windows
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
    """Return the folder of a model: of a Hugging Face name, or with `key`, a hash, of a folder of that name."""
    plain = re.sub(r"[^\w.-]", "-", name.replace("/", "--"))
    return models_folder() / (f"{plain}@{key[:16]}" if key else plain)


def cached_models() -> list[ModelSpec]:
    """Return the specifications of the models in the cache, by name. A folder that is no model is left out."""
    found = []
    for path in sorted(models_folder().glob(f"*/{MANIFEST_FILE}")):
        if path.parent.name.startswith((_MAKING, _REPLACED)):
            continue
        try:
            found.append(ModelSpec.load(path.parent))
        except Error:
            continue  # `sqlrag models pull` makes it again
    return found


def find_cached(name: str, weights_hash: str | None = None) -> ModelSpec | None:
    """Return the cached model of a name, and where several have it of these weights; None where there is none."""
    named = [spec for spec in cached_models() if spec.name == name]
    return next((spec for spec in named if spec.weights_hash == weights_hash), named[0] if named else None)


def verified(spec: ModelSpec) -> ModelSpec:
    """Return a specification whose files are those that were exported; a folder without manifest is not judged.

    Files are hashed once per process. Raises ModelFileError that names the file and how to make it again.
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


@contextmanager
def making(final: Path) -> Iterator[Path]:
    """Yield an empty folder beside `final` that takes its place when the block ends without an error.

    Whoever looks sees the whole old folder, or the whole new one, or none. Two processes that make the same model
    both end well: the second replaces the first's, which has the same content.
    """
    parent = final.parent
    parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(parent)
    folder = Path(tempfile.mkdtemp(prefix=_MAKING, dir=parent))
    try:
        yield folder
        # mkdtemp makes it for its owner alone; a model is as readable as what stands beside it.
        folder.chmod(parent.stat().st_mode & 0o777)
        _put(folder, final)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put(folder: Path, final: Path) -> None:
    for _ in range(100):
        try:
            folder.rename(final)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EACCES) or final.is_file():
                raise
        # A folder that is not empty cannot be renamed over: the old one steps aside first.
        aside = Path(tempfile.mkdtemp(prefix=_REPLACED, dir=final.parent))
        with suppress(FileNotFoundError):  # another process has just done so
            final.rename(aside / "old")
        shutil.rmtree(aside, ignore_errors=True)
    msg = f"{str(final)!r} is being replaced by other processes all the time: stop them"
    raise ModelFileError(msg)


def _remove_stale(parent: Path) -> None:
    for prefix in (_MAKING, _REPLACED):
        for folder in parent.glob(f"{prefix}*"):
            # Another process may be faster.
            with suppress(OSError):
                if time.time() - folder.stat().st_mtime > _STALE_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)
