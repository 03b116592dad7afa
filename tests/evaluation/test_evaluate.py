"""`Database.evaluate` on both engines: its figures are those of the searches that it runs."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

import ir_measures
import pytest
from ir_measures import RR, R, nDCG

import sqlrag
from sqlrag.errors import InputError, MissingDependencyError, UnknownIndexError
from sqlrag.evaluation import plots
from tests.conftest import ENGINES

QUERIES = {
    "q1": "how do bees tell each other where food is?",
    "q2": "bread without bought yeast",
    "q3": "public transport on rails",
    "q4": "money lent at a bank",
    "q5": "asked, and nobody judged it",
}
QRELS = {
    "q1": {"Bees": 2, "Sourdough": 0},
    "q2": {"Sourdough": 2, "Zürich 🚋": 1},
    "q3": {"Zürich 🚋": 1, "Bees": 1},
    "q4": {"not in the database": 1, "Sourdough": 0, "Bees": 1},
    "q6": {"Bees": 1},
}
OPTIONS = {"document_id": "title", "top_k": [3, 25], "resamples": 200}


@pytest.fixture(scope="module")
def evaluations(passage_files):
    """The evaluation of the passages on each engine."""
    found = {}
    for engine in ENGINES:
        with sqlrag.connect(passage_files[engine], read_only=True) as db:
            found[engine] = db.evaluate(QUERIES, QRELS, **OPTIONS)
    return found


def rankings(db: sqlrag.Database, top_k: int, order: str) -> dict[str, dict[str, float]]:
    """Return the titles that a search finds for each judged query, as ir-measures wants a run."""
    found = {}
    for query in ("q1", "q2", "q3", "q4"):
        hits = sorted(db.search(QUERIES[query], top_k=top_k, top_n=top_k), key=lambda hit: getattr(hit, order))
        found[query] = {hit.title: -float(place) for place, hit in enumerate(hits)}
    return found


@pytest.mark.parametrize("top_k", [3, 25])
@pytest.mark.parametrize("order", ["rank_before", "rank_after"])
def test_the_figures_are_those_of_a_search(evaluations, passages, top_k, order):
    """nDCG, MRR and recall are what ir-measures says of the rankings that `search` gives."""
    row = evaluations[passages.engine].row("hybrid", top_k, reranked=order == "rank_after")
    run, judged = rankings(passages, top_k, order), {query: QRELS[query] for query in ("q1", "q2", "q3", "q4")}
    expected = ir_measures.calc_aggregate([nDCG @ 10, RR @ 10, R @ 10, R @ top_k], judged, run)
    assert row.ndcg.mean == pytest.approx(expected[nDCG @ 10], abs=1e-9)
    assert row.mrr.mean == pytest.approx(expected[RR @ 10], abs=1e-9)
    assert row.recall.mean == pytest.approx(expected[R @ 10], abs=1e-9)
    assert row.recall_top_k.mean == pytest.approx(expected[R @ top_k], abs=1e-9)


def test_the_engines_agree(evaluations):
    """Every figure but the times is the same on both."""
    sqlite, duckdb = evaluations["sqlite"], evaluations["duckdb"]
    assert [replace(row, milliseconds=None) for row in sqlite.rows] == [
        replace(row, milliseconds=None) for row in duckdb.rows
    ]
    assert sqlite.verdicts == duckdb.verdicts
    for point, other in zip(sqlite.context, duckdb.context, strict=True):
        assert point.recall == pytest.approx(other.recall, abs=1e-12)


def test_what_an_evaluation_says(evaluations):
    """Rows for each first stage, top_k and order; gains where it is reranked; what it rests on."""
    found = evaluations["sqlite"]
    assert [(row.first_stage, row.top_k, row.reranked) for row in found.rows] == [
        (name, top_k, reranked)
        for name in ("vector", "text", "hybrid")
        for top_k in (3, 25)
        for reranked in (False, True)
    ]
    assert all((row.ndcg_gain is not None) == row.reranked for row in found.rows)
    assert all(row.ndcg.low <= row.ndcg.mean <= row.ndcg.high for row in found.rows)
    assert (found.queries, found.judged_documents, found.judged_documents_found) == (4, 4, 3)
    assert [note for note in found.notes if note.startswith("1 of the 4 judged documents are not in index 'chunks'")]
    assert [note for note in found.notes if note.startswith("So few queries (4)")]
    with pytest.raises(KeyError):
        found.row("vector", 4, reranked=True)


def test_context_grows_to_the_recall_of_all_candidates(evaluations):
    """More tokens never lose a document; with room for all candidates both orders have the same."""
    found = evaluations["sqlite"]
    for name in ("vector", "text", "hybrid"):
        orders = [[p.recall for p in found.context if (p.first_stage, p.reranked) == (name, r)] for r in (False, True)]
        assert all(order == sorted(order) for order in orders)
        recall = found.row(name, 25, reranked=True).recall_top_k.mean
        assert [order[-1] for order in orders] == pytest.approx([recall, recall], abs=1e-9)


def test_each_pair_is_scored_once(passages):
    """However many first stages and top_k there are, the model sees a pair once; its tables stay for SQL."""
    queries = {query: f"{text} ({passages.engine})" for query, text in QUERIES.items()}
    before = passages.reranker.pairs_scored
    found = passages.evaluate(queries, QRELS, **OPTIONS)
    ((pairs,),) = passages.execute("SELECT count(*) FROM evaluation_scores").fetchall()
    # the models are warmed up with one pair more, once in a process
    assert found.pairs == pairs <= passages.reranker.pairs_scored - before <= pairs + 1
    best = "SELECT max(ndcg) FROM evaluation_measures WHERE first_stage = 'vector' AND reranked = 1"
    assert 0 < passages.execute(best).fetchall()[0][0] <= 1
    assert found.row("vector", 25, reranked=True).milliseconds > found.row("vector", 25, reranked=False).milliseconds


def test_a_run(passages, tmp_path):
    """A run file is a first stage of its own: its order before, the reranker's after; its unknown documents are out."""
    run = {query: ["Sourdough", "nowhere", "Bees"] for query in ("q1", "q2", "q3")}
    lines = [f"{q}\t{doc}\t{rank}\t{-rank}\n" for q, docs in run.items() for rank, doc in enumerate(docs, 1)]
    (tmp_path / "bm25.run").write_text("".join(lines), encoding="utf-8")
    found = passages.evaluate(QUERIES, QRELS, run=tmp_path / "bm25.run", **OPTIONS)
    assert {row.first_stage for row in found.rows} == {"run"}
    # Without the unknown one: q1 has Bees at 2, q2 Sourdough at 1, q3 Bees at 2, q4 is not in the run.
    assert found.row("run", 3, reranked=False).mrr.mean == pytest.approx(fmean([0.5, 1.0, 0.5, 0.0]), abs=1e-9)
    assert found.row("run", 3, reranked=True).mrr.mean > found.row("run", 3, reranked=False).mrr.mean
    assert "1 of the 4 queries are not in the run: they count as 0." in found.notes
    assert "3 of the 9 documents of the run are not in the index: they are left out." in found.notes
    both = passages.evaluate(QUERIES, QRELS, run=tmp_path / "bm25.run", first_stages=["text"], **OPTIONS)
    assert {row.first_stage for row in both.rows} == {"run", "text"}


def test_known_items(passages):
    """Without judgements: queries of words of a chunk, the same for the same seed, and a word on what they show."""
    found = passages.evaluate(synthetic=6, first_stages=["text"], top_k=[5], resamples=50)
    queries = passages.execute("SELECT query_id, text FROM evaluation_queries ORDER BY query_id").fetchall()
    assert len(queries) == found.queries == 6
    for chunk, query in queries:
        ((text,),) = passages.execute("SELECT text FROM chunks WHERE id = ?", (int(chunk),)).fetchall()
        assert set(query.split()) <= set(text.casefold().replace(".", " ").replace(",", " ").replace("-", " ").split())
        assert 4 <= len(query.split()) <= 7
    assert found.row("text", 5, reranked=False).recall_top_k.mean == 1.0
    assert any("cannot show how questions in other words are answered" in note for note in found.notes)
    passages.evaluate(synthetic=6, first_stages=["text"], top_k=[5], resamples=50)
    assert passages.execute("SELECT query_id, text FROM evaluation_queries ORDER BY query_id").fetchall() == queries
    passages.evaluate(synthetic=6, first_stages=["text"], top_k=[5], resamples=50, seed=1)
    assert passages.execute("SELECT query_id, text FROM evaluation_queries ORDER BY query_id").fetchall() != queries
    more = passages.evaluate(synthetic=1_000, first_stages=["text"], top_k=[1], resamples=50)
    assert more.queries <= 25
    assert any(f"chunks for {more.queries} such queries only" in note for note in more.notes)


def test_progress(passages):
    """Each query and each measurement is reported, to the end."""
    steps = []
    passages.evaluate(QUERIES, QRELS, first_stages=["text"], progress=steps.append, **OPTIONS)
    assert [step.done for step in steps] == [0, 1, 2, 3, 4, 5, 6, 7]
    assert {step.total for step in steps} == {7}
    assert steps[0].what == "query 1 of 4"


WRONG = {
    "no query is judged": (({"x": "?"}, QRELS), {}, r"no query has judgements: the queries are 'x', the qrels are of"),
    "only queries": ((QUERIES, None), {}, r"queries and qrels go together"),
    "no document known": (
        (QUERIES, {"q1": {"d1": 1, "d2": 1}}),
        {},
        r"no judged document is in index 'chunks': the qrels name 'd1', 'd2', its documents are .*document_id",
    ),
    "an unknown column": ((QUERIES, QRELS), {"document_id": "nope"}, r"document_id 'nope' cannot be used: .*nope"),
    "no top_k": ((QUERIES, QRELS), {"top_k": []}, r"top_k is empty"),
    "top_k of 0": ((QUERIES, QRELS), {"top_k": [0]}, r"evaluate\(\): top_k is 0: it takes a whole number from 1"),
    "most of none": ((QUERIES, QRELS), {"most": 0}, r"evaluate\(\): most is 0"),
    "no resample": ((QUERIES, QRELS), {"resamples": 0}, r"evaluate\(\): resamples is 0"),
    "both kinds": ((QUERIES, QRELS), {"synthetic": 5}, r"synthetic makes its own queries"),
    "a seed": ((QUERIES, QRELS), {"seed": -1}, r"evaluate\(\): seed is -1: it takes a whole number from 0"),
    "ids of documents that nobody judged": (
        (),
        {"synthetic": 5, "document_id": "title"},
        r"synthetic .* judges its own chunks: leave document_id out",
    ),
    "no item": ((), {"synthetic": 0, "document_id": None}, r"evaluate\(\): synthetic is 0"),
    "a first stage": ((QUERIES, QRELS), {"first_stages": ["bm25"]}, r"first_stages is \['bm25'\]: it takes some of"),
    "another's run": ((QUERIES, QRELS), {"run": {"z": {"d": 1.0}}}, r"the run has none of the queries: it is of 'z'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input(passages, name):
    """One line that says what does not fit, with examples of both sides."""
    given, options, message = WRONG[name]
    with pytest.raises(InputError, match=message) as raised:
        passages.evaluate(*given, **({"document_id": "title"} if name != "no document known" else {}) | options)
    assert "\n" not in str(raised.value)


def test_nothing_to_evaluate(fresh):
    """A database without an index, and one whose index is empty."""
    with pytest.raises(UnknownIndexError):
        fresh.evaluate(synthetic=5)


def test_chunks_too_short_for_queries(fresh, tmp_path):
    """Known items need words."""
    (tmp_path / "short.txt").write_text("Too short.", encoding="utf-8")
    fresh.ingest(tmp_path / "short.txt")
    with pytest.raises(InputError, match=r"has no chunk of 12 different words"):
        fresh.evaluate(synthetic=5)


def test_plots(evaluations, tmp_path):
    """Two PNG files, in a folder that is made."""
    drawn = plots.draw_plots(evaluations["sqlite"], tmp_path / "new" / "folder")
    assert [path.rpartition("/")[2] for path in drawn] == ["quality.png", "context.png"]
    for path in drawn:
        with open(path, "rb") as file:
            assert file.read(8) == b"\x89PNG\r\n\x1a\n"


def test_plots_without_matplotlib(monkeypatch, tmp_path):
    """The error names the extra."""
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match=r'plots need matplotlib: pip install "sqlrag\[eval\]"'):
        plots.check_plots(tmp_path)
