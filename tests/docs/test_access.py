"""docs/access.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_each_named_test_is_there():
    """Each cell of the second table names the test of that cell in the first."""
    text = (ROOT / "docs" / "access.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| ")]
    folders = next(row for row in rows if row[0].strip() == "tests in")
    named = rows[rows.index(folders) + 1 :]
    assert len(named) > 5
    for column, folder in enumerate(folders[1:], 1):
        place = ROOT / folder.strip().strip("`")
        sources = [place] if place.is_file() else sorted(place.glob("*.py"))
        defined = set(re.findall(r"^def (test_\w+)", "".join(source.read_text() for source in sources), re.MULTILINE))
        for row in named:
            for name in re.findall(r"`(?:test_\w+\.py::)?(test_\w+)`", row[column]):
                assert name in defined, name
