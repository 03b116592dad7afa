"""docs/promises.md and docs/beside.md name tests that exist."""

from __future__ import annotations

import re

import pytest

from tests.docs.reader import ROOT

NAMED = re.compile(r"(?:tests/)?((?:\w+/)?test_\w+\.py)(?:::(test_\w+)(\*?))?")


@pytest.mark.parametrize(("page", "folder", "least"), [("promises.md", "", 100), ("beside.md", "beside", 40)])
def test_every_named_test_exists(page, folder, least):
    """Each file, and in it the test, or one that begins so. A name without a folder is in the page's own."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    named = re.findall(r"`([^`\n]*test_\w+\.py[^`\n]*)`", text)
    assert len(named) > least
    for name in named:
        file, test, more = NAMED.fullmatch(name).groups()
        source = (ROOT / "tests" / ("" if "/" in file else folder) / file).read_text(encoding="utf-8")
        wanted = rf"def {test or 'test_'}" + (r"\(" if test and not more else "")
        assert re.search(wanted, source), name
