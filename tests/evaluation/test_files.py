"""Reading queries, judgements and runs: both families of formats, plain and gzip, and what is wrong with them."""

from __future__ import annotations

import gzip

import pytest

import sqlrag
from sqlrag.errors import SourceError
from sqlrag.evaluation import load_qrels, load_queries, load_run, read_qrels, read_queries, read_run

QUERIES = {"q1": "what is 🐝?", "q 2": "two\u2003words"}


@pytest.fixture(params=["plain", "gzip"])
def write(request, tmp_path):
    """Write a text into a file, plain or gzip; its name says nothing of either."""

    def written(text: str | bytes, name: str = "file.txt"):
        data = text.encode() if isinstance(text, str) else text
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(data) if request.param == "gzip" else data)
        return path

    return written


@pytest.mark.parametrize(
    "text",
    [
        '{"_id": "q1", "text": "what is 🐝?"}\n\n{"_id": "q 2", "text": "two\\u2003words", "metadata": {}}\n',
        "q1\twhat is 🐝?\r\nq 2\ttwo\u2003words",
        "\ufeffq1\twhat is 🐝?\nq 2\ttwo\u2003words\nq1\twhat is 🐝?\n",
    ],
    ids=["BEIR", "TREC", "TREC with a mark, and a line twice"],
)
def test_queries(write, text):
    """Both formats give the text of each query, blanks and emoji kept."""
    assert read_queries(write(text)) == QUERIES


@pytest.mark.parametrize(
    "text",
    [
        "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td 2\t0\nq2\td1\t-1\n",
        "q1\td1\t2\nq1\td 2\t0\nq2\td1\t-1\n",
        "q1\t0\td1\t2\nq1\t0\td 2\t0\n\nq2\t0\td1\t-1",
    ],
    ids=["BEIR", "BEIR without header", "TREC"],
)
def test_qrels(write, text):
    """Both formats give the grades; an id may hold a blank where tabs separate."""
    assert read_qrels(write(text)) == {"q1": {"d1": 2, "d 2": 0}, "q2": {"d1": -1}}


def test_qrels_by_blanks(write):
    """TREC's own qrels are separated by blanks, as many as it likes."""
    assert read_qrels(write("1 0 LA01  1\n1 Q0   LA02 0\n")) == {"1": {"LA01": 1, "LA02": 0}}


def test_a_run_is_ordered_by_its_scores(write):
    """As trec_eval has it: the score ranks, equal ones by their rank, a repeated document counts once."""
    text = "q1 Q0 a 1 0.5 tag\nq1 Q0 b 2 9.5 tag\nq2 Q0 d 2 1 tag\nq2 Q0 c 1 1 tag\nq1 Q0 a 3 0.1 tag\n"
    run = read_run(write(text))
    assert run == {"q1": {"b": 9.5, "a": 0.5}, "q2": {"c": 1.0, "d": 1.0}}
    assert [list(documents) for documents in run.values()] == [["b", "a"], ["c", "d"]]


@pytest.mark.parametrize("text", ["q1\tx\t1\nq1\ty\t2\n", "q1 x 1 -3.5\nq1 y 2 -4\n"], ids=["three", "four"])
def test_runs_as_ms_marco_has_them(write, text):
    """`query document rank` and `query document rank score`."""
    assert list(read_run(write(text))["q1"]) == ["x", "y"]


def test_a_folder_is_beirs(write, tmp_path):
    """A folder stands for its queries and for the qrels of a split."""
    write('{"_id": "q1", "text": "t"}', "set/queries.jsonl")
    write("q1\td1\t1\n", "set/qrels/test.tsv")
    write("q1\td9\t1\n", "set/qrels/dev.tsv")
    assert read_queries(tmp_path / "set") == {"q1": "t"}
    assert read_qrels(tmp_path / "set") == {"q1": {"d1": 1}}
    assert read_qrels(tmp_path / "set" / "qrels", "dev") == {"q1": {"d9": 1}}
    with pytest.raises(SourceError, match=r"is a folder: there is no qrels/train\.tsv"):
        read_qrels(tmp_path / "set", "train")
    with pytest.raises(SourceError, match="is a folder: name the file"):
        read_run(tmp_path / "set")


WRONG = [
    (read_queries, "", r"file\.txt has no queries"),
    (read_queries, "q1\tok\nonly words\n", r"line 2: 'only words' is no query: it takes `id<TAB>text`"),
    (read_queries, '{"_id": "q1", "text": "t"}\n{"_id": \n', r"line 2: .* is no JSON"),
    (read_queries, '{"id": "q1", "text": "t"}\n', r"line 1: a query is .*this line has id, text"),
    (read_queries, "q1\tone\nq1\ttwo\n", r"line 2: query 'q1' has another text before"),
    (read_queries, b"q1\tZ\xfcrich\n", r"is no text in UTF-8"),
    (read_qrels, "", r"has no judgements"),
    (read_qrels, "query-id\tcorpus-id\tscore\n", r"has no judgements"),
    (read_qrels, "q1 d1\n", r"line 1: 'q1 d1' has 2 fields: qrels are"),
    (read_qrels, "q1 0 d1 1\nq1 0 d2 good\n", r"line 2: the grade is 'good': it is a whole number"),
    (read_qrels, "q1 0 d1 0.5\n", r"line 1: the grade is '0\.5'"),
    (read_qrels, "q1 0 d1 1\nq1 0 d1 2\n", r"line 2: document 'd1' has another grade for query 'q1' before"),
    (read_run, "", r"has no documents"),
    (read_run, "q1 Q0 d1 1 0.5\n", r"line 1: .* has 5 fields: a run is"),
    (read_run, "q1 Q0 d1 first 0.5 tag\n", r"line 1: rank is 'first' and score '0\.5': both are numbers"),
    (read_run, "q1 Q0 d1 1 nan tag\n", r"line 1: rank is '1' and score 'nan'"),
]


@pytest.mark.parametrize(("read", "text", "message"), WRONG)
def test_what_is_wrong_is_named_with_its_line(write, read, text, message):
    """One line: the file, the line's number, what stands there, what would be right."""
    with pytest.raises(SourceError, match=message) as raised:
        read(write(text))
    assert "\n" not in str(raised.value)


def test_files_that_cannot_be_read(tmp_path):
    """A missing file and half a gzip file."""
    with pytest.raises(SourceError, match=r"nope\.tsv cannot be read: No such file"):
        read_qrels(tmp_path / "nope.tsv")
    (tmp_path / "half.gz").write_bytes(gzip.compress(b"q1\td1\t1\n" * 1000)[:40])
    with pytest.raises(SourceError, match=r"half\.gz is damaged"):
        read_qrels(tmp_path / "half.gz")


def test_they_become_tables(fresh):
    """Queries, qrels and runs as temporary tables that SQL joins; loading again replaces them."""
    for _ in range(2):
        load_queries(fresh, {"q1": 'say "🐝"', "q2": "it's"})
        load_qrels(fresh, {"q1": {"d1": 2, "d2": 0}, "q2": {"d1": 1}})
        load_run(fresh, {"q1": {"d2": 5.5, "d1": 0.25}}, "my run")
    rows = fresh.execute(
        """
        SELECT   text, qrels.document_id, relevance, rank, score
        FROM     queries JOIN qrels USING (query_id)
        LEFT JOIN "my run" AS run ON run.query_id = qrels.query_id AND run.document_id = qrels.document_id
        ORDER BY qrels.query_id, qrels.document_id
        """
    ).fetchall()
    assert rows == [('say "🐝"', "d1", 2, 2, 0.25), ('say "🐝"', "d2", 0, 1, 5.5), ("it's", "d1", 1, None, None)]


def test_they_leave_the_file_alone(passage_files, engine):
    """A database that is open read-only takes them: nothing is written."""
    path = passage_files[engine]
    before = path.read_bytes()
    with sqlrag.connect(path, read_only=True) as db:
        load_qrels(db, {"q1": {"d1": 2}})
        assert db.execute("SELECT count(*) FROM qrels").fetchall() == [(1,)]
    assert path.read_bytes() == before
