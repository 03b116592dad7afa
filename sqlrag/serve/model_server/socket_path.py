"""The path of the server's socket, in a folder that only its user can enter."""

from __future__ import annotations

import os
import socket
import stat
import struct
from contextlib import suppress
from pathlib import Path

from sqlrag.errors import ServerError
from sqlrag.serve.model_server.protocol import VERSION

__all__ = ["SOCKET", "TOKEN", "check_folder", "check_peer", "model_name", "socket_path"]

SOCKET = "SQLRAG_SOCKET"
"""The environment variable with another path for the socket."""

TOKEN = "SQLRAG_SOCKET_TOKEN"  # noqa: S105 - the name of a variable
"""The environment variable of a token: a server that has one refuses clients without it."""


def socket_path(given: str | None = None) -> Path:
    """Return the path of the server's socket: `given`, else $SQLRAG_SOCKET, else one in the user's runtime folder.

    The runtime folder is $XDG_RUNTIME_DIR/sqlrag if that variable names a folder of the user's
    (https://specifications.freedesktop.org/basedir-spec/latest/), otherwise /tmp/sqlrag-<uid>.
    Raises ServerError on a system without Unix sockets.
    """
    if not hasattr(socket, "AF_UNIX") or not hasattr(os, "getuid"):
        raise ServerError("sqlrag serve needs Unix sockets, which this system's Python does not have")
    given = given or os.environ.get(SOCKET)
    if given:
        return Path(given).absolute()
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.path.isdir(runtime) and os.stat(runtime).st_uid == os.getuid():
        folder = Path(runtime, "sqlrag")
    else:
        folder = Path(f"/tmp/sqlrag-{os.getuid()}")  # noqa: S108 - check_folder makes sure that it is the user's
    return folder / f"server-{VERSION}.sock"


def check_folder(path: Path, *, make: bool = False) -> None:
    """Raise ServerError unless the folder of a socket is the user's own, has mode 0700 and is not a symbolic link.

    `make`: make a missing folder. Otherwise a missing one raises FileNotFoundError.
    """
    folder = path.parent
    if make:
        with suppress(FileExistsError):
            os.mkdir(folder, 0o700)
    found = os.lstat(folder)
    if stat.S_ISLNK(found.st_mode):
        raise ServerError(f"{folder} is a symbolic link: the server's folder has to be a folder of your own")
    if not stat.S_ISDIR(found.st_mode):
        raise ServerError(f"{folder} is no folder: remove it, it is made anew")
    if found.st_uid != os.getuid():
        raise ServerError(f"{folder} belongs to another user: set {SOCKET} to a path in a folder of your own")
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise ServerError(f"{folder} can be entered by others (mode {mode:04o}): chmod 700 {folder}")


def check_peer(connection: socket.socket) -> None:
    """Raise ServerError if another user's process is at the other end; systems without SO_PEERCRED cannot tell."""
    if not hasattr(socket, "SO_PEERCRED"):
        return
    form = struct.Struct("3i")
    _, uid, _ = form.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, form.size))
    if uid != os.getuid():
        raise ServerError(f"the process at the other end belongs to user {uid}, not to you")


def model_name(model: str | None) -> str | None:
    """Return a model's name, or the absolute path of its folder, so that server and client can compare them."""
    return os.path.abspath(model) if model is not None and os.path.isdir(model) else model
