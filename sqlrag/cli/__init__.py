"""The command line: `sqlrag COMMAND DB …`.

Public are the commands, as `sqlrag --help` describes them; `main` starts them. No module of this room is public. This
file handles what must happen before anything else is imported: Ctrl-C, standard files and the encoding of arguments.
"""

from __future__ import annotations

import os
import sys
from _signal import SIGINT, default_int_handler, getsignal, signal  # type: ignore[import-not-found]

from sqlrag.cli.interrupt import end_at_once

TYPE_CHECKING = False  # as `_signal`: typing and signal take milliseconds, in which Ctrl-C would be a traceback

if TYPE_CHECKING:
    from typing import Any

    from sqlrag.cli.program import cli

__all__ = ["cli", "main"]


def __getattr__(name: str) -> Any:
    if name != "cli":
        raise AttributeError(f"module 'sqlrag.cli' has no attribute {name!r}")
    from sqlrag.cli.program import cli

    return cli


def main() -> None:
    """Run the program `sqlrag`."""
    if getsignal(SIGINT) is default_int_handler:  # not where the shell has it ignored
        signal(SIGINT, end_at_once)
    _use_utf8()
    _open_standard_files()
    _replace_what_cannot_be_shown()
    from sqlrag.cli.program import cli

    cli(prog_name="sqlrag")


def _use_utf8() -> None:
    """Restart in UTF-8 mode if the locale has another encoding: databases and files have UTF-8."""
    if sys.getfilesystemencoding().lower() != "utf-8":
        os.execv(sys.executable, [sys.orig_argv[0], "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606 - the same program


def _open_standard_files() -> None:
    """Open standard files that the caller has closed, so that no other file, such as a database, gets their numbers."""
    is_closed = sys.stdout is None
    while (number := os.open(os.devnull, os.O_RDWR)) < 3:  # the lowest free number
        pass
    os.close(number)
    sys.stdin = sys.stdin or os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)
    if is_closed:
        sys.exit("Error: standard output is closed: let it go to a file, or to /dev/null")


def _replace_what_cannot_be_shown() -> None:
    """Let output be replaced where the encoding of stdout lacks a character, as cp1252 does in a pipe on Windows.

    Input that is not in the encoding of stdin is an error, and not lone surrogates, which no database takes.
    """
    for stream, errors in ((sys.stdout, "replace"), (sys.stderr, "backslashreplace"), (sys.stdin, "strict")):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=errors)
