"""Mutated messages, the short form: python -m tests.postgres.fuzz sends as many as one likes."""

from __future__ import annotations

import pytest

from tests.postgres.conftest import serving
from tests.postgres.fuzz import Fuzz


@pytest.mark.slow
def test_mutated_messages(engine, passage_files):
    """The server neither crashes nor hangs nor grows, and prints no traceback."""
    with serving(passage_files[engine], engine, "--time-limit", "5") as served:
        Fuzz(served, seed=7).run(1_500)
        served.process.kill()
        assert "Traceback" not in served.process.stderr.read()
