"""Databases that were changed behind sqlrag's back, and what an error must say."""

from __future__ import annotations

import shutil
from pathlib import Path

import apsw
import duckdb

from sqlrag import errors


def copy_of(path: Path, folder: Path, name: str = "copy") -> Path:
    """Return a copy of a database and of its index file."""
    copy = folder / f"{name}{path.suffix}"
    for suffix in ("", ".sqlrag"):
        if Path(f"{path}{suffix}").exists():
            shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    return copy


def change_tables(path: Path, *statements: str) -> None:
    """Run statements with the engine alone, without sqlrag."""
    with duckdb.connect(str(path)) if path.suffix == ".duckdb" else apsw.Connection(str(path)) as connection:
        for statement in statements:
            connection.execute(statement)


def assert_says(error: BaseException, kind: type[errors.Error], *words: str) -> None:
    """The error is of this kind, on one line, and has these words."""
    assert type(error) is kind, error
    assert [word for word in words if word not in str(error)] == [], str(error)
    assert "\n" not in str(error)
