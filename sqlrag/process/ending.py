"""The end of the interpreter: it closes databases and models in order, and parks the threads that still run.

These are daemon threads. One that returns from a library's C++ code into the ending interpreter is killed there, which
aborts the whole process (https://docs.python.org/3.11/c-api/init.html#c.PyEval_RestoreThread).
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable

__all__ = ["at_end", "begin_ending", "is_ending", "park"]

_ender: list[int] = []
"""The thread that ends the interpreter; empty before that."""

_databases: list[Callable[[], None]] = []
_models: list[Callable[[], None]] = []


def at_end(call: Callable[[], None], *, of_model: bool = False) -> None:
    """Call a function when the interpreter ends: a model's after those of the databases, which may be using it."""
    (_models if of_model else _databases).append(call)


@atexit.register
def _end_all() -> None:
    for call in (*_databases, *_models):
        call()


def begin_ending() -> None:
    """From now on, park all other threads that return from a call of a database."""
    _ender.append(threading.get_ident())


def is_ending() -> bool:
    """Tell whether the interpreter is ending, and this is not the thread that ends it."""
    return bool(_ender) and threading.get_ident() not in _ender


def park() -> None:
    """If the interpreter is ending, wait here for ever."""
    if is_ending():
        threading.Event().wait()
