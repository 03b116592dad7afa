"""A forked child does not use what its parent has open.

A fork copies connections, models and locks into a process that has neither the other threads nor the file locks of its
parent. SQLite and DuckDB must not be used there, nor even closed (https://www.sqlite.org/howtocorrupt.html, 2.6): the
copies hold what the parent was about to write. So

- every call checks the process first (`Owned.check_process`), and raises an error in a child;
- the child *leaves* the objects that a library made for the parent: it never runs their destructors, which would write,
  or wait for a thread that the child does not have;
- the child closes a SQLite connection that is at rest. SQLite's table of its locks is copied, too: a child that opened
  the file again would believe that it holds its parent's locks. Closing a connection at rest writes nothing, and leaves
  the parent's locks alone. Before a fork, the parent waits up to half a second for running calls to end;
- the child cannot open a file again that the parent was writing or DuckDB had open: an error says so;
- the child makes all locks anew, as no thread is left that would release them.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar
from weakref import WeakSet

from sqlrag.errors import DatabaseError, LockedError
from sqlrag.process import open_files
from sqlrag.process.open_files import Inode, inode_of

__all__ = [
    "Inherited",
    "Owned",
    "at_fork",
    "check_not_inherited",
    "forget",
    "in_child",
    "in_own_process",
    "leave",
    "remember_inherited",
    "renew_locks",
]


class _HasOwned(Protocol):
    owned: Owned


Owner = TypeVar("Owner", bound=_HasOwned)
Arguments = ParamSpec("Arguments")
Returned = TypeVar("Returned")

_PATIENCE = 0.5
"""Seconds that a fork waits for running calls to end."""


class Owned:
    """An object that belongs to the process that made it. `path`: its name in errors."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._process = os.getpid()

    @property
    def is_inherited(self) -> bool:
        """Whether this is a copy in a forked child."""
        return self._process != os.getpid()

    def check_process(self) -> None:
        """Raise DatabaseError in a child."""
        if self._process != os.getpid():
            raise DatabaseError(f"{self._path} was opened in another process: open it again after the fork")


def in_own_process(method: Callable[Concatenate[Owner, Arguments], Returned]) -> Callable[..., Returned]:
    """Make a method raise DatabaseError in a child."""

    @wraps(method)
    def checked(self: Owner, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Returned:
        self.owned.check_process()
        return method(self, *args, **kwargs)

    return checked


class Inherited(Protocol):
    """An object that acts before and after a fork."""

    def before_fork(self, seconds: float) -> bool:
        """Wait until no call runs, and let none begin; return False if that takes longer than `seconds`."""

    def after_fork(self) -> None:
        """Let calls begin again, in the parent. Called if `before_fork` returned True."""

    def in_child(self, *, at_rest: bool) -> None:
        """Give up the parent's objects, in the child. `at_rest`: `before_fork` returned True."""


_observers: WeakSet[Inherited] = WeakSet()
_called: list[Callable[[], None]] = []
_lock_owners: WeakSet[Any] = WeakSet([open_files])
_inherited: dict[Inode, str] = {}
"""The files that this process must not open, each with the reason."""


class _Forking(threading.local):
    at_rest: Sequence[Inherited] = ()
    collects = False
    """Whether the garbage collector was on when the fork began."""


_forking = _Forking()


def at_fork(one: Inherited) -> None:
    """Call an object's methods at forks, for as long as it lives."""
    _observers.add(one)


def forget(one: Inherited) -> None:
    """Stop calling an object at forks: it is closed."""
    _observers.discard(one)


def in_child(function: Callable[[], None]) -> Callable[[], None]:
    """Call a function in each child, before any other code of sqlrag can run there."""
    _called.append(function)
    return function


def renew_locks(owner: object) -> None:
    """Make the locks that are attributes of an object, or of a module, anew in a child."""
    _lock_owners.add(owner)


def leave(*objects: object) -> None:
    """Never free these objects, not even at the interpreter's end: a child must not run their destructors."""
    import ctypes

    for one in objects:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(one))


def remember_inherited(inode: Inode | None, why: str) -> None:
    """Refuse to open a file in this process from now on. `why`: the reason, for the error."""
    if inode is not None:
        _inherited[inode] = why


def check_not_inherited(path: str) -> None:
    """Raise LockedError for a file that this process must not open, because its parent had it open at the fork."""
    inode = inode_of(path) if _inherited else None
    if inode is not None and inode in _inherited:
        raise LockedError(f"{path} {_inherited[inode]}")


_LOCKS: tuple[tuple[type, Callable[[], Any]], ...] = (
    (type(threading.Lock()), threading.Lock),
    (type(threading.RLock()), threading.RLock),
)


def _before() -> None:
    import ctypes  # noqa: F401 - an import in the child could wait for a thread that it does not have

    # What is collected between the two halves of a fork could wait for a lock that this thread holds meanwhile.
    _forking.collects = gc.isenabled()
    gc.disable()
    until = time.monotonic() + _PATIENCE
    _forking.at_rest = [one for one in list(_observers) if one.before_fork(max(0.0, until - time.monotonic()))]


def _in_parent() -> None:
    for one in _forking.at_rest:
        one.after_fork()
    _forking.at_rest = ()
    _collect_again()


def _in_child() -> None:
    at_rest = {id(one) for one in _forking.at_rest}
    for owner in list(_lock_owners):
        for name, value in list(vars(owner).items()):
            for kind, make in _LOCKS:
                if type(value) is kind:
                    setattr(owner, name, make())
    for function in _called:
        function()
    for one in list(_observers):
        one.in_child(at_rest=id(one) in at_rest)
    _observers.clear()
    _forking.at_rest = ()
    _collect_again()


def _collect_again() -> None:
    if _forking.collects:
        gc.enable()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
