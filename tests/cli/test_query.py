"""`sqlrag search`, `sqlrag compare` and `sqlrag context`."""

import dataclasses
import json
import re

import pytest

from sqlrag.results import Hit

QUESTION = "how long does a piece of code take?"


def test_search_finds_by_meaning(run, db):
    """The answer shares no word with the question; the text is there, with score, movement and origin."""
    result = run("search", db, QUESTION, "--top-n", "1")
    assert result.exit_code == 0, result.stderr
    first, *rest = result.stdout.splitlines()
    assert first.startswith("1. timeit")
    assert "score 0." in first
    assert "→ 1" in first or "= 1" in first
    assert rest[0].startswith("   ")


def test_search_json_has_the_fields_of_a_hit(run_json, db):
    """`--json` is a list of hits, each with the fields of `Hit`, best first."""
    hits = run_json("search", db, QUESTION, "--top-k", "20", "--top-n", "4")
    assert len(hits) == 4
    assert [list(hit) for hit in hits] == [[field.name for field in dataclasses.fields(Hit)]] * 4
    assert [hit["rank_after"] for hit in hits] == [1, 2, 3, 4]
    assert sorted((hit["score"] for hit in hits), reverse=True) == [hit["score"] for hit in hits]
    assert all(hit["uri"].endswith(".txt") for hit in hits)


def test_filter_is_applied_before_the_top_k(run_json, db):
    """Only documents that fulfil the condition come, as many as were asked for."""
    hits = run_json("search", db, QUESTION, "--filter", "uri LIKE '%statistics.%'", "--top-k", "5", "--top-n", "5")
    assert len(hits) == 5
    assert all("statistics." in hit["uri"] for hit in hits)


def test_a_budget_for_reranking(run, run_json, db):
    """With time enough it is a search as ever; what could not be scored says so; a budget that is none is refused."""
    hits = run_json("search", db, QUESTION)
    assert run_json("search", db, QUESTION, "--budget-ms", "60000.5") == hits
    assert [hit["reranked"] for hit in hits] == [25] * 3
    (hit,) = run_json("search", db, "a question without time", "--budget-ms", "0", "--top-n", "1")
    assert (hit["score"], hit["rank_before"], hit["reranked"]) == (None, 1, 0)
    first = run("search", db, "a question without time", "--budget-ms", "0").stdout.splitlines()[0]
    assert first.endswith("  not reranked  = 1")
    result = run("search", db, QUESTION, "--budget-ms", "-1")
    assert result.exit_code == 2
    assert "'--budget-ms'" in result.stderr


def test_compare_shows_movement(run, db):
    """Each of the top_n stands with its rank before and after; what it displaced is named."""
    result = run("compare", db, QUESTION)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("After reranking 25 of 25 candidates: the top 3")
    assert "Pushed out of the top 3:" in result.stdout or "Nothing was pushed out" in result.stdout


def test_compare_json_is_consistent(run_json, db):
    """`hits` are the top_n of the candidates; what was pushed out was there before and isn't after."""
    found = run_json("compare", db, QUESTION, "--top-k", "12", "--top-n", "2")
    assert list(found) == ["query", "top_k", "top_n", "hits", "pushed_out", "candidates"]
    assert (found["query"], found["top_k"], found["top_n"]) == (QUESTION, 12, 2)
    assert found["hits"] == found["candidates"][:2]
    assert sorted(hit["rank_before"] for hit in found["candidates"]) == list(range(1, 13))
    assert [hit["rank_after"] for hit in found["candidates"]] == list(range(1, 13))
    kept = [hit for hit in found["hits"] if hit["rank_before"] <= 2]
    assert len(kept) + len(found["pushed_out"]) == 2
    assert all(hit["rank_before"] <= 2 < hit["rank_after"] for hit in found["pushed_out"])


def test_search_and_sql_agree(run_json, db):
    """The command and the table function are the same search."""
    hits = run_json("search", db, QUESTION)
    rows = run_json("sql", db, "-p", f"q={QUESTION}", "SELECT id FROM search('chunks', :q) ORDER BY rank_after")
    assert [row["id"] for row in rows] == [hit["id"] for hit in hits]


def test_f19_a_filter_with_values(run, run_json, db):
    """`-p` gives the filter's parameters, of search and of compare; one without a value is named."""
    filter_ = ("--filter", "uri LIKE :pattern AND id > :least", "-p", "least=0")
    hits = run_json("search", db, QUESTION, *filter_, "-p", "pattern=%statistics.%", "--top-k", "5", "--top-n", "5")
    assert len(hits) == 5
    assert all("statistics." in hit["uri"] for hit in hits)
    found = run_json("compare", db, QUESTION, *filter_, "--param", "pattern=%statistics.%", "--top-k", "5")
    assert {hit["id"] for hit in found["candidates"]} == {hit["id"] for hit in hits}
    result = run("search", db, QUESTION, *filter_)
    assert result.exit_code == 1
    assert "no value was given for its parameter 'pattern'" in result.stderr


def test_context_for_a_prompt(run, run_json, db):
    """Passages for a model, within their tokens; `--json` is `--format json`; what fits nothing says so."""
    result = run("context", db, QUESTION, "--max-tokens", "300", "--order", "score")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("### [1] timeit")
    assert "### [2] " in result.stdout
    found = run_json("context", db, QUESTION, "--max-tokens", "300")
    assert found == json.loads(run("context", db, QUESTION, "--max-tokens", "300", "--format", "json").stdout)
    assert found["question"] == QUESTION
    assert [one["number"] for one in found["passages"]] == list(range(1, len(found["passages"]) + 1))
    nothing = run("context", db, QUESTION, "--max-tokens", "5")
    assert (nothing.stdout, nothing.stderr) == ("", "Note: nothing that was found fits into 5 tokens\n")
    assert run("context", db, QUESTION, "--max-tokens", "0").exit_code == 2


def test_compare_draws_the_movement_on_a_terminal(terminal, run, db):
    """Lines of box characters lead from each rank before to the rank after; a pipe gets none."""
    status, shown = terminal("compare", db, QUESTION, "--top-n", "2")
    assert status == 0
    plain = re.sub(r"\x1b\[[\d;]*m", "", shown)
    drawing = plain.split("the top 2")[1].split("\r\n\r\n")[1].splitlines()
    assert drawing[0].split()[-1] == re.search(r"^1\. (\S+)", plain, re.MULTILINE)[1]
    assert set("".join(drawing)) & set("─╮╰╯╭")
    assert not set(run("compare", db, QUESTION, "--top-n", "2").stdout) & set("─│╮╰╯╭┼⋮")


def test_words_of_the_question_are_marked_on_a_terminal(terminal, run, db):
    """What matches the question's words stands out, in any form of the word; a pipe gets plain text."""
    _, shown = terminal("search", db, "measuring the time", "--filter", "uri LIKE '%timeit%'", "--top-n", "1")
    marked = re.findall(r"\x1b\[1;33m(.*?)\x1b\[0m", shown)
    assert "time" in {word.lower().rstrip("s") for word in marked}
    assert "\x1b" not in run("search", db, "measuring the time", "--top-n", "1").stdout


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        (["--filter", "uri LIKE :x", "-p", "x=1"], "write the values of -p into --filter"),
        (["--first-stage-weight", "0"], "the page has no such setting"),
    ],
)
def test_open_goes_without_what_the_page_lacks(run, db, options, remedy):
    """It says so before it serves anything."""
    result = run("search", db, QUESTION, "--open", *options)
    assert result.exit_code == 2
    assert remedy in result.stderr
