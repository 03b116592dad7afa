"""Ctrl-C while the program is being imported: it ends at once."""

from __future__ import annotations

import os

__all__ = ["INTERRUPTED", "end_at_once"]

INTERRUPTED = 130
"""What a shell reports of a program that Ctrl-C has ended."""


def end_at_once(*_: object) -> None:
    """End the program on Ctrl-C: while modules are imported, an exception could become anything."""
    os.write(2, b"Interrupted: nothing was changed\n")
    os._exit(INTERRUPTED)
