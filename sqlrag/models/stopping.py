"""Stopping a batch: before each text or pair, a model checks whether its result is still wanted.

Neither engine checks for interrupts while a SQL function runs, and one batch of DuckDB's rows can keep a model busy for
minutes.
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
    """Whether the models should stop working for a statement. Any thread may ask for that.

    `seconds` is how long a statement may take; None means any time.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.seconds = seconds
        self._until = math.inf
        self._asked = threading.Event()

    def begin(self) -> None:
        """Begin a statement, and forget what was asked for an earlier one."""
        self._asked.clear()
        self._until = math.inf if self.seconds is None else time.monotonic() + self.seconds

    def ask(self) -> None:
        """Ask for the running statement to end."""
        self._asked.set()

    def check(self) -> None:
        """Raise SQLError if the statement should end."""
        if self._asked.is_set() or time.monotonic() > self._until:
            raise SQLError("interrupted")

    @contextmanager
    def at_ctrl_c(self) -> Iterator[None]:
        """Let Ctrl-C end a batch that runs in any thread; Python itself interrupts only the main one.

        This works only if the block runs in the main thread and Python handles the signal. The handler is still called.
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
            if pressed:  # then Ctrl-C is why the batch ended
                raise KeyboardInterrupt from None
            raise
        finally:
            signal.signal(signal.SIGINT, handler)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the models check this for the work that the current thread gives them in the block."""
        self.check()
        before = _current.set(self)
        try:
            yield
        finally:
            _current.reset(before)


_NEVER = Stop()

_current: ContextVar[Stop] = ContextVar("stop", default=_NEVER)


def current_stop() -> Stop:
    """Return the Stop that this thread's batch checks. Other threads that work for the batch may check it too."""
    return _current.get()
