"""The statement, and the catalog, by the clients that people have: psql, psycopg, SQLAlchemy, pandas, a BI tool's."""

from __future__ import annotations

import struct

import numpy as np
import pandas as pd
import psycopg
import pytest
import sqlalchemy

import sqlrag
from tests.engine.test_conformance import DESIGN_STATEMENT
from tests.postgres.conftest import SECRET

STATEMENT = DESIGN_STATEMENT.replace(":q", "{q}")
QUESTION = "why do bees dance? 🐝"


@pytest.fixture
def expected(passage_files, engine):
    """What the statement gives in process."""
    with sqlrag.connect(passage_files[engine], read_only=True) as db:
        return db.execute(STATEMENT.format(q=":q"), {"q": QUESTION}).fetchall()


@pytest.fixture
def alchemy(served):
    """An engine of SQLAlchemy's."""
    engine = sqlalchemy.create_engine(served.url.replace("://sqlrag@", f"+psycopg://sqlrag:{SECRET}@"))
    yield engine
    engine.dispose()


def same(rows, expected):
    """The rows are those of the database; a FLOAT as text has nine digits."""
    rows = [tuple(row) for row in rows]
    assert [row[:2] for row in rows] == [row[:2] for row in expected]
    assert [row[2] for row in rows] == pytest.approx([row[2] for row in expected], rel=1e-6)


def test_psycopg(client, expected):
    """Named and positional parameters, in text and binary, prepared or not: the same rows."""
    named, numbered = STATEMENT.format(q="%(q)s"), STATEMENT.format(q="$1")
    same(client.execute(named, {"q": QUESTION}).fetchall(), expected)
    assert client.cursor(binary=True).execute(named, {"q": QUESTION}).fetchall() == expected
    for _ in range(3):
        same(client.execute(named, {"q": QUESTION}, prepare=True).fetchall(), expected)
    result = client.pgconn.exec_params(numbered.encode(), [QUESTION.encode()])
    assert [int(result.get_value(row, 0)) for row in range(3)] == [row[0] for row in expected]
    columns = client.execute(named, {"q": QUESTION}).description
    assert [column.name for column in columns] == ["id", "text", "score"]
    assert [column.type_code for column in columns] == [20, 25, 701 if expected_is_double(client) else 700]


def expected_is_double(client) -> bool:
    """Tell whether it is SQLite, whose one float is of eight bytes."""
    return "sqlite" in client.execute("SELECT version()").fetchone()[0]


def test_psql(served, psql, expected):
    """psql puts a variable into the statement as a literal."""
    lines = psql(served, "SELECT 1").splitlines()
    assert lines == ["1"]
    literal = "'" + QUESTION.replace("'", "''") + "'"
    out = psql(served, STATEMENT.format(q=literal))
    assert [int(line.split("|")[0]) for line in out.splitlines()] == [row[0] for row in expected]


def test_psql_describes(served, psql):
    """psql's commands about the catalog."""
    assert psql(served, r"\dt").splitlines() == ["main|chunks|table|sqlrag", "main|documents|table|sqlrag"]
    described = psql(served, r"\d chunks").splitlines()
    assert [line.split("|")[:2] for line in described[:3]] == [
        ["id", "bigint"],
        ["source_id", "bigint"],
        ["ordinal", "bigint"],
    ]
    assert '"chunks_pkey" PRIMARY KEY, btree (id)' in psql(served, r"\pset tuples_only off", r"\d chunks")
    assert psql(served, r"\l").startswith("passages|sqlrag|UTF8|")
    for command in (
        r"\d",
        r"\d+ documents",
        r"\dn",
        r"\dv",
        r"\di",
        r"\df",
        r"\du",
        r"\dT",
        r"\dx",
        r"\dp",
        r"\conninfo",
    ):
        psql(served, command)
    assert psql(served, "SHOW server_version", "SELECT current_schema()").splitlines()[1] == "main"


def test_sqlalchemy(alchemy, expected):
    """Text and expressions, and what its inspector tells."""
    with alchemy.connect() as connection:
        same(connection.execute(sqlalchemy.text(STATEMENT.format(q=":q")), {"q": QUESTION}).fetchall(), expected)
        chunks = sqlalchemy.Table("chunks", sqlalchemy.MetaData(), autoload_with=connection)
        assert list(chunks.primary_key.columns.keys()) == ["id"]
        wanted = sqlalchemy.select(chunks.c.id).where(chunks.c.text.like("%honeybee%"), chunks.c.id < 5).limit(5)
        assert connection.execute(wanted).fetchall() == [(1,)]
    inspector = sqlalchemy.inspect(alchemy)
    assert sorted(inspector.get_table_names()) == ["chunks", "documents"]
    columns = {column["name"]: str(column["type"]) for column in inspector.get_columns("documents")}
    assert (columns["id"], columns["title"]) == ("BIGINT", "TEXT")
    assert inspector.get_pk_constraint("chunks")["constrained_columns"] == ["id"]
    assert (inspector.get_foreign_keys("chunks"), inspector.get_indexes("chunks"), inspector.get_view_names()) == (
        [],
        [],
        [],
    )
    assert inspector.has_table("chunks")
    assert not inspector.has_table("nope")


def test_pandas(alchemy, expected):
    """A DataFrame of the statement, and one of a whole table."""
    frame = pd.read_sql(sqlalchemy.text(STATEMENT.format(q=":q")), alchemy, params={"q": QUESTION})
    assert list(frame.columns) == ["id", "text", "score"]
    same(frame.itertuples(index=False), expected)
    table = pd.read_sql_table("chunks", alchemy)
    assert len(table) == 25
    assert {"id", "source_id", "start_char", "end_char", "text", "token_count", "context"} <= {*table.columns}


def test_a_client_that_reads_the_catalog(client):
    """The questions of a BI tool: schemas, tables, columns, keys, by pg_catalog and by information_schema."""
    sql = """
        SELECT n.nspname, c.relname, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull
        FROM   pg_catalog.pg_attribute AS a
        JOIN   pg_catalog.pg_class AS c ON c.oid = a.attrelid
        JOIN   pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE  c.relkind IN ('r', 'v') AND n.nspname !~ '^pg_' AND a.attnum > 0 AND a.attrelid = %s::regclass
        ORDER BY a.attnum
    """
    rows = client.execute(sql, ("chunks",)).fetchall()
    assert [row[2] for row in rows[:2]] == ["id", "source_id"]
    assert {row[:2] for row in rows} == {("main", "chunks")}
    sql = (
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = %s ORDER BY ordinal_position"
    )
    assert client.execute(sql, ("chunks",)).fetchall()[0] == ("id", "bigint")
    assert client.execute("SELECT attname FROM pg_attribute WHERE attrelid = 'chunks'::regclass").fetchone() == ("id",)
    assert client.execute("SELECT typname FROM pg_type WHERE oid = 1021").fetchall() == [("_float4",)]
    assert client.execute("SELECT current_database(), 'information_schema.x'").fetchone()[0] == "passages"
    assert client.execute("SELECT count(*) FROM chunks WHERE text <> 'pg_catalog.pg_class'").fetchone() == (25,)


def test_embeddings(client, engine):
    """An embedding is float4[] on DuckDB, a bytea on SQLite; both take an array as a query."""
    for binary in (False, True):
        (vector,) = client.cursor(binary=binary).execute("SELECT embed(%s)", ("bees",)).fetchone()
        numbers = np.frombuffer(vector, "<f4").tolist() if engine == "sqlite" else vector
        assert len(numbers) == 384
        by_text = client.execute("SELECT id FROM vector_top_k('chunks', %s, 5)", ("bees",)).fetchall()
        assert client.execute("SELECT id FROM vector_top_k('chunks', %s, 5)", (list(numbers),)).fetchall() == by_text


def test_values(client, engine):
    """Values come back as they were sent, in text and in binary, and NULL as NULL."""
    values = [1, -(2**63), 2.5, "a\\b'\"üé😀", b"\0\xff\\x", None]
    places = ", ".join("%s" for _ in values)
    for binary in (False, True):
        row = client.cursor(binary=binary).execute(f"SELECT {places}", values).fetchone()
        assert list(row) == values
    sql = "SELECT 1.5 AS f, 7 AS i, 'x' AS t, CAST(NULL AS INTEGER) AS n"
    assert [float(client.execute(sql).fetchone()[0]), *client.execute(sql).fetchone()[1:]] == [1.5, 7, "x", None]


DUCKDB_VALUES = [
    "true", "7::TINYINT", "7::SMALLINT", "7", "7::BIGINT", "170141183460469231731687303715884105727::HUGEINT",
    "1.5::FLOAT", "'NaN'::DOUBLE", "'-Infinity'::DOUBLE", "0.1::FLOAT", "1234567.0089::DECIMAL(18,4)",
    "-0.00012::DECIMAL(9,5)",
    "0::DECIMAL(5,2)", "DATE '1999-12-31'", "TIMESTAMP '2024-02-29 12:34:56.789'", "TIME '23:59:59.5'",
    "INTERVAL '3 days 4 hours'", "'6f1c2c1e-3b0a-4a53-9a53-1234567890ab'::UUID", """'{"a": [1, null]}'::JSON""",
    "[1, NULL, 3]", "['a,b', NULL, '', 'NULL', '\"\\']", "[1.5, 2.5]::FLOAT[2]", "[]::INTEGER[]", "'\\xAA'::BLOB",
]  # fmt: skip


@pytest.mark.parametrize("expression", DUCKDB_VALUES)
def test_types_of_duckdb(servers, passage_files, expression):
    """Each type comes in text and binary as the value that it is in process."""
    with sqlrag.connect(passage_files["duckdb"], read_only=True) as db:
        ((value,),) = db.execute(f"SELECT {expression}").fetchall()
    expected = {"a": [1, None]} if "JSON" in expression else list(value) if isinstance(value, tuple) else value
    with servers["duckdb"].connect() as client:
        for binary in (False, True):
            ((got,),) = client.cursor(binary=binary).execute(f"SELECT {expression}").fetchall()
            assert repr(got) == repr(expected) or got == pytest.approx(expected, rel=1e-7), binary


def test_a_struct_is_json(servers):
    """What has parts comes as JSON."""
    with servers["duckdb"].connect() as client:
        assert client.execute("SELECT {'a': 1, 'b': [DATE '2024-01-02']}").fetchone() == (
            {"a": 1, "b": ["2024-01-02"]},
        )


def test_columns_of_sqlite_with_several_types(servers):
    """A column has the type of its values; a later one of another type is an error that says what to do."""
    with servers["sqlite"].connect() as client:
        values = "WITH v(x) AS (VALUES (NULL), (1), (2.5)) SELECT x FROM v"
        assert client.execute(values).fetchall() == [(None,), (1.0,), (2.5,)]
        assert client.execute("WITH v(x) AS (VALUES (1), ('a'), (2.5)) SELECT x FROM v").fetchall() == [
            ("1",),
            ("a",),
            ("2.5",),
        ]
        numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) "
        late = f"{numbers} SELECT iif(i < 200, i, 'z') AS x FROM n"
        with pytest.raises(psycopg.errors.DatatypeMismatch, match="column 'x' holds 'z', which is no int8"):
            client.execute(late)


def test_a_statement_described_before_it_is_bound(client, engine):
    """asyncpg's and JDBC's way: what a statement's parameters and columns are, before any value is known."""
    prepared = client.pgconn.prepare(b"s", b"SELECT id, text FROM chunks WHERE id = $1::bigint")
    assert prepared.error_message == b""
    described = client.pgconn.describe_prepared(b"s")
    assert [described.param_type(0), described.ftype(0), described.ftype(1)] == [20, 20, 25]
    result = client.pgconn.exec_prepared(b"s", [struct.pack("!q", 3)], param_formats=[1], result_format=1)
    assert struct.unpack("!q", result.get_value(0, 0)) == (3,)
    client.pgconn.prepare(b"t", STATEMENT.format(q="$1").encode())
    described = client.pgconn.describe_prepared(b"t")
    number = 701 if engine == "sqlite" else 700
    assert [described.ftype(column) for column in range(3)] == [20, 25, number]
    result = client.pgconn.exec_prepared(b"t", [QUESTION.encode()], result_format=1)
    (score,) = struct.unpack("!d" if engine == "sqlite" else "!f", result.get_value(0, 2))
    assert 0 < score < 1


def test_what_is_asked_of_the_catalog():
    """A statement goes to the catalog for the relations it names and the functions it calls, not for its own words."""
    from sqlrag.serve.postgres.catalog import RELATIONS
    from sqlrag.serve.postgres.statements import split

    for sql, expected in (
        ("SELECT relname FROM pg_class", True),
        ("SELECT 1 FROM information_schema.tables", True),
        ('SELECT 1 FROM "pg_catalog"."pg_type"', True),
        ("SELECT version()", True),
        ("SELECT current_user", True),
        ("SELECT embed('x') AS version", False),
        ("SELECT 'pg_class' -- pg_class", False),
        ("SELECT text AS pg_class_text FROM chunks", False),
    ):
        (statement,) = split(sql)
        assert statement.asks_catalog(RELATIONS) == expected, sql


def test_statements_are_split_where_they_end():
    """A semicolon in a text, a name or a comment ends nothing; casts of parameters are told and taken away."""
    from sqlrag.serve.postgres.statements import split

    sql = (
        "SELECT ';', \";\", $$;$$ -- ;\n; /* ; */ ; SELECT $2::int[], '$1::text', $1 :: double precision; SELECT 'open;"
    )
    first, second, third = split(sql)
    assert first.text == "SELECT ';', \";\", $$;$$ -- ;"
    assert second.parameters == [701, 1007]
    assert second.without_casts == "SELECT $2, '$1::text', $1"
    assert third.text == "SELECT 'open;"
    (hidden,) = split("SELECT $1 /* don't */ :: /* ; */ int, '$2::text' -- '$3\n, $2::text")
    assert hidden.parameters == [23, 25]
    assert hidden.without_casts == "SELECT $1, '$2::text' -- '$3\n, $2"
