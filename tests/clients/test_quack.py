"""`sqlrag serve --quack`, asked by DuckDB's own command line; and who may ask, and what they may do (docs/access.md).

The extensions are there for DuckDB 1.5.5: pip install "sqlrag[quack]" duckdb-cli==1.5.5.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import sqlrag
from tests.conftest import started

duckdb = pytest.importorskip("duckdb")

SERVE = [sys.executable, "-m", "sqlrag", "serve"]
QUESTION = "why do bees dance?"
TWO_STAGES = """
    SELECT   c.id, c.text, rerank_score('why do bees dance?', c.text) AS score
    FROM     vector_top_k('chunks', embed('why do bees dance?'), 25) AS hit
    JOIN     chunks AS c ON c.id = hit.id
    ORDER BY score DESC
    LIMIT    3
"""


def has_extensions() -> bool:
    """Tell whether this DuckDB can load quack."""
    from sqlrag.serve.quack.server import load_extensions

    try:
        with duckdb.connect() as connection:
            load_extensions(connection)
    except sqlrag.Error:
        return False
    return True


def command_line() -> str | None:
    """Return the `duckdb` beside this Python, or on the PATH."""
    beside = os.path.join(os.path.dirname(sys.executable), "duckdb")
    return beside if os.path.exists(beside) else shutil.which("duckdb")


needs_quack = pytest.mark.skipif(
    not has_extensions() or command_line() is None,
    reason='this needs: pip install "sqlrag[quack]" duckdb-cli==1.5.5',
)


class Client:
    """DuckDB's command line, and the server that it asks."""

    def __init__(self, process, url: str, token: str) -> None:
        self.process, self.url, self.token = process, url, token

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script."""
        loads = ""
        for name in ("httpfs", "quack"):
            folder = os.path.dirname(importlib.util.find_spec(f"duckdb_extension_{name}").origin)
            loads += f"LOAD '{folder}/extensions/v{duckdb.__version__}/{name}.duckdb_extension';"
        command = [command_line(), "-json", "-c", loads + script]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    def ask(self, sql: str, token: str | None = None) -> list[dict] | str:
        """Return the rows of a statement that runs on the server, or the error."""
        ran = self.run(f"FROM quack_query('{self.url}', $sql${sql}$sql$, token = '{token or self.token}')")
        return json.loads(ran.stdout or "[]") if ran.returncode == 0 else ran.stderr

    def attach(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script in which the server's database is attached as `remote`."""
        return self.run(f"ATTACH '{self.url}' AS remote (TOKEN '{self.token}'); {script}")


@pytest.fixture(scope="module")
def remote(passage_files):
    """A server of the passages whose questions may take three seconds."""
    command = [*SERVE, str(passage_files["duckdb"]), "--quack", "--port", "0", "--json", "--time-limit", "3"]
    with started(command) as process:
        told = json.loads(process.stdout.readline() or process.stderr.read())
        yield Client(process, told["url"], told["token"])


@needs_quack
def test_the_statement(remote, passage_files):
    """The statement of the README gives what it gives in Python; so do all functions."""
    with sqlrag.connect(passage_files["duckdb"], read_only=True) as db:
        expected = db.execute(TWO_STAGES).fetchall()
        hits = db.search(QUESTION)
    rows = remote.ask(TWO_STAGES)
    assert [(row["id"], row["text"]) for row in rows] == [row[:2] for row in expected]
    assert [row["score"] for row in rows] == pytest.approx([row[2] for row in expected])
    found = remote.ask(f"SELECT id, rank_before FROM search('chunks', '{QUESTION}') ORDER BY rank_after")
    assert [(row["id"], row["rank_before"]) for row in found] == [(hit.id, hit.rank_before) for hit in hits]
    for call in (
        "text_top_k('chunks', 'honeybee', 2)",
        "hybrid_top_k('chunks', 'bees', 2, filter := 'title = ''Bees''')",
    ):
        assert remote.ask(f"SELECT id FROM {call}")[0] == {"id": 1}
    assert remote.ask("SELECT index FROM sqlrag_info()") == [{"index": "chunks"}]
    assert remote.ask("SELECT token_count('🐝 dances') > 1 AS many") == [{"many": True}]


@needs_quack
def test_attached(remote):
    """Its tables are there under their names, and what runs on the server runs by `query`."""
    ran = remote.attach("SELECT id, title FROM remote.documents ORDER BY id LIMIT 1")
    assert json.loads(ran.stdout) == [{"id": 1, "title": "Bees"}], ran.stderr
    ran = remote.attach("SELECT id FROM remote.query('SELECT id FROM search(''chunks'', ''bees'', 5, 1)')")
    assert json.loads(ran.stdout) == [{"id": 1}], ran.stderr


@needs_quack
def test_wrong_token(remote):
    """Nobody without the token, neither by a query nor attached."""
    for token in ("wrong", remote.token[:-1], remote.token + "x"):
        assert "Authentication failed" in remote.ask("SELECT 1", token)
    ran = remote.run(f"ATTACH '{remote.url}' AS remote (TOKEN 'wrong'); SELECT 1")
    assert "Authentication failed" in ran.stderr


@needs_quack
def test_wrong_host(remote):
    """quack looks at no Host: under another name a page gets as far as the token, which it does not have."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", int(remote.url.rpartition(":")[2]), timeout=10)
    connection.request("POST", "/quack", b"\0" * 40, {"Host": "evil.example", "Origin": "http://evil.example"})
    answer = connection.getresponse().read()
    assert b"chunks" not in answer
    assert remote.ask("SELECT 1 AS x") == [{"x": 1}]


@needs_quack
def test_another_address(remote):
    """It listens on the loopback alone."""
    addresses = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()]
    port = int(remote.url.rpartition(":")[2])
    assert f"0100007F:{port:04X}" in addresses
    assert f"00000000:{port:04X}" not in addresses


@needs_quack
@pytest.mark.parametrize(
    "sql",
    ["SELECT * FROM read_text('/etc/passwd')", "FROM '/etc/passwd'", "FROM glob('/*')", "ATTACH '/etc/passwd' AS other",
     "ATTACH ':memory:' AS other", "COPY chunks TO '/tmp/sqlrag-copy.csv'", "EXPORT DATABASE '/tmp/sqlrag-copy'",
     "INSTALL json", "LOAD json", "FROM quack_query('quack:127.0.0.1:1', 'SELECT 1')", "SET threads = 1",
     "CALL quack_stop('x')", "SET GLOBAL quack_authorization_function = 'quack_nop_authorization'"],
)  # fmt: skip
def test_path_outside(remote, sql):
    """No file but the database's own, no network, no extension, no setting."""
    answer = remote.ask(sql)
    assert isinstance(answer, str), answer
    assert "root:" not in answer
    assert not list(Path("/tmp").glob("sqlrag-copy*"))


@needs_quack
@pytest.mark.parametrize(
    "sql",
    ["DELETE FROM documents", "INSERT INTO chunks SELECT * FROM chunks", "UPDATE served.main.chunks SET text = ''",
     "CREATE TABLE t AS SELECT 1", "CREATE TEMP TABLE t AS SELECT 1", "DROP VIEW chunks", "SELECT 1; DROP VIEW chunks",
     "CREATE OR REPLACE MACRO embed(x) AS 1", "DETACH served", "BEGIN", "USE served"],
)  # fmt: skip
def test_write_on_read_only(remote, sql):
    """Nothing is written, neither in the database nor in the instance that serves it."""
    answer = remote.ask(sql)
    assert isinstance(answer, str), answer
    assert "Authorization failed" in answer
    assert remote.ask("SELECT count(*) AS n FROM documents") == [{"n": 25}]


@needs_quack
def test_write_when_attached(remote):
    """What the client makes of a write to an attached database is refused, too."""
    for script in ("CREATE TABLE remote.t AS SELECT 1", "INSERT INTO remote.documents FROM remote.documents"):
        ran = remote.attach(script)
        assert ran.returncode != 0
    assert remote.ask("SELECT count(*) AS n FROM documents") == [{"n": 25}]


@needs_quack
def test_huge_result(remote):
    """It is sent in pieces: the server does not hold it."""
    status = Path(f"/proc/{remote.process.pid}/status")
    before = int(status.read_text().partition("VmRSS:")[2].split()[0])
    script = "SELECT count(*) AS n FROM remote.query('SELECT range AS i, repeat(''x'', 500) AS t FROM range(3000000)')"
    assert json.loads(remote.attach(script).stdout) == [{"n": 3_000_000}]
    assert int(status.read_text().partition("VmRSS:")[2].split()[0]) - before < 800_000  # of 1.5 GB


@needs_quack
def test_side_by_side(remote):
    """Several clients at once have the answers that one has alone."""
    searches = [f"SELECT id, score FROM search('chunks', '{topic}')" for topic in ("bees", "tides", "bread", "birds")]
    alone = [remote.ask(sql) for sql in searches]
    with ThreadPoolExecutor(4) as clients:
        together = list(clients.map(remote.ask, searches * 2))
    assert together == alone * 2


@needs_quack
def test_runaway_query(passage_files):
    """The server takes its own place, at the same address with the same token; the others ask again."""
    command = [*SERVE, str(passage_files["duckdb"]), "--quack", "--port", "0", "--json", "--time-limit", "1"]
    with started(command) as process:
        told = json.loads(process.stdout.readline())
        client = Client(process, told["url"], told["token"])
        for _ in range(2):
            endless = "SELECT count(*) FROM range(1000000000000) AS a WHERE a.range % 7 = sin(a.range)"
            assert isinstance(client.ask(endless), str)
            assert "begins anew: 'SELECT count(*)" in process.stderr.readline()
            assert wait_for(client) == [{"x": 1}]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) in {0, 130}
        assert "Traceback" not in process.stderr.read()


def wait_for(client: Client) -> list[dict] | str:
    """Ask until the server answers again: it takes as long as its start."""
    for _ in range(20):
        answer = client.ask("SELECT 1 AS x")
        if isinstance(answer, list):
            break
    return answer


@needs_quack
def test_a_taken_port(remote, passage_files):
    """quack would share the port with another: it is asked before."""
    port = remote.url.rpartition(":")[2]
    command = [*SERVE, str(passage_files["duckdb"]), "--quack", "--port", port]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, "Address already in use" in ran.stderr) == (1, True)


def test_a_sqlite_database(passage_files):
    """Who has one learns what serves it."""
    command = [*SERVE, str(passage_files["sqlite"]), "--quack"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr.count("\n")) == (1, 1)
    assert "is a SQLite database: --quack serves those of DuckDB; --http serves both" in ran.stderr


def test_without_the_extensions(passage_files, tmp_path):
    """A DuckDB that does not have them: one line, with the remedy."""
    code = (
        "import importlib.util, sys; found = importlib.util.find_spec; "
        "importlib.util.find_spec = lambda name, *more: None if name.startswith('duckdb_ext') else found(name, *more); "
        "from sqlrag.cli import main; main()"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, "serve", str(passage_files["duckdb"]), "--quack"],
        env={**os.environ, "HOME": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (1, "", 1)
    assert 'does not have its extension httpfs here: pip install "sqlrag[quack]"' in ran.stderr
