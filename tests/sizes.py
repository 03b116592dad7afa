"""How long random tests run: a little in `make test`, long in `make test-all`, which sets SQLRAG_LONG.

A test that uses `examples` has the marker `sized`: CI runs it once more, long, with the slow tests.
"""

from __future__ import annotations

import os

LONG = bool(os.environ.get("SQLRAG_LONG"))


def examples(few: int, many: int) -> int:
    """Return how many examples a test tries."""
    return many if LONG else few
