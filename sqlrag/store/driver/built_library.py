"""Where the loadable SQLite extension lies, for any program that can load one, and for the searches in this one."""

from __future__ import annotations

import sys
from pathlib import Path

from sqlrag.errors import MissingDependencyError

__all__ = ["SCAN_ENTRY_POINT", "built_library", "loadable_path"]

SCAN_ENTRY_POINT = "sqlrag_scan_init"
"""The library's second entry point, for `load_extension(path, entry_point)`: the searches alone (extension/scan.h)."""


def built_library() -> str | None:
    """Return the path of the library, None where it was not built."""
    package = Path(__file__).parents[2]
    path = package / ("sqlrag_extension.dylib" if sys.platform == "darwin" else "sqlrag_extension.so")
    return str(path) if path.is_file() else None


def loadable_path() -> str:
    """Return the path of the library, as sqlite3_load_extension takes it.

    Raises MissingDependencyError where it was not built: on Windows, or without a C compiler.
    """
    path = built_library()
    if path is not None:
        return path
    if sys.platform == "win32":
        raise MissingDependencyError(
            "the SQLite extension does not run on Windows: use sqlrag.connect() or sqlrag.register() from Python"
        )
    raise MissingDependencyError(
        "the SQLite extension was not built when sqlrag was installed, which takes a C compiler: "
        "install one (Debian: apt install gcc libc6-dev), then pip install --force-reinstall --no-deps sqlrag"
    )
