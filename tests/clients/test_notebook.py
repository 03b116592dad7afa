"""`%sql` in a notebook: the example, run by a real IPython, on both engines."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from tests.engine.databases import copy_of

pytestmark = pytest.mark.slow

for _needed in ("jupysql", "ipython", "duckdb-engine", "pandas"):
    if not any(metadata.distributions(name=_needed)):
        pytest.skip("this needs: pip install jupysql ipython pandas duckdb-engine", allow_module_level=True)

# jupysql's package is called `sql`, as the folder of this repository is, which is on the path while its tests run.
SITE = str(metadata.distribution("jupysql").locate_file(""))
EXAMPLE = Path(__file__).parents[2] / "examples" / "notebook.ipy"


def titles(python: str, url: str, home: Path, path: str) -> list[str]:
    """Return the titles that the example prints."""
    path = os.pathsep.join(filter(None, (SITE, path)))
    ran = subprocess.run(
        [python, "-m", "IPython", "--no-banner", "--colors=NoColor", str(EXAMPLE), url, "why do bees dance?"],
        env={**os.environ, "HOME": str(home), "PLOOMBER_STATS_ENABLED": "false", "PYTHONPATH": path},
        capture_output=True, text=True, check=False, cwd=home,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return [line.split("  ")[1] for line in ran.stdout.splitlines() if line[:2] in {"0.", "1."}]


def test_duckdb(passage_files, tmp_path):
    """On DuckDB, by duckdb-engine."""
    path = copy_of(passage_files["duckdb"], tmp_path)  # which opens it to write: nobody else may read it meanwhile
    found = titles(sys.executable, f"duckdb:///{path}", tmp_path, os.environ.get("PYTHONPATH", ""))
    assert (found[0], len(found)) == ("Bees", 3)


def test_sqlite(extension_python, packages, passage_files, tmp_path):
    """On SQLite, by a Python whose sqlite3 loads extensions."""
    found = titles(extension_python, f"sqlite:///{passage_files['sqlite']}", tmp_path, packages)
    assert (found[0], len(found)) == ("Bees", 3)
