"""docs/sql.md and docs/command-line.md are what the code says."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from sqlrag.engines.measures import MEASURES
from tests.docs.reader import ROOT

spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts" / "reference.py")
reference = importlib.util.module_from_spec(spec)
sys.modules["reference"] = reference
spec.loader.exec_module(reference)


@pytest.fixture(scope="module")
def pages():
    """The pages as the code would write them; on the way, NULL is asked for on both engines."""
    return reference.pages()


@pytest.mark.parametrize("path", [reference.SQL, reference.COMMANDS], ids=lambda path: path.name)
def test_page_is_what_the_code_says(path, pages):
    """After a change: python scripts/reference.py."""
    assert pages[path] == path.read_text(encoding="utf-8"), "run python scripts/reference.py"


def test_every_function_is_in_the_reference(pages):
    """Each has a heading and its signature."""
    for name in (
        "embed", "embed_document", "rerank_score", "token_count", "vector_top_k", "text_top_k", "hybrid_top_k",
        "search", "chunk", "chunk_text", "sqlrag_info", "sqlrag_create_index", "sqlrag_sync", "sqlrag_drop_index",
        "sqlrag_alter_index", "sqlrag_reindex",
    ):  # fmt: skip
        assert f"### {name}\n\n`{name}(" in pages[reference.SQL]
    for name in MEASURES:
        assert f"| `{name}(rank, relevance" in pages[reference.SQL]


def test_a_function_without_description_is_an_error():
    """Whoever adds a parameter describes it."""

    def half(text, other):
        """Return it.

        Parameters:
            text: The text.
        """

    described = reference.Described("half", ("text", "other"), 2, (), half)
    with pytest.raises(SystemExit, match="does not describe other"):
        list(reference._described(described))
