"""What a forked child does with what its parent has open: nothing, and it says so.

A fork copies connections, models and locks into a process that has neither the other threads nor the file locks of its
parent. SQLite and DuckDB must not be used there, nor even closed (https://www.sqlite.org/howtocorrupt.html, 2.6): the
copies hold what the parent was about to write. So

- every call looks at the process first (`Owned.check_process`), and a child gets one error;
- what the parent holds in a library is *left* in the child: no destructor ever runs that would write, or wait for a
  thread that is not there;
- a SQLite connection that is at rest is closed in the child. SQLite's table of its locks is copied too, and a child
  that opened the file again would believe to have locks that are its parent's. A close at rest writes nothing, and
  leaves the parent's locks alone. A fork waits for half a second, so that running calls come to an end;
- a file that the parent was writing, or that DuckDB had open, can't be opened again in the child, and an error says so;
- locks are made anew, as nobody is there who would release them.
"""

from __future__ import annotations

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
"""Seconds for which a fork waits for calls that run."""


class Owned:
    """What belongs to the process that made it; `path`: what an error calls it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._process = os.getpid()

    @property
    def is_inherited(self) -> bool:
        """Whether this is a child's copy."""
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
    """What wants to know of a fork."""

    def before_fork(self, seconds: float) -> bool:
        """Wait until nothing runs and keep it so; False where it would take longer than this."""

    def after_fork(self) -> None:
        """Go on, in the parent, where `before_fork` returned True."""

    def in_child(self, *, at_rest: bool) -> None:
        """Give up what is the parent's; `at_rest`: `before_fork` returned True."""


_told: WeakSet[Inherited] = WeakSet()
_called: list[Callable[[], None]] = []
_lock_owners: WeakSet[Any] = WeakSet([open_files])
_inherited: dict[Inode, str] = {}
"""Files that can't be opened here, each with the reason."""


class _Forking(threading.local):
    at_rest: Sequence[Inherited] = ()


_forking = _Forking()


def at_fork(one: Inherited) -> None:
    """Have an object told of forks, as long as there is one."""
    _told.add(one)


def forget(one: Inherited) -> None:
    """Tell an object of no fork any more: it is closed."""
    _told.discard(one)


def in_child(function: Callable[[], None]) -> Callable[[], None]:
    """Call a function in each child, before anything else of sqlrag can run there."""
    _called.append(function)
    return function


def renew_locks(owner: object) -> None:
    """Make the locks that are attributes of an object, or of a module, anew in a child."""
    _lock_owners.add(owner)


def leave(*objects: object) -> None:
    """Never free these, not even at the interpreter's end: for a child, which must not run their destructors."""
    import ctypes

    for one in objects:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(one))


def remember_inherited(inode: Inode | None, why: str) -> None:
    """Refuse to open a file in this process."""
    if inode is not None:
        _inherited[inode] = why


def check_not_inherited(path: str) -> None:
    """Raise LockedError for a file that this process can't open, because its parent had it open at the fork."""
    inode = inode_of(path) if _inherited else None
    if inode is not None and inode in _inherited:
        raise LockedError(f"{path} {_inherited[inode]}")


_LOCKS: tuple[tuple[type, Callable[[], Any]], ...] = (
    (type(threading.Lock()), threading.Lock),
    (type(threading.RLock()), threading.RLock),
)


def _before() -> None:
    import ctypes  # noqa: F401 - an import in the child could wait for a thread that it does not have

    until = time.monotonic() + _PATIENCE
    _forking.at_rest = [one for one in list(_told) if one.before_fork(max(0.0, until - time.monotonic()))]


def _in_parent() -> None:
    for one in _forking.at_rest:
        one.after_fork()
    _forking.at_rest = ()


def _in_child() -> None:
    at_rest = {id(one) for one in _forking.at_rest}
    for owner in list(_lock_owners):
        for name, value in list(vars(owner).items()):
            for kind, make in _LOCKS:
                if type(value) is kind:
                    setattr(owner, name, make())
    for function in _called:
        function()
    for one in list(_told):
        one.in_child(at_rest=id(one) in at_rest)
    _told.clear()
    _forking.at_rest = ()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
