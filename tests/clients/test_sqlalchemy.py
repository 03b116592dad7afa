"""SQLAlchemy's own SQLite dialect with the functions: the example, on a Python whose sqlite3 can load extensions.

tests/docs/test_examples.py runs it on DuckDB.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not here: pip install sqlalchemy")

EXAMPLE = Path(__file__).parents[2] / "examples" / "sqlalchemy_engine.py"


def test_sqlite(extension_python, packages, passage_files):
    """The connections that the engine makes have the functions."""
    ran = subprocess.run(
        [extension_python, str(EXAMPLE), f"sqlite:///{passage_files['sqlite']}", "why do bees dance?"],
        env={**os.environ, "PYTHONPATH": packages}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    titles = [line.split("  ")[1] for line in ran.stdout.splitlines()]
    assert (titles[0], len(titles)) == ("Bees", 3)
