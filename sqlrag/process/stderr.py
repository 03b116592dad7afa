"""A server's stderr: writing to it never blocks, and its volume is limited.

If the process that reads a server's log stops reading, a write to the full pipe blocks for ever, and a client that
provokes enough lines stops the server. So descriptor 2 becomes a pipe that a thread empties. Python's loggers, warnings
and tracebacks, libraries in C and child processes all write into it. The thread passes on what stderr takes without
blocking, cuts long lines, and drops lines beyond a limit.
"""

from __future__ import annotations

import atexit
import io
import os
import select
import sys
import threading
import time
from contextlib import suppress
from typing import Any

__all__ = ["bound", "release"]

LONGEST_LINE = 500
"""Bytes of a line; fewer than a pipe takes at once (POSIX: 512)."""

LINES = 300
"""Lines that may come at once: a few tracebacks."""

LINES_A_SECOND = 1.0
"""Lines in the long run: 43 MB a day of the longest."""

_PATIENCE = 0.2
"""Seconds that a line waits for the reader, if it has read the line before."""

_END_SECONDS = 1.0
"""Seconds for the thread to pass on the last lines."""

_PIECE = 1 << 16


def bound() -> None:
    """Limit stderr from now on to the end of the process."""
    global _bounded  # noqa: PLW0603 - a process has one stderr
    if _bounded is None and hasattr(select, "poll"):
        with suppress(OSError):  # stderr is closed: `2>&-`
            _bounded = _Bounded()
            atexit.register(release)


def release() -> None:
    """Pass on what has been written, and restore stderr: before the process ends, or another program replaces it."""
    global _bounded  # noqa: PLW0603
    if _bounded is not None:
        _bounded.release()
        _bounded = None


class _Dropping(io.FileIO):
    """The pipe, for Python's own writes. What it does not take is dropped, and counts as written."""

    def write(self, data: Any) -> int:
        """Write as much as the pipe takes. If it takes nothing, the data is dropped."""
        written: int | None = super().write(data)
        return memoryview(data).nbytes if written is None else written


class _Bounded:
    """A pipe as descriptor 2, and the thread that empties it."""

    def __init__(self) -> None:
        self._stderr = os.dup(2)
        self._pipe, end = os.pipe()
        # Not blocking: code that writes while it holds the GIL would wait for the thread, which waits for the GIL.
        os.set_blocking(end, False)
        os.dup2(end, 2)
        os.close(end)
        sys.stderr = io.TextIOWrapper(io.BufferedWriter(_Dropping(2, "wb", closefd=False)), "utf-8", "backslashreplace",
                                      line_buffering=True)  # fmt: skip
        self._thread = threading.Thread(target=self._hand_on, name="sqlrag-stderr", daemon=True)
        self._line = bytearray()
        self._budget, self._then = float(LINES), time.monotonic()
        self._left_out = 0
        self._is_read = True
        self._thread.start()

    def release(self) -> None:
        """Pass on what is in the pipe, as far as stderr takes it, and make descriptor 2 stderr again."""
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        os.dup2(self._stderr, 2)  # closes the pipe, unless a child process has it open
        self._thread.join(_END_SECONDS)
        if not self._is_read:  # a write at the end of the process would block for ever
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)

    def _hand_on(self) -> None:
        while piece := os.read(self._pipe, _PIECE):
            *lines, rest = piece.split(b"\n")
            for line in lines:
                self._add(line)
                self._put(bytes(self._line))
                self._line.clear()
            self._add(rest)
        if self._line:
            self._put(bytes(self._line))
        self._tell_left_out()

    def _add(self, part: bytes) -> None:
        self._line += part[: LONGEST_LINE - len(self._line)]

    def _put(self, line: bytes) -> None:
        now = time.monotonic()
        self._budget = min(self._budget + (now - self._then) * LINES_A_SECOND, LINES)
        self._then = now
        if self._budget < 1:
            self._left_out += 1
            return
        self._budget -= 1
        self._tell_left_out()
        if not self._write(line):
            self._left_out += 1

    def _tell_left_out(self) -> None:
        if self._left_out and self._write(b"sqlrag: %d lines were left out here" % self._left_out):
            self._left_out = 0

    def _write(self, line: bytes) -> bool:
        """Write a line if stderr takes it now, or soon if it took the last one; return whether it did."""
        poll = select.poll()
        poll.register(self._stderr, select.POLLOUT)
        self._is_read = bool(poll.poll(_PATIENCE * 1000 if self._is_read else 0))
        if self._is_read:
            with suppress(OSError):  # its reader has gone
                os.write(self._stderr, line + b"\n")
        return self._is_read


_bounded: _Bounded | None = None
