"""A database offered to strangers: what their SQL may do, for how long, and how much it may answer."""

from __future__ import annotations

import contextlib
import hashlib
import time
from pathlib import Path

import duckdb
import pytest

import sqlrag
from sqlrag.errors import Error, InputError, ReadOnlyError, RerankLimitError, SQLError, TimeLimitError
from sqlrag.serve.untrusted import BYTES, PAIRS, ROWS, open_limited
from tests.conftest import PASSAGES, database_path

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "

# DuckDB 1.5 makes all rows of a recursion before it gives the first.
MANY = {"sqlite": f"{ENDLESS} SELECT i FROM n", "duckdb": "SELECT i FROM range(100000000) AS n(i)"}

# `{folder}` is one that the test can write; `secret.csv` lies there, and `other`, a database of the same engine.
FORBIDDEN = {
    "sqlite": [
        "ATTACH '{folder}/new.db' AS new",
        "ATTACH '{folder}/other' AS other",
        "VACUUM INTO '{folder}/new.db'",
        "VACUUM",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA query_only = 0",
        "PRAGMA user_version = 7",
        "PRAGMA writable_schema = 1",
        "PRAGMA temp_store_directory = '{folder}'",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "PRAGMA cache_size = 1000000",
        "SELECT * FROM pragma_journal_mode",
        "SELECT load_extension('{folder}/evil')",
        "SELECT fts3_tokenizer('simple')",
        "INSERT INTO chunks_fts (chunks_fts) VALUES ('delete-all')",
        "CREATE VIRTUAL TABLE v USING fts5(x)",
        "REINDEX",
        "ANALYZE",
        "SAVEPOINT s",
        "DETACH main",
    ],
    "duckdb": [
        "ATTACH '{folder}/new.duckdb' AS new",
        "ATTACH '{folder}/other' AS other (READ_ONLY)",
        "ATTACH ':memory:' AS m",
        "COPY (SELECT 1) TO '{folder}/out.csv'",
        "COPY chunks FROM '{folder}/secret.csv'",
        "EXPORT DATABASE '{folder}/exported'",
        "IMPORT DATABASE '{folder}'",
        "SELECT * FROM read_csv('{folder}/secret.csv')",
        "SELECT * FROM '{folder}/secret.csv'",
        "SELECT * FROM read_text('{folder}/secret.csv')",
        "SELECT * FROM read_blob('/etc/passwd')",
        "SELECT * FROM read_parquet('https://example.com/x.parquet')",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM sqlite_scan('{folder}/other', 'documents')",
        "SELECT * FROM enable_logging(storage_path := '{folder}/log')",
        "SELECT * FROM query('SELECT * FROM enable_logging()')",
        "DESCRIBE SELECT * FROM Enable_Logging()",
        "SELECT (SELECT count(*) FROM system.main.enable_profiling())",
        "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
        "SELECT * FROM checkpoint()",
        "SELECT * FROM pandas_scan(1)",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET memory_limit = '100GB'",
        "RESET memory_limit",
        "SET VARIABLE x = 1",
        "PRAGMA enable_profiling",
        "PREPARE p AS SELECT 1",
        "CALL force_checkpoint()",
        "CREATE SECRET s (TYPE s3)",
        "EXPLAIN ANALYZE CREATE TEMP TABLE t AS SELECT 1",
        "SELECT * FROM database",  # a variable of this test, not a table
    ],
}
FORBIDDEN_ON_BOTH = [
    "INSERT INTO documents (index_name, uri, text) VALUES ('chunks', 'x', 'x')",
    "UPDATE sqlrag_indexes SET embedder = 'another'",
    "DELETE FROM sqlrag_meta",
    "DROP TABLE chunks",
    "ALTER TABLE chunks ADD COLUMN x INTEGER",
    "CREATE TABLE t (x INTEGER)",
    "CREATE TEMP TABLE t AS SELECT 1 AS x",
    "CREATE TEMP VIEW v AS SELECT 1 AS x",
    "CREATE INDEX i ON documents (title)",
    "SELECT 1; DELETE FROM documents",
    "BEGIN",
    "SELECT embed('x', '{folder}')",
    "SELECT sqlrag_sync('chunks')",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, passage_files):
    """A folder with a file and a database that nobody may read."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "secret.csv").write_text("word\nxyzzy\n")
    (folder / "other").write_bytes(passage_files["sqlite"].read_bytes())
    return folder


@pytest.fixture(scope="module")
def opened(passage_files):
    """The passages on each engine, guarded; whatever one test asks for, the next one is answered as ever."""
    with contextlib.ExitStack() as stack:
        both = {
            name: stack.enter_context(contextlib.closing(open_limited(str(path), seconds=2)))
            for name, path in passage_files.items()
        }
        for one in both.values():
            one.run(lambda database: database.search("bees"), seconds=60)  # the models are loaded now
        yield both


@pytest.fixture
def guarded(engine, opened):
    """The passages on one engine, guarded."""
    return opened[engine]


def fingerprint(folder: Path) -> dict[str, str]:
    """Return what stands in every file of a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith("-shm")
    }


@pytest.mark.parametrize(
    ("engine", "sql"),
    [(engine, sql) for engine, own in FORBIDDEN.items() for sql in own + FORBIDDEN_ON_BOTH],
)
def test_nothing_but_reading(guarded, folder, passage_files, engine, sql):
    """What writes, or reaches outside, is refused with one of our errors, and no file is made, changed or shown."""
    before = fingerprint(folder), fingerprint(passage_files[engine].parent)
    database = "a variable of this program"  # noqa: F841 - see the last statement for DuckDB
    with pytest.raises(Error) as caught:
        guarded.rows(sql.format(folder=folder))
    assert not isinstance(caught.value, TimeLimitError)
    assert "xyzzy" not in str(caught.value)
    assert (fingerprint(folder), fingerprint(passage_files[engine].parent)) == before
    assert guarded.rows("SELECT count(*) AS n FROM documents").rows == [{"n": 25}]


def test_the_error_says_what_is_not_allowed(guarded, engine):
    """Whoever wrote the statement learns which part of it was refused."""
    with pytest.raises(ReadOnlyError, match=r"^DELETE.* is not allowed: this database is only read here, with SELECT$"):
        guarded.rows("DELETE FROM documents")


def test_reading_works(guarded, engine):
    """The documented statement, full text, the views of the schema: all that only reads."""
    two_stages = """
        SELECT c.id, rerank_score('why do bees dance?', c.text) AS score
        FROM vector_top_k('chunks', embed('why do bees dance?'), 25) AS hit JOIN chunks AS c ON c.id = hit.id
        ORDER BY score DESC LIMIT 3
    """
    assert len(guarded.rows(two_stages).rows) == 3
    for function in ("vector_top_k", "text_top_k", "hybrid_top_k"):
        assert guarded.rows(f"SELECT * FROM {function}('chunks', 'honeybee dances', 2, 'title LIKE ''B%''')").rows
    assert guarded.rows("SELECT * FROM sqlrag_info()").rows[0]["index"] == "chunks"
    columns = "pragma_table_info('chunks')" if engine == "sqlite" else "(DESCRIBE chunks)"
    assert len(guarded.rows(f"SELECT * FROM {columns}").rows) == {"sqlite": 9, "duckdb": 8}[engine]
    assert guarded.rows("SELECT :a AS a, :b AS b", {"a": 1, "b": "ß🐝"}).rows == [{"a": 1, "b": "ß🐝"}]


DEEP = {
    "with": "WITH a AS (" * 6 + "SELECT 1 +" + ") SELECT 1" * 6,
    "brackets": "SELECT " + "(" * 101,
    "operators": "SELECT " + "- " * 101 + "1",
    "names": "SELECT a" + ".a" * 101,
    "unions": "SELECT 1" + " UNION ALL SELECT 1" * 501,
    "statements": "SELECT 1;" * 1_001,
    "characters": f"SELECT '{'x' * 250_000}'",
}


@pytest.mark.parametrize("sql", DEEP.values(), ids=DEEP)
def test_x7_duckdb_s_parser_is_given_no_depths(opened, sql):
    """Nothing can stop it: ten WITH inside of one another, and an error, take 3 GB."""
    with pytest.raises(SQLError, match=r"^(the statement (is nested too deeply|has)|there are more than 1,000)"):
        opened["duckdb"].rows(sql)
    assert opened["duckdb"].rows("SELECT 1 AS x").rows == [{"x": 1}]


def test_x7_what_is_long_and_flat_is_no_depth(opened):
    """Brackets in texts, names and comments are none; lists may be long."""
    texts = "'" + "(" * 200 + "' AS a, $$" + "[" * 200 + '$$ AS b, 1 AS "' + "(" * 200 + '"'
    assert opened["duckdb"].rows(f"SELECT {texts} /* {'(' * 200} */ -- {'(' * 200}").rows
    numbers = ", ".join(map(str, range(2_000)))
    assert opened["duckdb"].rows(f"SELECT count(*) AS n FROM chunks WHERE id IN ({numbers})").rows == [{"n": 25}]
    ctes = ", ".join(f"a{number} AS (SELECT {number} AS x)" for number in range(100))
    assert opened["duckdb"].rows(f"WITH {ctes} SELECT x FROM a7").rows == [{"x": 7}]


def test_a_writable_database_is_not_confined(fresh):
    """What another part of the program writes would be refused too, so it is said at once."""
    with pytest.raises(InputError, match="read_only=True"):
        fresh.confine()


@pytest.mark.parametrize(
    "sql",
    [
        f"{ENDLESS} SELECT count(*) FROM n",
        f"{ENDLESS} SELECT i FROM n WHERE i < 0",
        "SELECT count(*) FROM " + ", ".join(f"documents AS d{i}" for i in range(9)),
    ],
    ids=["recursion", "recursion without rows", "product"],
)
def test_an_endless_statement_is_stopped(guarded, sql):
    """It ends at the time limit, says so, and the next question is answered as ever."""
    started = time.monotonic()
    with pytest.raises(TimeLimitError, match=r"^stopped after 2 s: "):
        guarded.rows(sql)
    assert time.monotonic() - started < 20
    assert guarded.run(lambda database: database.search("bees"), seconds=60)


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT length(hex(zeroblob(9000000)))", "too big"),
        ("SELECT hex(zeroblob(500000)) LIKE '%' || hex(zeroblob(10000)) || '1'", "pattern too complex"),
        ("SELECT hex(zeroblob(500000)) GLOB '*' || hex(zeroblob(10000)) || '1'", "pattern too complex"),
        (f"SELECT 1 {'+ 1 ' * 2000}", "too large"),
        (f"SELECT 1 {'UNION ALL SELECT 1 ' * 2000}", "too many terms"),
    ],
    ids=["text", "LIKE", "GLOB", "expression", "UNION"],
)
def test_x3_what_sqlite_would_take_minutes_for_is_refused(opened, sql, said):
    """No interrupt ends one of its functions, so their arguments are limited; an honest text is not."""
    with pytest.raises(SQLError, match=said):
        opened["sqlite"].rows(sql)
    honest = "SELECT length(hex(zeroblob(5000000))) AS n, 'abc' LIKE '%b%' AS found"
    assert opened["sqlite"].rows(honest).rows == [{"n": 10_000_000, "found": 1}]


def test_a_slow_filter_is_stopped(engine, tmp_path):
    """The statements that a table function runs by itself end at the time limit too."""
    path = database_path(tmp_path, engine)
    rows = "FROM range(1000000) AS n(i)" if engine == "duckdb" else "FROM n LIMIT 1000000"
    with sqlrag.connect(path) as db:
        db.ingest(PASSAGES)
        db.execute(
            ("" if engine == "duckdb" else ENDLESS)
            + "INSERT INTO documents (id, index_name, uri, metadata, content_hash, text) "
            + f"SELECT 1000 + i, 'chunks', 'row ' || i, '{{}}', 'x', 'x' {rows}"
        )
    slow = {
        "duckdb": "length(replace(repeat(uri, 5000), 'r', 'ab')) > 0",
        "sqlite": "length(replace(hex(zeroblob(9000 + id)), '0', 'ab')) > 0",
    }
    guarded = open_limited(str(path))
    guarded.run(lambda database: database.search("bees"), seconds=60)  # the models are loaded now
    started = time.monotonic()
    # DuckDB 2 looks at the rows alone that chunks come from, 1.5 at a million.
    hits = []
    with contextlib.suppress(TimeLimitError):
        hits = guarded.run(lambda database: database.search("bees", filter=slow[engine]), seconds=1)
    assert bool(hits) == (engine == "duckdb" and int(duckdb.__version__.split(".")[0]) >= 2)
    assert time.monotonic() - started < 20
    guarded.close()


def test_a_huge_answer_is_cut(guarded):
    """Too many rows, or too large ones, are cut with a note; what is left of them holds nothing up."""
    many = guarded.rows(MANY[guarded_engine(guarded)])
    assert (len(many.rows), many.note) == (ROWS, f"cut after {ROWS:,} rows: there are more")
    large = guarded.rows("SELECT a.text || b.text AS x FROM documents AS a, documents AS b, documents AS c")
    assert 0 < len(large.rows) < ROWS
    assert f"{BYTES:,} bytes" in large.note
    one = guarded.rows("SELECT replace(hex('0123456789'), '3', (SELECT text FROM documents LIMIT 1)) AS x")
    assert one.note is None
    giant = (
        guarded.rows("SELECT replace(rpad('', 300000, 'x'), 'x', 'yy') AS x")
        if guarded_engine(guarded) == "duckdb"
        else (guarded.rows("SELECT hex(zeroblob(300000)) AS x"))
    )
    assert (giant.rows, giant.note[:16]) == ([], "nothing is shown")
    assert guarded.rows("SELECT 1 AS x").rows == [{"x": 1}]


def guarded_engine(guarded) -> str:
    """Return the engine of a guarded database."""
    return guarded.run(lambda database: database.engine)


def test_a_text_cannot_fill_the_memory(guarded):
    """A text of gigabytes is refused, or not shown."""
    sql = (
        "SELECT repeat('x', 8000000000) AS x"
        if guarded_engine(guarded) == "duckdb"
        else "SELECT zeroblob(900000000) AS x"
    )
    with pytest.raises((SQLError, TimeLimitError)):
        guarded.rows(sql)


def test_texts_for_the_functions_are_limited(guarded):
    """No function can be stopped in the middle, so none is given a megabyte."""
    long = (
        "SELECT rpad('x', 100001, 'y') AS t"
        if guarded_engine(guarded) == "duckdb"
        else ("SELECT substr(hex(zeroblob(60000)), 1, 100001) AS t")
    )
    for call in ("embed(t)", "embed_document(t)", "token_count(t)", "rerank_score('x', t)", "rerank_score(t, 'x')"):
        with pytest.raises(InputError, match=r"has 100,001 characters: here it takes 100,000 at most"):
            guarded.rows(f"SELECT {call} FROM ({long}) AS long")
    with pytest.raises(InputError, match=r"chunk_text\(\): text has 100,001 characters"):
        guarded.rows(f"SELECT c.ordinal FROM ({long}) AS long, chunk_text(long.t) AS c")


def test_what_is_no_statement(guarded):
    """Nothing, a comment and what is not Unicode end as everywhere."""
    for nothing in ("", ";", "-- nothing"):
        assert guarded.rows(nothing).rows == []
    with pytest.raises(InputError, match="surrogate"):
        guarded.rows("SELECT '\ud800' AS x")
    for cut in ("\0", "SELECT 1 AS x\0; DROP TABLE documents"):  # DuckDB 1.5 would run what stands before it
        with pytest.raises(SQLError, match="NUL character"):
            guarded.rows(cut)


def test_pairs_are_limited(engine, passage_files, monkeypatch):
    """A forgotten LIMIT does not keep both cores for minutes."""
    assert PAIRS == 1_000
    monkeypatch.setattr("sqlrag.serve.untrusted.PAIRS", 50)
    sql = "SELECT sum(rerank_score(a.id || ' ' || b.id || ' ' || c.id, 'x')) FROM documents a, documents b, documents c"
    with (
        contextlib.closing(
            open_limited(str(passage_files[engine]), models={"reranker": "reranker-v1-small"})
        ) as guarded,
        pytest.raises(RerankLimitError, match="rerank_limit = 50 pairs"),
    ):
        guarded.run(lambda database: database.execute(sql).fetchall(), seconds=120)


def test_values_are_json(guarded):
    """Vectors, NaN, numbers and dates arrive as JSON has them; equal column names are kept apart."""
    row = guarded.rows("SELECT embed('x') AS v, NULL AS n, 1 AS x, 2.5 AS x").rows[0]
    assert (row["n"], row["x"], row["x_2"]) == (
        None,
        1,
        pytest.approx(2.5) if guarded_engine(guarded) == "sqlite" else "2.5",
    )
    vector = row["v"]
    assert len(vector) == 384 if isinstance(vector, list) else vector["$base64"]


def test_another_connection_writes_meanwhile(tmp_path):
    """On SQLite a guarded database keeps no writer out; what is written is found. (DuckDB lets no other process in.)"""
    path = tmp_path / "a.db"
    with sqlrag.connect(path) as db:
        db.ingest(PASSAGES)
        guarded = open_limited(str(path))
        assert len(guarded.rows(f"{ENDLESS} SELECT i FROM n").rows) == ROWS  # cut in the middle
        (tmp_path / "new.md").write_text("Zebras have stripes against flies.")
        db.ingest(tmp_path / "new.md")
        assert guarded.rows("SELECT count(*) AS n FROM documents").rows == [{"n": 26}]
        ((busy, _, _),) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        assert busy == 0
        guarded.close()


def test_several_confined_connections(engine, passage_files):
    """A process may confine as many connections to a file as it likes; each sees no variable of the program."""
    outside = [1]
    sql = "SELECT id FROM search('chunks', 'why do bees dance?', 5, 1)"
    with contextlib.ExitStack() as stack:
        guarded = [stack.enter_context(contextlib.closing(open_limited(str(passage_files[engine])))) for _ in range(3)]
        assert len({one.rows(sql).rows[0]["id"] for one in guarded}) == 1
        for one in guarded:
            with pytest.raises(SQLError, match="outside"):
                one.rows("SELECT * FROM outside")
            if engine == "duckdb":  # it would stand between an agent's messages
                drawn = one.rows("SELECT current_setting('enable_progress_bar') AS drawn").rows
                assert drawn == [{"drawn": False}]
        guarded[0].close()
        assert guarded[1].rows(sql).rows
    assert outside


def test_a_statement_is_described_without_running_it(engine, passage_files):
    """Names and types of the columns are known before: of one that would take for ever, too."""
    endless = f"{ENDLESS} SELECT c.id, c.text, i AS number FROM chunks AS c, n WHERE c.id = :id"
    with sqlrag.connect(passage_files[engine], read_only=True) as db:
        types = {"sqlite": ["INTEGER", "TEXT", None], "duckdb": ["BIGINT", "VARCHAR", "INTEGER"]}[engine]
        assert db.describe(endless, {"id": 1}) == list(zip(["id", "text", "number"], types, strict=True))
        assert db.execute("SELECT id, text FROM chunks").types == types[:2]
        db.confine()
        with pytest.raises(ReadOnlyError):
            db.describe("DELETE FROM chunks")


def test_a_statement_that_has_passed_is_not_parsed_again(passage_files):
    """DuckDB's parser leaves memory behind; one that is refused is refused each time."""
    with sqlrag.connect(passage_files["duckdb"], read_only=True) as db:
        db.confine()
        confinement = db._engine._confinement
        looked = []
        look = confinement._look_through
        confinement._look_through = lambda sql: (looked.append(sql), look(sql))
        for _ in range(3):
            assert db.execute("SELECT count(*) FROM chunks").fetchall() == [(25,)]
            with pytest.raises(ReadOnlyError):
                db.execute("DROP TABLE chunks")
        assert [sql.split()[0] for sql in looked] == ["SELECT", "DROP", "DROP", "DROP"]
