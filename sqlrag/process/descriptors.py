"""How many clients a server may hold at once: what the process's limit of descriptors leaves."""

from __future__ import annotations

import errno
import os
import socket
import time

__all__ = ["accepted", "room"]

_RESERVED = 24
"""Descriptors for files of the database, libraries that are loaded, and the pipes of a process that is started."""

_WAIT = 0.5
"""Seconds until the next attempt where the system could not give a connection: others may have ended by then."""

_CLOSED = (errno.EBADF, errno.EINVAL, errno.ENOTSOCK)


def room(most: int, each: int = 1) -> int:
    """Return how many clients of `each` descriptors fit into the process, from 1 to `most`.

    The process's own limit is raised as far as they need it and the system allows.
    """
    try:
        import resource
    except ImportError:  # Windows: there is no such limit
        return most
    used = _open_now() + _RESERVED
    wanted = used + most * each
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return most
    return max(1, min(most, (soft - used) // each))


def accepted(listener: socket.socket) -> socket.socket | None:
    """Return the next connection of a listener, None where there was none to take.

    Where the process or the system has no descriptor or no memory for one, it waits a moment first: the listener stays
    readable, and would be asked again at once (accept(2)). Raises OSError for a listener that is closed.
    """
    try:
        connection, _ = listener.accept()
    except (BlockingIOError, ConnectionAbortedError, InterruptedError):  # the client has gone
        return None
    except OSError as error:
        if error.errno in _CLOSED:
            raise
        time.sleep(_WAIT)
        return None
    return connection


def _open_now() -> int:
    """Return how many descriptors the process has."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        if os.path.isdir(folder):
            return len(os.listdir(folder))
    return _RESERVED
