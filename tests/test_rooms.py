"""How the package hangs together: imports run downwards, without circles, and docs/architecture.md shows it."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

spec = importlib.util.spec_from_file_location("rooms", ROOT / "scripts" / "rooms.py")
rooms = importlib.util.module_from_spec(spec)
sys.modules["rooms"] = rooms
spec.loader.exec_module(rooms)

TOP = {"sqlrag", "sqlrag.__main__"}
"""The public names, and what starts the command line: nothing in the package imports them for more than the version."""


def test_imports_run_downwards():
    """A module imports its own room and lower ones, at its head or within a function."""
    level = {room: number for number, layer in enumerate(rooms.LAYERS) for room in layer}
    for name, targets in rooms.imports().items():
        if name in TOP:
            continue
        for target in targets - TOP:
            assert level[rooms.room_of(target)] >= level[rooms.room_of(name)], f"{name} imports {target}"


def test_no_two_modules_import_one_another():
    """Whatever is changed, one can say what depends on it."""
    graph = {name: targets - TOP for name, targets in rooms.imports().items()}
    assert rooms.circles(graph) == []


def test_the_two_engines_do_not_know_of_each_other():
    """What both need stands in `engines` or lower."""
    for name, targets in rooms.imports().items():
        for here, other in (("sqlite", "duckdb"), ("duckdb", "sqlite")):
            if name.startswith(f"sqlrag.engines.{here}."):
                assert not [one for one in targets if one.startswith(f"sqlrag.engines.{other}.")], name


def test_the_driver_of_the_index_file_knows_nothing_of_indexes():
    """`store/driver/` opens files and runs statements."""
    for name, targets in rooms.imports().items():
        if name.startswith("sqlrag.store.driver."):
            strangers = [one for one in targets if re.match(r"sqlrag\.store\.(?!driver\b)", one)]
            assert not strangers, f"{name} imports {strangers}"


def test_the_document_shows_the_rooms():
    """`python scripts/rooms.py` writes the drawing anew."""
    assert rooms.drawing() in rooms.DOCUMENT.read_text(encoding="utf-8")


def test_every_room_is_installed():
    """pyproject.toml names each package: setuptools would leave the others out of a wheel."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = set(re.findall(r'^    "(sqlrag[\w.]*)",$', text, re.MULTILINE))
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "sqlrag").rglob("__init__.py")}
    assert found | {"sqlrag.sql"} == listed
