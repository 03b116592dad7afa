"""What a few messages may cost the server: memory, disk, time in a parser; and that it is given back."""

from __future__ import annotations

import contextlib
import os
import struct
import time
from decimal import Decimal

import psycopg
import pytest

from sqlrag.serve.postgres.catalog import rewrite
from sqlrag.serve.postgres.encoding import decode, encode
from sqlrag.serve.postgres.statements import LONGEST, split
from sqlrag.serve.postgres.types import BY_NAME
from tests.postgres.conftest import serving
from tests.postgres.test_limits import Raw, code_of
from tests.postgres.test_slow_clients import until

pytestmark = pytest.mark.slow

CEILING = 2_300
"""MB: what the server has when it starts, and 2 GiB."""

SEARCH = "SELECT count(*) FROM vector_top_k('chunks', embed('bees'), 3)"
COUNTING = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"

# Each would take many gigabytes, of memory or of disk.
LARGE = {
    "sqlite": {
        "a row": "SELECT " + ", ".join(["hex(zeroblob(8000000))"] * 100),
        "files": f"SELECT 1 FROM ({COUNTING} SELECT hex(zeroblob(8000)) || i AS r FROM n LIMIT 200000) ORDER BY r",
    },
    "duckdb": {
        "a row": "SELECT " + ", ".join(f"repeat(repeat('{number % 10}', 1000), 100000)" for number in range(40)),
        "rows": "SELECT repeat(repeat(i::VARCHAR, 1000), 500) FROM range(2048) AS n(i)",
        "a text": "SELECT replace(repeat('x', 300000), 'x', repeat('y', 10000))",
        "a list": "SELECT len(range(300000000))",
        "catalog": "SELECT repeat(repeat('x', 1000), 100000) FROM pg_type, range(1000)",
    },
}


@pytest.fixture(scope="module")
def limited(passage_files):
    """A server for each engine whose memory is looked at."""
    with contextlib.ExitStack() as stack:
        yield {
            name: stack.enter_context(serving(path, name, "--time-limit", "30")) for name, path in passage_files.items()
        }


def of_process(served, what) -> int:
    """Return a figure of the server's in MB: VmRSS, or VmHWM, the most that it has had."""
    with open(f"/proc/{served.process.pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(f"{what}:")) // 1000


def temporary_bytes(served) -> int:
    """Return the size of the files that the server has open and no folder names."""
    sizes = 0
    for name in os.listdir(f"/proc/{served.process.pid}/fd"):
        with contextlib.suppress(OSError):
            status = os.stat(f"/proc/{served.process.pid}/fd/{name}")
            sizes += status.st_blocks * 512 if not status.st_nlink else 0
    return sizes


@pytest.mark.parametrize(("engine", "what"), [(engine, what) for engine, cases in LARGE.items() for what in cases])
def test_x7_a_statement_that_takes_gigabytes(limited, engine, what):
    """It gets an error, others are answered, no file grows, and the memory comes back."""
    served = limited[engine]
    with served.connect() as other, served.connect() as client:
        assert other.execute(SEARCH).fetchone() == (3,)
        before = of_process(served, "VmRSS")
        assert code_of(client, LARGE[engine][what]) in ("53200", "54000", "57014")
        assert temporary_bytes(served) < 1_000_000
        assert client.execute("SELECT 1").fetchone() == (1,)
        assert until(lambda: answers(other))
        assert of_process(served, "VmHWM") < CEILING
        assert until(lambda: of_process(served, "VmRSS") < before + 150)


def answers(client) -> bool:
    """Tell whether a statement is answered: memory that has just been given up is free a moment later."""
    try:
        return client.execute(SEARCH).fetchone() == (3,)
    except psycopg.errors.OutOfMemory:
        return False


@pytest.mark.parametrize("text", ["(", ";", "'", "$1::int[ ", "a.", "E'\\", "SELECT 1;", "- ", "WITH a AS ("])
def test_x7_a_message_of_one_letter(limited, engine, text):
    """It is refused by its length, or for its depth, and costs next to nothing; what is as long as allowed, too."""
    served = limited[engine]
    before = of_process(served, "VmHWM")
    with served.connect() as client:
        with pytest.raises(psycopg.OperationalError):
            client.execute((text * 4_000_000)[: 15 << 20])
        assert client.broken
    for count in (LONGEST + 1, LONGEST - 10):
        with served.connect() as client, contextlib.suppress(psycopg.Error):
            client.execute((f"SELECT {text * LONGEST}")[:count])
    assert of_process(served, "VmHWM") - before < 250
    with served.connect() as client:
        assert client.execute("SELECT 1").fetchone() == (1,)


def test_x7_the_lexer_takes_no_square_of_the_length():
    """Brackets of a cast, words without end, operators: each ten times as long takes some ten times as long."""
    texts = ("$1::int[" + " " * 200_000, "a" * 200_000, "OPERATOR(pg_catalog." * 10_000, "'" * 199_999, "x " * 90_000)
    for text in texts:
        began = time.process_time()
        (statement,) = split(f"SELECT {text}")
        assert statement.parameters in ([0], [], [23])
        assert len(statement.without_casts) > 100_000 or text.startswith("$1")
        statement.asks_catalog(frozenset())
        rewrite(statement.text)
        assert time.process_time() - began < 5  # a square would take hours


def test_x7_prepared_statements_and_parameters_have_a_room(servers, engine):
    """A session's statements are of some megabytes, whatever they are made of; one that is closed makes room."""
    raw = Raw(servers[engine])
    statements = {
        "long": f"SELECT '{'x' * 240_000}'",
        "parameters": "SELECT $60000",
        "wide": f"SELECT '{'ß' * 100_000}😀'",
    }
    for name, sql in statements.items():
        kinds = []
        for number in range(60):
            raw.parse(f"{name}{number}", sql)
            raw.send(b"S")
            kinds.append(raw.kinds())
            if "E" in kinds[-1]:
                break
        assert "E" in kinds[-1], name
        assert len(kinds) > 1, name
        raw.send(b"Q", b"DEALLOCATE ALL\0")
        assert raw.kinds() == "CZ"
    raw.parse("", "SELECT 1 WHERE $1 IS NULL")
    many = b"{" + b"1," * 100_000 + b"1}"
    raw.send(b"P", b"\0SELECT 1 WHERE $1 IS NULL\0\0\1" + struct.pack("!i", 1016))
    raw.send(b"B", b"\0\0\0\0\0\1" + struct.pack("!i", len(many)) + many + b"\0\0")
    raw.send(b"S")
    assert raw.kinds() == "11EZ"
    raw.close()


def test_x7_a_row_of_sixteen_megabytes(servers, engine):
    """Is the longest; the error says what to do."""
    text = {"sqlite": "hex(zeroblob({}))", "duckdb": "repeat('00', {})"}[engine]
    with servers[engine].connect() as client:
        assert client.execute(f"SELECT length({text.format(8_000_000)})").fetchone() == (16_000_000,)
        assert len(client.execute(f"SELECT {text.format(8_000_000)}").fetchone()[0]) == 16_000_000
        with pytest.raises(psycopg.errors.ProgramLimitExceeded, match=r"a row has 18,000,000 .* substr\(\)"):
            client.execute(f"SELECT {text.format(4_500_000)}, {text.format(4_500_000)}")


def test_x7_the_types_of_large_rows_are_told_by_few(servers):
    """A hundred rows are not put into memory for that."""
    served = servers["sqlite"]
    before = of_process(served, "VmHWM")
    with served.connect() as client:
        rows = client.cursor().stream(f"{COUNTING} SELECT hex(zeroblob(5000000)) FROM n LIMIT 8")
        assert sum(len(row[0]) for row in rows) == 80_000_000
    assert of_process(served, "VmHWM") - before < 250


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("1e1000000", "22003"),
        ("-1e400", "22003"),
        ("1e-1000000", "22003"),
        ("1e999999999999999999", "22003"),
        ("9" * 1_000, "22003"),
        ("1e", "22P02"),
    ],
)
def test_a_numeric_without_measure(client, value, code):
    """A parameter that no number of the engine holds is out of range, and no internal error; the session goes on."""
    raw = client.pgconn
    result = raw.exec_params(b"SELECT $1::numeric", [value.encode()], param_types=[1700])
    assert (result.status, result.error_field(psycopg.pq.DiagnosticField.SQLSTATE)) == (
        psycopg.pq.ExecStatus.FATAL_ERROR,
        code.encode(),
    )
    assert client.execute("SELECT %s::int8", (7,)).fetchone() == (7,)


def test_numbers_out_of_the_range_of_their_type(client):
    """Each integer has its own; a numeric in binary keeps all of its digits."""
    for kind, value in (("int2", 1 << 15), ("int4", -(1 << 31) - 1), ("int8", 1 << 63)):
        oid = psycopg.adapters.types[kind].oid
        result = client.pgconn.exec_params(b"SELECT $1", [str(value).encode()], param_types=[oid])
        assert result.error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"22003"
    digits = Decimal("12345678901234567890123456789012345.5")
    numeric = BY_NAME["numeric"]
    sent = encode(digits, numeric, binary=True, column="x")
    assert decode(sent, numeric.oid, binary=True, number=1) == digits


def test_x1_no_client_calls_an_internal_function(client, engine):
    """Whatever session it belongs to; however it is written."""
    internal = ("_sqlrag_search", "_sqlrag3_search", "_SQLRAG_embed", '"_sqlrag_vector_top_k"', "main._sqlrag_info")
    for name in internal:
        for sql in (f"SELECT {name}('chunks', 'x')", f"SELECT list_transform(['x'], x -> {name}(x))"):
            if engine == "sqlite" and "->" in sql:
                continue
            assert code_of(client, sql) in (("25006",) if engine == "duckdb" else ("42883", "42601")), sql
    assert client.execute("SELECT count(*) FROM search('chunks', 'bees', 5, 3)").fetchone() == (3,)


def test_sessions_that_come_and_go_leave_nothing(servers, engine):
    """Connections, each with a search: the server's descriptors, threads and memory are as before."""
    served = servers[engine]

    def ask() -> None:
        with served.connect() as client:
            assert client.execute(SEARCH).fetchone() == (3,)

    def has() -> tuple[int, int]:
        folder = f"/proc/{served.process.pid}"
        return len(os.listdir(f"{folder}/fd")), len(os.listdir(f"{folder}/task"))

    for _ in range(10):
        ask()
    time.sleep(0.3)
    before, memory = has(), of_process(served, "VmRSS")
    for _ in range(60):
        ask()
    assert until(lambda: all(now <= then + 2 for now, then in zip(has(), before, strict=True)))
    assert of_process(served, "VmRSS") - memory < 20


def test_sixteen_sessions_beside_one_without_measure(limited, engine):
    """They are answered, though it asks again and again for more memory than there is."""
    served = limited[engine]
    greedy = LARGE[engine]["rows" if engine == "duckdb" else "a row"]
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(served.connect()) for _ in range(16)]
        for turn, client in enumerate(clients):
            if turn % 8 == 0:
                code_of(client, greedy)
            assert until(lambda client=client: answers(client))
    assert served.process.poll() is None
