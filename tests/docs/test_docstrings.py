"""The examples in the docstrings of the public classes and functions are run, each on a database of its own."""

from __future__ import annotations

import dataclasses
import doctest
import inspect
import re
import shutil

import pytest

import sqlrag
from sqlrag import errors, registration, results
from sqlrag.database import connection, index_methods
from sqlrag.models import embedder, reranker
from tests.conftest import database_path

NOTES = {
    "Migrations": "To roll back a migration, run the downgrade command.",
    "Backups": "Every night at two a copy of the database is written to another disk.",
    "Tea": "Let green tea steep for two minutes in water that does not boil.",
}
REVIEWS = """
CREATE TABLE review (id INTEGER PRIMARY KEY, product TEXT, title TEXT, body TEXT);
INSERT INTO review VALUES
    (1, 'kettle', 'Loud', 'It boils fast, but the whole house wakes up.'),
    (2, 'kettle', 'Lovely', 'Two minutes from cold to tea.'),
    (3, 'lamp', 'Bright', 'Lights up my desk, though the switch feels cheap.');
"""
MODULES = (sqlrag, connection, index_methods, registration, results, errors, embedder, reranker)
FLAGS = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL


def found() -> list[doctest.DocTest]:
    """Return the examples of these modules."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    return [example for module in MODULES for example in finder.find(module) if example.examples]


EXAMPLES = {example.name.removeprefix("sqlrag."): example for example in found()}


@pytest.fixture(scope="module")
def example_folder(tmp_path_factory):
    """The folder that each example gets a copy of: `notes/`, `notes.db` and `notes.duckdb`."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "notes").mkdir()
    for title, text in NOTES.items():
        (folder / "notes" / f"{title.lower()}.md").write_text(f"# {title}\n\n{text}\n", encoding="utf-8")
    for engine in ("sqlite", "duckdb"):
        with sqlrag.connect(database_path(folder, engine, "notes")) as db:
            db.execute(REVIEWS).fetchall()
            assert db.ingest(folder / "notes").added == 3
    return folder


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name, engine, example_folder, tmp_path, monkeypatch):
    """What an example shows is what it prints, on both engines."""
    folder = tmp_path / "here"
    shutil.copytree(example_folder, folder)
    monkeypatch.chdir(folder)
    output: list[str] = []
    with sqlrag.connect(database_path(folder, engine, "notes")) as db:
        example = EXAMPLES[name]
        example.globs = {"sqlrag": sqlrag, "db": db}
        result = doctest.DocTestRunner(optionflags=FLAGS).run(example, out=output.append)
    assert not result.failed, "".join(output)


def public_methods() -> list[str]:
    """Return the methods of the public classes and the functions of `sqlrag` that a user calls."""
    classes = (sqlrag.Database, sqlrag.Embedder, sqlrag.Reranker)
    methods = [f"{one.__name__}.{name}" for one in classes for name, _ in inspect.getmembers(one, inspect.isfunction)]
    return ["connect", "register", *(name for name in methods if "._" not in name)]


@pytest.mark.parametrize("name", public_methods())
def test_one_form(name):
    """A docstring says what, then Parameters, Returns, Raises and Examples; every parameter stands in it."""
    function = sqlrag
    for part in name.split("."):
        function = getattr(function, part)
    signature, text = inspect.signature(function), inspect.getdoc(function)
    sections = re.findall(r"^(Parameters|Returns|Raises|Examples):$", text, re.MULTILINE)
    assert sections == [one for one in ("Parameters", "Returns", "Raises", "Examples") if one in sections]
    described = re.search(r"^Parameters:\n((?:    .*\n)+)", text, re.MULTILINE)
    names = re.findall(r"^    (\w+): ", described[1], re.MULTILINE) if described else []
    assert names == [one for one in signature.parameters if one != "self"]
    assert ("Returns" in sections) == (signature.return_annotation not in (None, "None"))
    assert "Examples" in sections


@pytest.mark.parametrize(
    "kind", [one for name, one in vars(results).items() if name in results.__all__ and dataclasses.is_dataclass(one)]
)
def test_every_attribute_is_described(kind):
    """The docstring of a class of results lists its attributes."""
    described = re.search(r"^Attributes:\n((?:    .*\n)+)", inspect.getdoc(kind) + "\n", re.MULTILINE)
    names = re.findall(r"^    (\w+): ", described[1], re.MULTILINE)
    assert sorted(names) == sorted(field.name for field in dataclasses.fields(kind))
