"""The end of the interpreter: in which order what is open ends, and where threads wait that are left.

Those that are left are daemon threads. One that came back from a library's C++ into the interpreter during its end
would be thrown out there, and abort the whole process
(https://docs.python.org/3.11/c-api/init.html#c.PyEval_RestoreThread).
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable

__all__ = ["at_end", "begin_ending", "is_ending", "park"]

_ender: list[int] = []
"""The thread that ends the interpreter, once it does."""

_databases: list[Callable[[], None]] = []
_models: list[Callable[[], None]] = []


def at_end(call: Callable[[], None], *, of_model: bool = False) -> None:
    """Have something called when the interpreter ends: a model's after the databases', which may be asking it."""
    (_models if of_model else _databases).append(call)


@atexit.register
def _end_all() -> None:
    for call in (*_databases, *_models):
        call()


def begin_ending() -> None:
    """Let no other thread than this one come back from a call of a database's from now on."""
    _ender.append(threading.get_ident())


def is_ending() -> bool:
    """Tell whether the interpreter ends, and this is another thread than the one that ends it."""
    return bool(_ender) and threading.get_ident() not in _ender


def park() -> None:
    """Stay here for ever, if the interpreter ends."""
    if is_ending():
        threading.Event().wait()
