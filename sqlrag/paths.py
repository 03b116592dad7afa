"""Whether a path can be a database file."""

from __future__ import annotations

import os

from sqlrag.errors import DatabaseError

__all__ = ["check_path"]


def check_path(path: str, *, must_exist: bool) -> None:
    """Raise DatabaseError if a path can't be a database file: a folder, or missing where it must exist."""
    if path == ":memory:":
        return
    if os.path.isdir(path):
        raise DatabaseError(f"{path} is a folder: give the path of a database file")
    if must_exist and not os.path.exists(path):
        raise DatabaseError(f"{path} does not exist: make it with `sqlrag ingest {path} FOLDER`, or check the path")
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise DatabaseError(f"{path} cannot be made: there is no folder {folder}")
