"""A short run of the fuzzer of files: `python -m tests.extension.fuzz` makes it 100,000 pages."""

from __future__ import annotations

import shutil

import pytest

from tests.extension.fuzz import fuzz


@pytest.mark.slow
def test_pages_of_real_files(tmp_path):
    """No report of AddressSanitizer or UndefinedBehaviorSanitizer, no hang; some files are read, others refused."""
    if not shutil.which("cc") or not shutil.which("make"):
        pytest.skip("no C compiler and make here: apt install gcc make libc6-dev")
    found = fuzz(400, 6, tmp_path)
    assert found.problems == []
    assert found.pages >= 400
    assert found.answers > found.errors > 0
