"""`sqlrag sql`: parameters, scripts, formats."""

import csv
import io
import json

import duckdb
import pytest

from sqlrag.cli.statements import DIALECTS, parse_parameter, parse_value
from sqlrag.values.sql_lexer import split

STATEMENT = """
SELECT   c.id, c.text, rerank_score(:q, c.text) AS score
FROM     vector_top_k('chunks', embed(:q), 25) AS hit      -- stage 1: top_k
JOIN     chunks AS c ON c.id = hit.id
ORDER BY score DESC                                        -- stage 2: cross-encoder
LIMIT    3;                                                -- top_n
"""

VALUES = "SELECT 1 AS a, 'x|y' AS b, NULL AS c, 0.5 AS d"


def test_the_statement_runs(run_json, db):
    """The statement that all of this is about, with its question as a parameter."""
    rows = run_json("sql", db, STATEMENT, "-p", "q=how long does a piece of code take?")
    assert [list(row) for row in rows] == [["id", "text", "score"]] * 3
    assert rows[0]["text"].startswith("timeit")
    assert rows[0]["score"] >= rows[1]["score"] >= rows[2]["score"]


@pytest.mark.parametrize("comment", ["-- why", "--why", "-- a = b", "--why=so", "-- --json", "-- a\n\n-- b"])
def test_a_statement_that_begins_with_a_comment(run_json, db, comment):
    """It is no option, wherever it stands; options are options still."""
    statement = f"{comment}\nSELECT :a AS a"
    assert run_json("sql", db, statement, "-p", "a=-- 1") == [{"a": "-- 1"}]
    assert run_json("sql", "--param=a=x y", db, statement) == [{"a": "x y"}]


@pytest.mark.parametrize("option", ["--formta", "--formta=json", "--why"])
def test_an_option_that_is_none(run, db, option):
    """A slip of the pen is not taken for a comment."""
    result = run("sql", db, "SELECT 1", option)
    assert result.exit_code == 2
    assert f"No such option '{option.partition('=')[0]}'" in result.stderr


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("table", "a  b    c       d\n-  ---  ----  ---\n1  x|y  NULL  0.5\n"),
        ("json", '[{"a": 1, "b": "x|y", "c": null, "d": 0.5}]\n'),
        ("csv", "a,b,c,d\n1,x|y,,0.5\n"),
        ("markdown", "| a | b | c | d |\n| --- | --- | --- | --- |\n| 1 | x\\|y | NULL | 0.5 |\n"),
    ],
)
def test_formats(run, db, form, expected):
    """The same rows in each format, the same on both engines."""
    result = run("sql", db, VALUES.replace("0.5", "CAST(0.5 AS DOUBLE)"), "--format", form)
    assert result.exit_code == 0, result.stderr
    assert [line.rstrip() for line in result.stdout.splitlines()] == [line.rstrip() for line in expected.splitlines()]


def test_no_rows(run, db):
    """A result without rows is an empty list, a header, an empty table."""
    assert run("sql", db, "SELECT 1 AS a WHERE 1 = 0", "--json").stdout == "[]\n"
    assert run("sql", db, "SELECT 1 AS a WHERE 1 = 0", "--format", "csv").stdout == "a\n"


def test_columns_of_the_same_name(run_json, db):
    """Both values of a name that comes twice are in the JSON."""
    assert run_json("sql", db, "SELECT 1 AS a, 2 AS a") == [{"a": 1, "a_2": 2}]


def test_line_breaks_stay_in_csv_and_json(run, run_json, db):
    """Text with line breaks, quotes and commas comes back as it was."""
    sql = "SELECT text FROM chunks ORDER BY id LIMIT 20"
    texts = [row["text"] for row in run_json("sql", db, sql)]
    assert any("\n" in text for text in texts)
    rows = list(csv.reader(io.StringIO(run("sql", db, sql, "--format", "csv").stdout)))
    assert [row[0] for row in rows[1:]] == texts


def test_vectors_are_shortened_for_people_and_whole_for_machines(run, run_json, db):
    """A table shows the first numbers of an embedding; JSON has all of it."""
    table = run("sql", db, "SELECT embed('time') AS v").stdout
    assert "… 384 numbers]" in table
    assert len(table.splitlines()[2]) < 60
    (row,) = run_json("sql", db, "SELECT embed('time') AS v")
    size = len(row["v"]) if isinstance(row["v"], list) else len(row["v"]["encoded"]) * 3 // 4 // 4
    assert size == 384


def test_a_file_runs_in_order(run, tmp_path):
    """The statements of a file run one after the other; those with rows print them; semicolons in strings and
    triggers do not split."""
    script = tmp_path / "script.sql"
    script.write_text(
        "CREATE TABLE t(x); -- a; b\n"
        "CREATE TRIGGER after_t AFTER INSERT ON t BEGIN DELETE FROM t WHERE x = 'gone'; SELECT 1; END;\n"
        "INSERT INTO t VALUES ('a;b'), (:two), ('gone');\n/* ; */ SELECT x FROM t ORDER BY x;\n"
        "SELECT count(*) AS n FROM t\n-- the end"
    )
    result = run("sql", ":memory:", "-f", script, "-p", "two=zwei", "--json")
    assert result.exit_code == 0, result.stderr
    decoder, text, found = json.JSONDecoder(), result.stdout, []
    while text:
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:].lstrip()
    assert found == [[{"x": "a;b"}, {"x": "zwei"}], [{"n": 2}]]


def test_a_script_is_split_as_its_engine_splits_it(run, tmp_path):
    """DuckDB has strings in dollar quotes and with backslashes, and comments in comments."""
    script = "SELECT $$a;b$$ AS x; SELECT E'\\';' AS y /* /* ; */ ; */; SELECT `1;` FROM (SELECT 1 AS \"1;\")"
    script = script if duckdb.__version__ >= "2" else script.partition("; SELECT `")[0]
    result = run("sql", tmp_path / "new.duckdb", "--format", "csv", input=script)
    assert result.exit_code == 2  # the database is to be there
    duckdb.connect(tmp_path / "new.duckdb").close()
    result = run("sql", tmp_path / "new.duckdb", "--format", "csv", input=script)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("x\na;b\ny\n';\n")


def test_stdin(run, db):
    """Without a statement they come from stdin."""
    assert run("sql", db, "--format", "csv", input="SELECT 1 AS a; SELECT 2 AS b;").stdout == "a\n1\nb\n2\n"


def test_what_is_written_stays(run, run_json, tmp_path):
    """A change made by one call is there in the next."""
    path = tmp_path / "own.db"
    import sqlrag

    sqlrag.connect(path).close()
    assert run("sql", path, "CREATE TABLE t(x); INSERT INTO t VALUES (1)").exit_code == 0
    assert run_json("sql", path, "SELECT x FROM t") == [{"x": 1}]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["SELEC 1"], "SELEC"),
        (["SELECT * FROM no_such_table"], "no_such_table"),
        (["SELECT :q"], "q"),
        (["SELECT 1", "-f", "-"], "not both"),
        (["/* nothing */ ;"], "there is no statement to run"),
        (["SELECT 1", "-p", "novalue"], "'novalue' is not NAME=VALUE"),
        (["SELECT 1", "-f", "no-such-file.sql"], "no-such-file.sql"),
        (["SELECT 1", "--format", "xml"], "'xml' is not one of"),
        (["SELECT * FROM vector_top_k('nope', 'q', 3)"], "nope"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_statements_are_one_line(run, error_line, db, args, message):
    """What is wrong with a statement or its options is said in one line."""
    result = run("sql", db, *args)
    assert result.exit_code in (1, 2)
    line = error_line(result)
    assert line.startswith("Error: ")
    assert message in line


def test_the_first_failure_ends_a_script(run, db):
    """Statements after the one that failed are not run."""
    result = run("sql", db, "SELECT 1 AS a; SELECT * FROM no_such_table; SELECT 2 AS b", "--format", "csv")
    assert result.exit_code == 1
    assert result.stdout == "a\n1\n"


def test_control_characters_cannot_drive_the_terminal(run, db):
    """An escape sequence in the data is not passed on by the formats for people."""
    result = run(
        "sql",
        db,
        "SELECT 'a' || chr(27) || '[31mb' AS x" if "duckdb" in db else "SELECT 'a' || char(27) || '[31mb' AS x",
    )
    assert "\x1b" not in result.stdout
    assert "a\N{REPLACEMENT CHARACTER}[31mb" in result.stdout


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("25", 25),
        ("-3", -3),
        ("0.5", 0.5),
        ("1e3", 1000.0),
        ("02139", "02139"),
        ("'25'", "25"),
        ("'it''s'", "it's"),
        ("NULL", None),
        ("null", "null"),
        ("why RLHF?", "why RLHF?"),
        ("a=b", "a=b"),
        ("", ""),
        ("1_000", "1_000"),
        ("inf", "inf"),
    ],
)
def test_values_of_parameters(text, value):
    """Numbers and NULL as in SQL, quotes for digits that are a text, anything else as it stands."""
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)
    assert parse_parameter(f"name={text}") == ("name", value)


@pytest.mark.parametrize(
    ("script", "statements"),
    [
        ("", []),
        (" ;; -- nothing\n /* at all; */ ;", []),
        ("SELECT 1", ["SELECT 1"]),
        ("SELECT 1; SELECT ';' ;", ["SELECT 1;", "SELECT ';' ;"]),
        ('SELECT ";" /* ; */; SELECT 2 -- ;', ['SELECT ";" /* ; */;', "SELECT 2 -- ;"]),
    ],
)
def test_splitting(script, statements):
    """Only a semicolon that ends a statement splits; what is only comments is no statement."""
    assert [split(script, dialect) for dialect in DIALECTS.values()] == [statements] * 2
