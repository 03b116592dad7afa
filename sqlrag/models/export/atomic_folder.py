"""Writing a model's folder whole or not at all."""

from __future__ import annotations

import errno
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sqlrag.errors import ModelFileError
from sqlrag.models.cached_models import REPLACED, UNFINISHED

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["atomic_folder"]

# An export takes minutes, so an older folder was left by a process that was killed.
_STALE_SECONDS = 86_400


@contextmanager
def atomic_folder(final: Path) -> Iterator[Path]:
    """Yield an empty folder beside `final`, and put it in the place of `final` if the block ends without an error.

    Other processes see the whole old folder, the whole new one, or none. Two processes may write the same model at the
    same time: the second one's folder replaces the first one's, which has the same content.
    """
    parent = final.parent
    parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(parent)
    folder = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=parent))
    try:
        yield folder
        # mkdtemp gives access to the owner alone. A model gets the permissions of the folder it stands in.
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
        # A folder cannot be renamed over one that is not empty, so the old one is moved away first.
        aside = Path(tempfile.mkdtemp(prefix=REPLACED, dir=final.parent))
        with suppress(FileNotFoundError):  # another process has just done so
            final.rename(aside / "old")
        shutil.rmtree(aside, ignore_errors=True)
    raise ModelFileError(f"{str(final)!r} is being replaced by other processes all the time: stop them")


def _remove_stale(parent: Path) -> None:
    for prefix in (UNFINISHED, REPLACED):
        for folder in parent.glob(f"{prefix}*"):
            # Another process may be faster.
            with suppress(OSError):
                if time.time() - folder.stat().st_mtime > _STALE_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)
