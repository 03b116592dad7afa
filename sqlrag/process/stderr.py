"""A server's stderr: nothing that is written there makes it wait, and nobody can fill a disk through it.

What reads a server's log may stop reading: then a write to the full pipe waits for ever, whoever writes, and a client
that provokes enough lines stops the server. So descriptor 2 becomes a pipe that a thread empties: Python's loggers,
warnings and tracebacks, libraries in C and processes that are started write into it. The thread hands on what stderr
takes at once, cuts long lines, and leaves out those beyond a number.
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
"""Bytes; less than a pipe takes at once (POSIX: 512)."""

LINES = 300
"""So many lines may come at once: some tracebacks."""

LINES_A_SECOND = 1.0
"""Lines in the long run: 43 MB a day of the longest."""

_PATIENCE = 0.2
"""Seconds that a line waits for a reader who has read the one before."""

_END_SECONDS = 1.0

_PIECE = 1 << 16


def bound() -> None:
    """Bound stderr, from now on to the end of the process."""
    global _bounded  # noqa: PLW0603 - a process has one stderr
    if _bounded is None and hasattr(select, "poll"):
        with suppress(OSError):  # there is none: `2>&-`
            _bounded = _Bounded()
            atexit.register(release)


def release() -> None:
    """Hand on what has been written, and put stderr back: before the end of the process, or another takes its place."""
    global _bounded  # noqa: PLW0603
    if _bounded is not None:
        _bounded.release()
        _bounded = None


class _Dropping(io.FileIO):
    """The pipe for Python's own writing: what it does not take is written as well, to nowhere."""

    def write(self, data: Any) -> int:
        """Write what the pipe takes; all of it where that is nothing."""
        written: int | None = super().write(data)
        return memoryview(data).nbytes if written is None else written


class _Bounded:
    """A pipe in the place of descriptor 2, and the thread that empties it."""

    def __init__(self) -> None:
        self._stderr = os.dup(2)
        self._pipe, end = os.pipe()
        # Code that writes while it holds the interpreter's lock would wait for the thread, which waits for the lock.
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
        """Hand on what stands in the pipe, as far as stderr takes it, and let processes write there directly again."""
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        os.dup2(self._stderr, 2)  # the pipe's end, unless a process that was started has it
        self._thread.join(_END_SECONDS)
        if not self._is_read:  # what is written at the end of the process would wait for ever
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
        """Write a line if stderr takes it now, or in a moment where it has taken the last one; tell whether it did."""
        poll = select.poll()
        poll.register(self._stderr, select.POLLOUT)
        self._is_read = bool(poll.poll(_PATIENCE * 1000 if self._is_read else 0))
        if self._is_read:
            with suppress(OSError):  # whoever read it has gone: there is nobody to tell
                os.write(self._stderr, line + b"\n")
        return self._is_read


_bounded: _Bounded | None = None
