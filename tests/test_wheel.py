"""A wheel holds every module, every .sql file, the bundled models and the library, and has the package's version."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import sqlrag

ROOT = Path(__file__).parents[1]
NOT_BUILT = ("tests/", "benchmarks/", "training/", "docs/", "examples/", "scripts/")


@pytest.mark.slow
def test_the_wheel_holds_everything(tmp_path):
    """What git knows of `sqlrag/` and `sql/` is in a wheel that is built from a clean copy."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is not a git checkout")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    source = tmp_path / "source"
    for name in listed:
        if (ROOT / name).is_file() and not name.startswith(NOT_BUILT):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps", "-w", tmp_path]
    done = subprocess.run([*pip, source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith(f"sqlrag-{sqlrag.__version__}-py3-none-")
    assert not wheel.name.endswith("-any.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    needed = {name for name in listed if name.startswith("sqlrag/")}
    needed |= {f"sqlrag/{name}" for name in listed if name.startswith("sql/")}
    assert sorted(needed - held) == []
    assert shutil.which("cc") is None or any(name.startswith("sqlrag/sqlrag_extension.") for name in held)
