"""Stopping a batch: between two texts, or pairs, a model looks whether anybody still waits for it.

Neither engine looks while a function of ours runs, and a batch of DuckDB's rows is minutes of a model's work.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from sqlrag.errors import SQLError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

__all__ = ["Stop", "current_stop"]


class Stop:
    """Whether what a statement has asked of the models is to end: any thread may ask for it.

    `seconds`: how long a statement may take; None: as long as it likes.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.seconds = seconds
        self._until = math.inf
        self._asked = threading.Event()

    def begin(self) -> None:
        """Begin a statement: what was asked before was about another one."""
        self._asked.clear()
        self._until = math.inf if self.seconds is None else time.monotonic() + self.seconds

    def ask(self) -> None:
        """Have the statement that runs end."""
        self._asked.set()

    def check(self) -> None:
        """Raise SQLError if the statement is to end."""
        if self._asked.is_set() or time.monotonic() > self._until:
            raise SQLError("interrupted")

    @contextmanager
    def at_ctrl_c(self) -> Iterator[None]:
        """Have Ctrl-C end the batch that runs, in whichever thread: Python tells it the main one alone.

        Only while the block runs there, and where a handler of Python's takes it, which is called as ever.
        """
        handler = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is not threading.main_thread() or not callable(handler):
            yield
            return
        pressed = False

        def ask(number: int, frame: FrameType | None) -> Any:
            nonlocal pressed
            pressed = True
            self.ask()
            return handler(number, frame)

        signal.signal(signal.SIGINT, ask)
        try:
            yield
        except SQLError:
            if pressed:  # what the batch ended with
                raise KeyboardInterrupt from None
            raise
        finally:
            signal.signal(signal.SIGINT, handler)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Have the models look at it, for what this thread asks of them in the block."""
        self.check()
        before = _current.set(self)
        try:
            yield
        finally:
            _current.reset(before)


_NEVER = Stop()

_current: ContextVar[Stop] = ContextVar("stop", default=_NEVER)


def current_stop() -> Stop:
    """Return what this thread's batch is to look at; other threads that work for it may look, too."""
    return _current.get()
