"""What `import sqlrag` gives, what it costs, and what every part promises of itself."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import sqlrag
from sqlrag import errors

ROOT = Path(__file__).parents[1]
HEAVY = ("apsw", "duckdb", "onnxruntime", "numpy", "pyarrow", "tokenizers", "torch", "transformers", "pandas", "rich")


def test_the_public_names():
    """Nothing is exported by accident, and each name is there."""
    assert sqlrag.__all__ == [
        "BacklogWarning", "Comparison", "Context", "Database", "Embedder", "Error", "Hit", "Reranker", "connect",
        "register",
    ]  # fmt: skip
    assert all(getattr(sqlrag, name).__doc__ for name in sqlrag.__all__)
    assert [name for name in dir(sqlrag) if not name.startswith("_")] == sqlrag.__all__


@pytest.mark.parametrize("room", ["errors", "results", "text", "models", "evaluation"])
def test_the_names_of_public_rooms(room):
    """Each name that a public room lists is there, and says what it is."""
    module = import_module(f"sqlrag.{room}")
    for name in module.__all__:
        found = getattr(module, name)
        assert isinstance(found, (str, tuple)) or inspect.getdoc(found), name


def test_an_unknown_name_is_an_attribute_error():
    """The lazy module behaves like any other."""
    assert not hasattr(sqlrag, "no_such_name")


def imported_by(code: str) -> set[str]:
    """Return the modules that a new interpreter has after running `code`."""
    output = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(' '.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return set(output.split())


def test_import_is_light():
    """`import sqlrag` brings no engine, no model runtime and no table library."""
    assert imported_by("import sqlrag").isdisjoint(HEAVY)


def test_sqlite_needs_no_duckdb_and_no_model():
    """Opening a SQLite database and asking it plain SQL loads neither DuckDB nor ONNX Runtime nor Arrow."""
    modules = imported_by("import sqlrag\nwith sqlrag.connect(':memory:') as db: db.execute('SELECT 1').fetchall()")
    assert modules.isdisjoint({"duckdb", "onnxruntime", "pyarrow", "torch", "tokenizers"})


def test_every_room_says_what_is_public():
    """Whoever opens a room learns from its first lines which names will stay."""
    for file in (ROOT / "sqlrag").glob("*/__init__.py"):
        docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
        assert re.search(r"\bPublic (are|is)\b|\bNothing here is public\b", docstring), file


def test_the_tree_of_errors():
    """Every error is one of ours, stands in the module's drawing and says what it is."""
    for name in errors.__all__:
        error = getattr(errors, name)
        assert issubclass(error, (errors.Error, Warning))
        assert inspect.getdoc(error)
        assert name in errors.__doc__


def test_every_function_and_command_is_documented():
    """The SQL reference has each SQL function, the command line's page each command."""
    from sqlrag.cli import cli
    from sqlrag.engines.functions import Functions
    from sqlrag.engines.measures import MEASURES

    reference = (ROOT / "docs" / "sql.md").read_text(encoding="utf-8")
    functions = ["embed", "embed_document", "rerank_score", "token_count"]
    functions += ["vector_top_k", "text_top_k", "hybrid_top_k", "search", "chunk", "chunk_text", "sqlrag_info"]
    for name in functions:
        assert hasattr(Functions, name)
        assert re.search(rf"`{name}\(", reference), name
    for name in MEASURES:
        assert re.search(rf"`{name}\(", reference), name
    commands = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    for command in cli.commands:
        assert f"sqlrag {command}" in commands, command


def test_nothing_unfinished():
    """No marker of work left undone, and no path of anybody's machine."""
    markers = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|NotImplementedError|/home/\w+/")
    for pattern in ("sqlrag/**/*.py", "sql/**/*.sql", "examples/*", "benchmarks/*.py", "training/*.py"):
        for file in ROOT.glob(pattern):
            assert not markers.search(file.read_text(encoding="utf-8")), file
