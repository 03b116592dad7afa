"""The POSIX locks that a process has on a file, as another process sees them: no call tells a process its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SQLITE = {
    "pending": (0x40000000, 1),
    "reserved": (0x40000001, 1),
    "shared": (0x40000002, 510),
}
"""Bytes of a database file that SQLite locks (https://www.sqlite.org/src/file?name=src/os_unix.c)."""

SHARED_MEMORY = {
    "write": (120, 1),
    "checkpoint": (121, 1),
    "recover": (122, 1),
    **{f"read {number}": (123 + number, 1) for number in range(5)},
    "in use": (128, 1),
}
"""Bytes of the `-shm` file (https://www.sqlite.org/walformat.html#the_wal_index_file_format)."""

DUCKDB = {"file": (0, 0)}
"""All of the file."""

_WATCHER = """
import fcntl, json, os, struct, sys
LOCK = "hhqqi4x"  # struct flock, on 64-bit Linux
for line in sys.stdin:
    found = {}
    for path, ranges in json.loads(line):
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue
        for name, (start, length) in ranges.items():
            asked = struct.pack(LOCK, fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
            kind, _, _, _, holder = struct.unpack(LOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
            if kind != fcntl.F_UNLCK:
                found[f"{os.path.basename(path)}: {name}"] = ["read", "write"][kind == fcntl.F_WRLCK], holder
        os.close(descriptor)
    print(json.dumps(found), flush=True)
"""


class Watcher:
    """Another process, which asks the system who has a lock."""

    def __init__(self) -> None:
        if sys.platform != "linux" or sys.maxsize < 2**32:
            pytest.skip("struct flock is known here for 64-bit Linux only")
        self._process = subprocess.Popen(
            [sys.executable, "-c", _WATCHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def locks(self, path: Path, *, holder: int | None = None) -> dict[str, str]:
        """Return what a process, by default this one, has locked of a database's files: read or write."""
        if path.suffix == ".duckdb":
            index = f"{path}.sqlrag"
            asked = [(str(path), DUCKDB), (index, SQLITE), (f"{index}-shm", SHARED_MEMORY)]
        else:
            asked = [(str(path), SQLITE), (f"{path}-shm", SHARED_MEMORY)]
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        found = json.loads(self._process.stdout.readline())
        return {name: kind for name, (kind, pid) in found.items() if pid == (holder or os.getpid())}

    def close(self) -> None:
        """End the process."""
        self._process.communicate("")
