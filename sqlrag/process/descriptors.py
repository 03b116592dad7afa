"""How many clients a server may have at a time, within the process's limit on file descriptors."""

from __future__ import annotations

import errno
import os
import socket
import time

__all__ = ["accepted", "room"]

_RESERVED = 24
"""Descriptors kept for the database's files, for libraries that are loaded, and for pipes to a new process."""

_WAIT = 0.5
"""Seconds until the next attempt after the system could not give a connection: others may have ended by then."""

_CLOSED = (errno.EBADF, errno.EINVAL, errno.ENOTSOCK)


def room(most: int, each: int = 1) -> int:
    """Return how many clients that need `each` descriptors the process can have, from 1 to `most`.

    The process's soft limit is raised as far as they need it and the system allows.
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
    """Return the next connection of a listener, None if there is none.

    If the process or the system has no descriptor or no memory for it, this waits a moment before it returns: the
    listener stays readable, and the caller would try again at once (accept(2)). Raises OSError for a closed listener.
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
    """Return how many descriptors the process has open."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        if os.path.isdir(folder):
            return len(os.listdir(folder))
    return _RESERVED
