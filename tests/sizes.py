"""How long random tests run, and how much of a corpus is read.

A random test tries few examples in `make test` and many in `make test-all`, which sets SQLRAG_LONG. It has the marker
`sized`: CI runs it once more, long, with the slow tests. The corpora are read whole by `make bench`, which sets
SQLRAG_WHOLE; elsewhere a tenth of them is.
"""

from __future__ import annotations

import os

LONG = bool(os.environ.get("SQLRAG_LONG"))
WHOLE = bool(os.environ.get("SQLRAG_WHOLE"))


def examples(few: int, many: int) -> int:
    """Return how many examples a test tries."""
    return many if LONG else few
