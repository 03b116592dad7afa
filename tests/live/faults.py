"""Writes that fail: by a VFS of SQLite over the disk's own (https://www.sqlite.org/vfs.html), or on a small disk."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

FAULTS = {
    "full": "SQLite's n-th write, sync or truncate and all after it: no room",
    "io": "SQLite's n-th write, sync or truncate alone: an I/O error",
    "disk": "a disk with n pages of 4 KiB left",
    "limit": "no write beyond the first n pages of 4 KiB of any file (ulimit -f)",
}

PAGE = 4096


class Disk:
    """A file system in memory."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def leave(self, free: int) -> None:
        """Let there be so many bytes more than are taken."""
        status = os.statvfs(self._path)
        taken = (status.f_blocks - status.f_bfree) * status.f_frsize
        self.remount(f"size={taken + free}")

    def remount(self, options: str) -> None:
        """Change its options: `size=…`, `ro`, `rw`."""
        subprocess.run(["mount", "-o", f"remount,{options}", str(self._path)], check=True)


@contextmanager
def disk_at(path: Path) -> Iterator[Disk]:
    """Mount a file system of its own over a folder. Raises OSError where only root may."""
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1g", "sqlrag-test", str(path)], check=False, capture_output=True, text=True
    )
    if made.returncode:
        raise OSError(made.stderr.strip())
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


class Faults(apsw.VFS):
    """The VFS of every connection from now on; from `begin` on it counts writes, and fails.

    Of the kind "full" the n-th write and all after it find no room; of the kind "io" the n-th alone fails.
    """

    def __init__(self, kind: str) -> None:
        self._base = apsw.vfs_names()[0]
        super().__init__("faults", self._base, makedefault=True)
        self._kind = kind
        self._nth: int | None = None
        self.writes = 0
        self.failed = False

    def begin(self, nth: int) -> None:
        """Count from now on; the n-th write fails."""
        self._nth, self.writes = nth, 0

    def end(self) -> None:
        """Let all writes succeed again."""
        self._nth = None

    def xOpen(self, name, flags):  # noqa: N802 - SQLite's name
        return _File(self, self._base, name, flags)

    def check(self, failure: type[apsw.Error]) -> None:
        """Raise if this write is one that fails."""
        self.writes += 1
        if self._nth is None or self.writes < self._nth or (self._kind == "io" and self.writes > self._nth):
            return
        self.failed = True
        if self._kind == "full":
            raise apsw.FullError("no room")
        raise failure("the disk reports an error")


class _File(apsw.VFSFile):
    def __init__(self, faults: Faults, base: str, name, flags) -> None:
        super().__init__(base, name, flags)
        self._faults = faults

    def xWrite(self, data, offset):  # noqa: N802
        self._faults.check(apsw.IOError)
        super().xWrite(data, offset)

    def xSync(self, flags):  # noqa: N802
        self._faults.check(apsw.IOError)
        super().xSync(flags)

    def xTruncate(self, size):  # noqa: N802
        self._faults.check(apsw.IOError)
        super().xTruncate(size)
