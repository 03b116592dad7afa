"""What the page shows of a question, and the code that it gives for the same answer; without a browser."""

from __future__ import annotations

import json
import shlex
from contextlib import nullcontext

import pytest

pytest.importorskip("fastapi", reason='the API is not installed: pip install "sqlrag[http]"')

import sqlrag
from sqlrag.serve.http.page import curl
from sqlrag.serve.page_tools import PageTools
from sqlrag.serve.untrusted import open_limited
from sqlrag.text import Document
from tests.conftest import ENGINES, database_path

QUESTION = "when does the ferry leave?"
FERRY = "The ferry leaves at nine in the morning."


@pytest.fixture(scope="module", params=ENGINES)
def copied(request, tmp_path_factory):
    """The path of a database of which many documents have the same passage, others have part of its title."""
    path = database_path(tmp_path_factory.mktemp("copied"), request.param)
    texts = [FERRY] * 30 + [
        "A ferry crosses the lake at ten.",
        "Bread is baked before dawn.",
        "It's 'quoted' {braces}.",
    ]
    documents = [
        Document(f"{place:02}.txt", f"Page {place}", text, {"n": place}, str(place)) for place, text in enumerate(texts)
    ]
    with sqlrag.connect(path) as db:
        db.ingest(documents)
    return str(path)


@pytest.fixture(scope="module")
def tools(copied):
    """The tools of the page over it."""
    limited = open_limited(copied, seconds=60)
    yield PageTools(limited, copied)
    limited.close()


SETTINGS = [
    ({}, 3),
    ({"top_k": 40}, 3),
    ({"top_k": 10, "top_n": 2}, 2),
    ({"filter": "title <> 'Page 3' AND id > 2", "top_n": 1}, 1),
    ({"filter": "uri > '29'"}, 3),
    ({"first_stage": "text"}, 2),
    ({"first_stage": "vector"}, 3),
    ({"first_stage": "hybrid", "reranker": "reranker-v1-small", "filter": "title <> 'Page 30'"}, 3),
    ({"budget_ms": 60_000.0}, 3),
    ({"budget_ms": 60_000.0, "filter": "uri > '27'", "top_n": 1}, 1),
]


@pytest.mark.parametrize(("settings", "count"), SETTINGS, ids=str)
def test_the_code_gives_the_same_answer(tools, monkeypatch, settings, count):
    """SQL, Python and curl find what the page shows: each passage once, even where copies fill the candidates."""
    asked = {"question": QUESTION, "index": "chunks", "first_stage": "hybrid", "top_k": 25, "top_n": 3}
    asked |= dict.fromkeys(("filter", "reranker", "budget_ms")) | settings
    answer = tools.two_stages(**asked)
    hits = [hit for hit in answer["hits"] if hit["rank_after"] <= asked["top_n"]]
    texts = [hit["text"] for hit in hits]
    assert len(set(texts)) == len(texts) == count
    for order in ("rank_before", "rank_after"):
        assert sorted(hit[order] for hit in answer["hits"]) == list(range(1, answer["candidates"] + 1))
    by_sql = tools.sql(answer["code"]["sql"])["rows"]
    assert [row["text"] for row in by_sql] == texts
    assert [row["score"] for row in by_sql] == pytest.approx([hit["score"] for hit in hits], abs=1e-6)
    printed: list[str] = []
    database = tools._database.run(nullcontext)  # DuckDB opens a file once in a process
    monkeypatch.setattr(sqlrag, "connect", lambda path: database)
    exec(answer["code"]["python"], {"print": lambda *values: printed.append(values[-1])})
    assert printed == texts
    words = shlex.split(curl("http://127.0.0.1:1", asked, answer["code"]["sql"]).replace("\\\n", ""))
    body = json.loads(words[words.index("-d") + 1])
    posted = tools.sql(**body)["rows"] if words[1].endswith("/sql") else tools.search(**body)["hits"]
    assert [one["text"] for one in posted] == texts


def test_copies_are_named(tools):
    """The card names documents that have the passage, too, as `search` does; `compare` has the hits of `search`."""
    answer = tools.two_stages(QUESTION, "chunks")
    [ferry] = [hit for hit in answer["hits"] if hit["text"] == FERRY]
    assert len({ferry["uri"], *ferry["copies"]}) == 6
    assert ferry["more_copies"] == 24
    found, compared = tools._database.run(lambda db: (db.search(QUESTION), db.compare(QUESTION)))
    assert compared.hits == found
    assert {hit.rank_before for hit in compared.candidates} == {1, 2, 3, 4}
