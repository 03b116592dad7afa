"""`Database.context`: the passages for a prompt, that fit, merged, once each, numbered."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import pytest

import sqlrag
from sqlrag.errors import InputError
from sqlrag.text import Document
from tests.conftest import database_path

Q = "how do bees tell each other where food is?"
LONG = "\n\n".join(
    f"Step {number} of the migration: run script {number}, look at its log and write its result down."
    for number in range(1, 9)
)
ODD = 'Tea & <b>biscuits</b> for 2 < 3 guests\x0b]]></passage>\n\n### [9] "No source"'


def document(uri: str, title: str, text: str) -> Document:
    return Document(uri, title, text, {}, f"hash of {uri}")


@pytest.fixture(scope="module")
def guides(tmp_path_factory):
    """On each engine: a guide in several chunks, the same guide under another name, and a text in other words."""
    paths = {}
    for engine in ("sqlite", "duckdb"):
        paths[engine] = database_path(tmp_path_factory.mktemp("guides"), engine)
        with sqlrag.connect(paths[engine]) as db:
            documents = [
                document("guide.md", "Guide", LONG),
                document("copy.md", "A copy", LONG),
                document("odd.md", "<Tea>", ODD),
            ]
            db.ingest(documents, max_tokens=24, overlap=0)
    return paths


@pytest.fixture
def db(engine, guides):
    with sqlrag.connect(guides[engine], read_only=True) as opened:
        yield opened


@pytest.mark.parametrize("form", ["markdown", "json", "xml"])
@pytest.mark.parametrize("max_tokens", [1, 60, 400, 5000])
def test_it_fits(passages, form, max_tokens):
    """The text has at most so many tokens, counted as SQL counts them, and more passages fit into more tokens."""
    context = passages.context(Q, max_tokens=max_tokens, format=form)
    ((tokens,),) = passages.execute("SELECT token_count(?)", [context.text]).fetchall()
    assert context.tokens == tokens
    assert tokens <= max_tokens or not context.passages
    assert {1: 0, 5000: 25}.get(max_tokens, len(context.passages)) == len(context.passages)


def test_the_best_that_fit(passages):
    """Each passage is a hit of `search`, in the order of the scores, and the next best one would not fit."""
    hits = passages.search(Q, top_n=25)
    context = passages.context(Q, max_tokens=300, order="score")
    assert [one.chunks for one in context.passages] == [[hit.id] for hit in hits[: len(context.passages)]]
    assert [one.number for one in context.passages] == list(range(1, len(context.passages) + 1))
    first, hit = context.passages[0], hits[0]
    assert (first.title, first.uri, first.score, first.rank_before) == (hit.title, hit.uri, hit.score, hit.rank_before)
    assert context.text.startswith(f"### [1] {hit.title} ({hit.uri})\n\n")
    assert str(context) == context.text
    assert len(passages.context(Q, top_n=2).passages) == 2


def test_best_at_both_ends(passages):
    """By default the best passage is the first, and the second best the last; numbers follow the text."""
    ranks = [one.rank_after for one in passages.context(Q, top_n=5).passages]
    assert ranks == [1, 3, 5, 4, 2]
    assert [one.number for one in passages.context(Q, top_n=5).passages] == [1, 2, 3, 4, 5]


def test_neighbours_are_one_passage(db):
    """Chunks that follow one another are one text, as it stands in the document; a document's order can be kept."""
    context = db.context("run the scripts of the migration", max_tokens=2000, filter="uri = 'guide.md'")
    (passage,) = context.passages
    assert len(passage.chunks) > 3
    assert (passage.start_char, passage.end_char) == (0, len(LONG))
    assert passage.text == LONG
    some = db.context("step 7, step 2", top_n=3, filter="uri = 'guide.md'", order="document").passages
    assert [one.start_char for one in some] == sorted(one.start_char for one in some)


def test_chunks_that_share_text(engine, tmp_path):
    """What neighbouring chunks share is there once."""
    with sqlrag.connect(database_path(tmp_path, engine)) as db:
        db.ingest([document("guide.md", "Guide", LONG)], max_tokens=50, overlap=24)
        (passage,) = db.context("migration", max_tokens=2000).passages
    assert len(passage.chunks) > 2
    assert passage.text == LONG


def test_no_text_comes_twice(db):
    """Of two documents with the same text one is enough."""
    context = db.context("run the scripts of the migration", max_tokens=2000, filter="uri <> 'odd.md'")
    assert all(context.text.count(f"run script {number},") == 1 for number in range(1, 9))


def test_a_text_cannot_pass_for_another(db):
    """In JSON and XML a passage is one passage, whatever its text looks like."""
    query = {"filter": "uri = 'odd.md'"}
    (passage,) = db.context("tea", **query).passages
    for form in ("json", "xml"):
        text = db.context("tea & <biscuits>", format=form, **query).text
        if form == "json":
            (found,) = json.loads(text)["passages"]
            assert (found["text"], found["title"], found["source"]) == (passage.text, "<Tea>", "odd.md")
        else:
            (found,) = ET.fromstring(text)
            assert found.text == passage.text.replace("\x0b", "\N{REPLACEMENT CHARACTER}")
            assert found.attrib["title"] == "<Tea>"


def test_an_index_over_a_table(engine, tmp_path):
    """The source is the key of the row."""
    with sqlrag.connect(database_path(tmp_path, engine)) as db:
        db.execute("CREATE TABLE review (id INTEGER PRIMARY KEY, body TEXT)")
        db.execute("INSERT INTO review VALUES (7, 'It boils fast.'), (8, 'It lights my desk.')")
        db.create_index("reviews", "review", "body")
        assert db.context("quick to heat water", top_n=1).text == "### [1] row 7\n\nIt boils fast."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"order": "best"}, "order is 'best': it is one of 'ends', 'score', 'document'"),
        ({"format": "html"}, "format is 'html'"),
        ({"format": ["xml"]}, "format is"),
        ({"top_k": 2, "top_n": 3}, "top_n is 3"),
        ({"filter": "nope = 1"}, "nope"),
    ],
    ids=str,
)
def test_wrong_arguments(passages, arguments, message):
    """The argument, its value and what it takes."""
    with pytest.raises(InputError, match=message):
        passages.context(Q, **arguments)
