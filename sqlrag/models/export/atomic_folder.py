"""A model's folder in the cache, made whole or not at all."""

from __future__ import annotations

import errno
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sqlrag.errors import ModelFileError
from sqlrag.models.cached_models import MAKING, REPLACED

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["making"]

# What is older was left by a process that was killed: an export takes minutes.
_STALE_SECONDS = 86_400


@contextmanager
def making(final: Path) -> Iterator[Path]:
    """Yield an empty folder beside `final` that takes its place when the block ends without an error.

    Whoever looks sees the whole old folder, or the whole new one, or none. Two processes that make the same model
    both end well: the second replaces the first's, which has the same content.
    """
    parent = final.parent
    parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(parent)
    folder = Path(tempfile.mkdtemp(prefix=MAKING, dir=parent))
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
        aside = Path(tempfile.mkdtemp(prefix=REPLACED, dir=final.parent))
        with suppress(FileNotFoundError):  # another process has just done so
            final.rename(aside / "old")
        shutil.rmtree(aside, ignore_errors=True)
    msg = f"{str(final)!r} is being replaced by other processes all the time: stop them"
    raise ModelFileError(msg)


def _remove_stale(parent: Path) -> None:
    for prefix in (MAKING, REPLACED):
        for folder in parent.glob(f"{prefix}*"):
            # Another process may be faster.
            with suppress(OSError):
                if time.time() - folder.stat().st_mtime > _STALE_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)
