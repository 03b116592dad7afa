"""docs/beside.md names a test for each line: it is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`(?:(tests/\w+)/)?(test_\w+\.py)(?:::(test_\w+)\*)?`")


def test_every_test_that_is_named_is_there():
    """Each file, and in it a test whose name begins so."""
    named = NAMED.findall((ROOT / "docs" / "beside.md").read_text(encoding="utf-8"))
    assert len(named) > 40
    for folder, file, beginning in named:
        source = (ROOT / (folder or "tests/beside") / file).read_text(encoding="utf-8")
        assert f"def {beginning or 'test_'}" in source, (file, beginning)
