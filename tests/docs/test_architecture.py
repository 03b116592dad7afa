"""docs/architecture.md names only modules, classes and functions that exist, and files that are there."""

from __future__ import annotations

import re
from importlib import import_module

import pytest

from tests.docs.reader import ROOT

TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
ROOMS = {path.stem for path in (ROOT / "sqlrag").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
NAMES = sorted({name for name in re.findall(r"`([\w.]+\.\w+)`", TEXT) if name.partition(".")[0] in ROOMS})
FILES = sorted(
    set(re.findall(r"`((?:sql|sqlrag|tests|scripts|docs|benchmarks|training|examples|extension)/[\w./]*)`", TEXT))
)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_exists(name):
    """`store.top_k.Index` is `sqlrag/store/top_k.py` and the class in it."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = import_module(".".join(["sqlrag", *parts[:count]]))
        except ModuleNotFoundError:
            continue
        break
    for part in parts[count:]:
        found = getattr(found, part)


@pytest.mark.parametrize("path", FILES)
def test_a_file_exists(path):
    """A path is one of the repository."""
    assert (ROOT / path).exists()


def test_it_names_what_it_is_about():
    """The patterns find the names: there are dozens."""
    assert len(NAMES) > 40
    assert len(FILES) > 5
