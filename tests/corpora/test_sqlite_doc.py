"""A real folder, whole: the 766 HTML pages of Debian's `sqlite3-doc` (public domain), and ten questions about them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import sqlrag

FOLDER = Path("/usr/share/doc/sqlite3")

# A question → the page that answers it.
QUESTIONS = {
    "what happens if the power fails in the middle of a commit?": "atomiccommit.html",
    "how can readers go on while somebody writes?": "wal.html",
    "update the row if it is there already, otherwise insert it": "lang_upsert.html",
    "which rows did my delete just remove? give them back": "lang_returning.html",
    "how do I copy a database while it is in use?": "backup.html",
    "running totals and moving averages over neighbouring rows": "windowfunctions.html",
    "a column whose value is worked out from other columns": "gencol.html",
    "what is the largest number of columns in a table?": "limits.html",
    "give free space in the file back to the operating system": "lang_vacuum.html",
    "undo only a part of a transaction": "lang_savepoint.html",
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOLDER.is_dir(), reason=f"{FOLDER} is not here: apt-get install sqlite3-doc"),
]


@pytest.fixture(scope="module")
def documentation(tmp_path_factory) -> sqlrag.Database:
    """The pages in a SQLite database, and the report of their ingestion."""
    path = tmp_path_factory.mktemp("sqlite-doc") / "sqlite-doc.db"
    with sqlrag.connect(path) as db:
        pages = len(list(FOLDER.rglob("*.html")))
        started = time.perf_counter()
        report = db.ingest(FOLDER)
        seconds = time.perf_counter() - started
        print(
            f"\nsqlite3-doc: {pages} pages → {report.chunks:,} chunks, {report.tokens:,} tokens in {seconds:.0f} s "
            f"({report.tokens / seconds:,.0f} tokens/s), {len(report.unreadable)} unreadable, {report.truncated} cut"
        )
        assert report.added == pages - len(report.unreadable)
        yield db, report, pages


def test_every_page_is_ingested(documentation):
    """All pages are read, and no chunk exceeds the model's window."""
    db, report, pages = documentation
    assert pages >= 700
    assert report.unreadable == []
    assert report.truncated == 0
    assert db.check() == []


def test_ingesting_again_costs_nothing(documentation):
    """A second run embeds nothing."""
    db, _, pages = documentation
    before = db.embedder.texts_encoded
    again = db.ingest(FOLDER)
    assert (again.unchanged, again.chunks) == (pages, 0)
    assert db.embedder.texts_encoded == before


def test_questions_find_their_pages(documentation):
    """The right page is among the first three after reranking for at least eight of ten questions."""
    db, _, _ = documentation
    missed = {}
    for question, page in QUESTIONS.items():
        found = [Path(hit.uri).name for hit in db.search(question)]
        print(f"{'found ' if page in found else 'MISSED'} {page:22} {question}  {found}")
        if page not in found:
            missed[question] = found
    assert len(missed) <= 2, missed
