"""A small disk of its own, where the machine lets the tests mount one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest


class Disk:
    """A file system in memory that can be made full, larger and read-only."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def remount(self, options: str) -> None:
        """Change its options: `size=…`, `ro`, `rw`."""
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.path)], check=True)


@pytest.fixture
def disk(tmp_path):
    """A disk of 3 MB."""
    path = tmp_path / "disk"
    path.mkdir()
    try:
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=3m", "sqlrag-test", str(path)],
            check=False,
            capture_output=True,
            text=True,
        )
    except OSError as error:
        pytest.skip(f"there is no mount command here ({error}): a full disk cannot be tried")
    if made.returncode:
        pytest.skip(f"mounting a tmpfs needs root ({made.stderr.strip()}): a full disk cannot be tried")
    yield Disk(path)
    subprocess.run(["umount", "-l", str(path)], check=True)
