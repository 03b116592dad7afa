"""`sqlrag eval`: judged questions to a database of files."""

from __future__ import annotations

import json
import re

import pytest

QUERIES = {
    "1": "how long does a piece of code take?",
    "2": "the middle value of some numbers",
    "3": "send a mail",
    "4": "remove the indentation that all lines share",
}
QRELS = {"1": "timeit.timeit", "2": "statistics.median", "3": "smtplib.SMTP.sendmail", "4": "textwrap.dedent"}


@pytest.fixture
def judged(tmp_path, folder):
    """Options that name the files of a few judged questions; a file's path is a document's id."""
    (tmp_path / "topics.tsv").write_text("".join(f"{id_}\t{text}\n" for id_, text in QUERIES.items()))
    lines = [f"{query} 0 {folder}/{title}.txt 1\n" for query, title in QRELS.items()]
    (tmp_path / "qrels.txt").write_text("".join(lines))
    return ["--queries", tmp_path / "topics.tsv", "--qrels", tmp_path / "qrels.txt", "--top-k", "5,10"]


def test_the_table_and_the_verdict(run, db, judged):
    """Every first stage at every top_k, without and with reranking; then words; nothing is drawn when piped."""
    result = run("eval", db, *judged)
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert re.match(r"first stage +top_k +nDCG@10 +MRR@10 +recall@10 +recall@top_k +ms/query$", lines[0])
    stages = re.findall(r"^(\w+(?: \+ rerank)?) +(\d+) +\d\.\d{3} \[", result.stdout, re.MULTILINE)
    names = [
        (f"{name}{reranked}", k)
        for name in ("vector", "text", "hybrid")
        for k in ("5", "10")
        for reranked in ("", " + rerank")
    ]
    assert stages == names
    assert len(re.findall(r"^ *gain +[+-]\d\.\d{3} \[", result.stdout, re.MULTILINE)) == 6
    assert re.search(r"^vector: (reranking pays|reranking hurts|with 4 queries no gain)", result.stdout, re.MULTILINE)
    assert "2,000 bootstrap resamples, seed 0" in result.stdout
    assert "█" not in result.stdout


def test_json(run_json, db, judged):
    """All of it for machines."""
    found = run_json("eval", db, *judged, "--first-stage", "text", "--most", "2", "--resamples", "100")
    assert (found["queries"], found["resamples"], found["judged_documents_found"]) == (2, 100, 2)
    assert [(row["first_stage"], row["top_k"], row["reranked"]) for row in found["rows"]] == [
        ("text", 5, False), ("text", 5, True), ("text", 10, False), ("text", 10, True),
    ]  # fmt: skip
    assert set(found["rows"][1]["ndcg_gain"]) == {"mean", "low", "high"}
    assert found["verdicts"][0]["first_stage"] == "text"
    assert {point["tokens"] for point in found["context"]} >= {250, 8000}


def test_without_judgements(run, db):
    """`--synthetic` makes its own queries, and says what that cannot show."""
    result = run("eval", db, "--synthetic", "4", "--top-k", "5", "--first-stage", "text")
    assert result.exit_code == 0, result.stderr
    assert "4 queries, 4 judged documents" in result.stdout
    assert "cannot show how questions in other words are answered" in result.stdout


def test_another_reranker(run_json, db, judged):
    """`--reranker` measures another model than the default."""
    options = [*judged, "--first-stage", "vector", "--most", "2"]
    other = run_json("eval", db, *options, "--reranker", "reranker-v1-small")
    assert other["reranker"].startswith("reranker-v1-small@")
    assert run_json("eval", db, *options)["reranker"].startswith("reranker-v1@")


def test_a_run(run, db, judged, tmp_path, folder):
    """`--run` reranks what another system found."""
    (tmp_path / "bm25.run").write_text(
        f"1 Q0 {folder}/csv.Sniffer.txt 1 9.5 bm25\n1 Q0 {folder}/timeit.timeit.txt 2 8 x\n"
    )
    result = run("eval", db, *judged, "--run", tmp_path / "bm25.run")
    assert result.exit_code == 0, result.stderr
    assert re.search(r"^run +5 ", result.stdout, re.MULTILINE)
    assert "3 of the 4 queries are not in the run: they count as 0." in result.stdout


def test_plots(run, db, judged, tmp_path):
    """`--plots` draws two files and names them beside the output."""
    result = run("eval", db, *judged, "--most", "2", "--plots", tmp_path / "plots")
    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == ["context.png", "quality.png"]
    assert result.stderr.count("drawn: ") == 2


def test_on_a_terminal(terminal, db, judged):
    """There both plots are drawn as bars."""
    status, shown = terminal("eval", db, *judged, "--most", "2")
    assert status == 0, shown
    assert "nDCG@10 against top_k, first stage → reranked" in shown
    assert re.search(r"Recall against context tokens, \w+ → reranked", shown)
    assert "█" in shown


def test_ctrl_c(run, db, judged, monkeypatch):
    """Interrupted while it scores: one line, and no traceback."""
    from sqlrag.models import Reranker

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Reranker, "scored", interrupted)
    result = run("eval", db, *judged)
    assert result.exit_code == 130
    assert result.stderr == "Interrupted: nothing was changed\n"


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        ([], 2, r"give --queries and --qrels, or --synthetic"),
        (["--queries", "q.tsv"], 2, r"give --queries and --qrels"),
        (["--synthetic", "5", "--queries", "q.tsv"], 2, r"--synthetic makes its own queries .* leave --queries out"),
        (["--synthetic", "--document-id", "uri"], 2, r"--synthetic .* judges its own chunks: leave --document-id out"),
        (["--synthetic", "5", "--reranker", "nope"], 1, r"'nope'.*reranker-v1"),
        (["--synthetic", "0"], 2, r"'--synthetic': 0 is not in the range"),
        (["--synthetic", "--top-k", "5;10"], 2, r"'5;10' is not a list of whole numbers from 1, such as 10,25,100"),
        (["--synthetic", "--top-k", "0"], 2, r"'0' is not a list"),
        (["--synthetic", "--index", "nope"], 1, r"no index 'nope'"),
        (["--queries", "nope.tsv", "--qrels", "bad.tsv"], 1, r"nope\.tsv cannot be read: No such file"),
        (["--queries", "q.tsv", "--qrels", "bad.tsv"], 1, r"bad\.tsv, line 2: the grade is 'x'"),
        (
            ["--queries", "q.tsv", "--qrels", "other.tsv"],
            1,
            r"no judged document is in index 'chunks': .*'d9'.*--document-id",
        ),
        (["--synthetic", "--plots", "q.tsv"], 1, r"q\.tsv: File exists"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input(run, error_line, db, tmp_path, monkeypatch, args, status, message):  # noqa: PLR0917 - fixtures
    """One line that names what was wrong."""
    (tmp_path / "q.tsv").write_text("1\thow?\n")
    (tmp_path / "bad.tsv").write_text("1 0 d1 1\n1 0 d2 x\n")
    (tmp_path / "other.tsv").write_text("1\td9\t1\n")
    monkeypatch.chdir(tmp_path)
    result = run("eval", db, *args)
    assert result.exit_code == status
    assert re.search(message, error_line(result))
    assert result.stdout == ""


def test_the_database_is_not_changed(run, db, judged):
    """Nothing is written into the file."""
    with open(db, "rb") as file:
        before = file.read()
    assert run("eval", db, *judged, "--most", "1").exit_code == 0
    with open(db, "rb") as file:
        assert file.read() == before


def test_json_is_one_value(run, db, judged):
    """`--json` prints no notes beside it."""
    json.loads(run("eval", db, *judged, "--most", "1", "--json").stdout)
