"""Ctrl-C while the program is being imported."""

from __future__ import annotations

import os

__all__ = ["INTERRUPTED", "end_at_once"]

INTERRUPTED = 130
"""What a shell reports of a program that Ctrl-C has ended."""


def end_at_once(*_: object) -> None:
    """End the program: an exception during an import might be turned into another one."""
    os.write(2, b"Interrupted: nothing was changed\n")
    os._exit(INTERRUPTED)
