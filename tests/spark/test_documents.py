"""docs/spark.md and examples/spark.py run as they stand."""

from __future__ import annotations

import runpy
import sys

import pytest

from tests.conftest import PASSAGES
from tests.docs.reader import ROOT, blocks_of

pytestmark = pytest.mark.slow


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the passages as articles."""
    (tmp_path / "articles.jsonl").write_bytes(PASSAGES.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page(spark, here, capsys):
    """Its blocks of Python, from top to bottom."""
    names: dict = {}
    for block in blocks_of((ROOT / "docs" / "spark.md").read_text(encoding="utf-8")):
        if block.language == "python":
            body = block.body.replace("articles.jsonl", str(here / "articles.jsonl"))  # where the JVM finds it
            exec(compile(body, "docs/spark.md", "exec"), names)
    shown = capsys.readouterr().out
    assert shown.count("|Bees: A honeybee") == 4  # once for each block and call


def test_the_example(spark, here, capsys, monkeypatch):
    """The first run builds, the second one finds the index."""
    for printed in ("25 rows in", "0."):
        monkeypatch.setattr(sys, "argv", ["spark.py", "articles.jsonl", "how do bees find food?"])
        runpy.run_path(str(ROOT / "examples" / "spark.py"), run_name="__main__")
        out = capsys.readouterr().out
        assert out.startswith(printed)
        assert "honeybee" in out
