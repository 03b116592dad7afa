"""The JSON API: each endpoint's answer is the database's own, each mistake has its status and a line that helps."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

import sqlrag
from sqlrag.serve.loopback import BODY_BYTES
from sqlrag.serve.untrusted import ROWS
from tests.conftest import started
from tests.http.servers import SERVE, served

QUESTION = "why do bees dance?"
TWO_STAGES = """
    SELECT   c.id, c.text, rerank_score(:q, c.text) AS score
    FROM     vector_top_k('chunks', embed(:q), 25) AS hit
    JOIN     chunks AS c ON c.id = hit.id
    ORDER BY score DESC
    LIMIT    3
"""
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "


def test_search(client, engine, passage_files):
    """Both methods find what `Database.search` finds."""
    with sqlrag.connect(passage_files[engine], read_only=True) as db:
        hits = db.search(QUESTION, top_k=10, top_n=2, filter="title <> 'Tides'")
    arguments = {"question": QUESTION, "top_k": 10, "top_n": 2, "filter": "title <> 'Tides'", "index": "chunks"}
    posted = client.post("/search", json=arguments).json()
    assert client.get("/search", params=arguments).json() == posted
    assert [(hit["id"], hit["text"], hit["source"]["title"]) for hit in posted["hits"]] == [
        (hit.id, hit.text, hit.title) for hit in hits
    ]
    assert [hit["score"] for hit in posted["hits"]] == pytest.approx([hit.score for hit in hits])
    assert posted["note"] is None


def test_a_chunk_and_its_neighbours(client, engine, tmp_path):
    """What stands around a hit, within its document."""
    read = client.get("/chunks/3", params={"before": 1, "after": 1}).json()
    assert [chunk["id"] for chunk in read["chunks"]] == [3]  # each passage is one chunk
    assert read["source"]["title"] == "Tides"
    path = tmp_path / f"long.{'duckdb' if engine == 'duckdb' else 'db'}"
    (tmp_path / "a.md").write_text("\n\n".join(f"Paragraph {i} tells of the number {i}." for i in range(8)))
    with sqlrag.connect(path) as db:
        db.ingest([tmp_path / "a.md"], max_tokens=12, overlap=0)
        ids = [row[0] for row in db.execute("SELECT id FROM chunks ORDER BY ordinal")]
    with served(path, "--http") as server, server.client as asking:
        chunks = asking.get(f"/chunks/{ids[3]}", params={"before": 1, "after": 2}).json()["chunks"]
    assert [chunk["id"] for chunk in chunks] == ids[2:6]


def test_sql(client, engine, passage_files):
    """The statement of the README runs, with named parameters, and gives the rows that it gives in Python."""
    rows = client.post("/sql", json={"statement": TWO_STAGES, "params": {"q": QUESTION}}).json()["rows"]
    with sqlrag.connect(passage_files[engine], read_only=True) as db:
        expected = db.execute(TWO_STAGES, {"q": QUESTION}).fetchall()
    assert [(row["id"], row["text"]) for row in rows] == [row[:2] for row in expected]
    assert [row["score"] for row in rows] == pytest.approx([row[2] for row in expected])
    emoji = client.post("/sql", json={"statement": "SELECT :a AS a, :b AS b", "params": {"a": "ß🐝", "b": None}})
    assert emoji.json()["rows"] == [{"a": "ß🐝", "b": None}]


def test_the_rows_of_several_statements_are_those_of_the_last(client):
    """The statements before it run, and their rows are not shown."""
    rows = client.post("/sql", json={"statement": "SELECT 1 AS a; SELECT 2 AS b"}).json()["rows"]
    assert rows == [{"b": 2}]


def test_a_huge_result_is_cut(client, servers):
    """What does not fit says so."""
    answer = client.post("/sql", json={"statement": f"{ENDLESS} SELECT i FROM n WHERE i < 100000"}).json()
    assert (len(answer["rows"]), answer["note"]) == (ROWS, f"cut after {ROWS:,} rows: there are more")


def test_a_runaway_query_is_stopped(client):
    """It ends with its time, and the server answers on."""
    response = client.post("/sql", json={"statement": f"{ENDLESS} SELECT count(*) FROM n"})
    assert (response.status_code, "stopped after 2 s" in response.json()["detail"]) == (408, True)
    assert client.post("/sql", json={"statement": "SELECT 1 AS x"}).json()["rows"] == [{"x": 1}]


def test_many_at_once(server):
    """They wait for their turn, and each has its own answer; beyond 32 one is told to come again."""

    def ask(number: int) -> tuple[int, list[dict]]:
        with server.client as client:
            response = client.post("/sql", json={"statement": f"SELECT {number} AS x"})
        return response.status_code, response.json().get("rows")

    with ThreadPoolExecutor(16) as clients:
        assert list(clients.map(ask, range(64))) == [(200, [{"x": number}]) for number in range(64)]
    endless = {"statement": f"{ENDLESS} SELECT count(*) FROM n"}
    with ThreadPoolExecutor(34) as clients, server.client as client:
        first = clients.submit(client.post, "/sql", json=endless)
        # One client for all: to make forty takes longer than the endless one may.
        statuses = clients.map(lambda _: client.post("/sql", json={"statement": "SELECT 1"}).status_code, range(40))
        statuses = list(statuses)
        assert first.result().status_code == 408
    assert set(statuses) == {200, 503}


def test_describe(client, engine):
    """Indexes, tables, functions and limits."""
    described = client.get("/describe").json()
    assert described["engine"] == engine
    assert [index["index"] for index in described["indexes"]] == ["chunks"]
    assert {table["name"] for table in described["tables"]} == {"chunks", "documents"}
    assert described["limits"]["seconds"] == 2


def too_long():
    """Yield a body that does not say before how long it is."""
    yield b"x" * BODY_BYTES
    yield b"x"


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("method", "path", "given", "status", "detail"),
    [
        ("POST", "/sql", {"content": "{"}, 415, "Content-Type is missing"),
        ("POST", "/sql", {"data": {"statement": "SELECT 1"}}, 415, "send JSON"),
        ("POST", "/sql", {"content": "{}", "headers": {**JSON, "Content-Encoding": "gzip"}}, 415, "Content-Encoding"),
        ("POST", "/sql", {"content": "{", "headers": JSON}, 400, "the body is no JSON"),
        ("POST", "/sql", {"content": b"\xff", "headers": JSON}, 400, "the body is no JSON"),
        ("POST", "/sql", {"content": "[" * 100_000, "headers": JSON}, 400, "recursion"),
        ("POST", "/sql", {"content": '{"statement": "\\ud800"}', "headers": JSON}, 400, "hex escape"),
        ("POST", "/sql", {"content": b"x" * (BODY_BYTES + 1), "headers": JSON}, 413, "longer than 1,000,000"),
        ("POST", "/sql", {"content": too_long, "headers": JSON}, 413, "longer than 1,000,000"),
        ("POST", "/sql", {"json": []}, 422, "the body: "),
        ("POST", "/sql", {"json": {}}, 422, "statement: Field required"),
        ("POST", "/sql", {"json": {"statement": 1}}, 422, "statement: Input should be a valid string"),
        ("POST", "/sql", {"json": {"statement": "SELECT 1", "parms": {}}}, 422, "parms: Extra inputs"),
        ("POST", "/sql", {"json": {"statement": "SELECT :a", "params": {"a": [1]}}}, 422, "params: a is [1]"),
        ("POST", "/sql", {"json": {"statement": "SELECT :a"}}, 422, "'a'"),
        ("POST", "/sql", {"json": {"statement": "SELECT * FROM nope"}}, 422, "nope"),
        ("POST", "/sql", {"json": {"statement": "DELETE FROM documents"}}, 403, "only read here"),
        ("POST", "/search", {"json": {"question": "x", "top_n": "3"}}, 422, "top_n: Input should be a valid integer"),
        ("POST", "/search", {"json": {"question": "x", "top_k": 1, "top_n": 2}}, 422, "top_n is 2"),
        ("POST", "/search", {"json": {"question": "x", "filter": "nope = 1"}}, 422, "nope"),
        ("POST", "/search", {"json": {"question": "x", "index": "nope"}}, 404, "nope"),
        ("GET", "/search", {}, 422, "question: Field required"),
        ("GET", "/search?question=a&question=b", {}, 400, "question: given twice"),
        ("GET", "/search?question=a&top_k=many", {}, 422, "top_k: "),
        ("GET", "/chunks/1?id=2", {}, 400, "id: given twice"),
        ("GET", "/chunks/999", {}, 404, "id is 999"),
        ("GET", f"/chunks/{1 << 64}", {}, 422, "id is 18446744073709551616"),
        ("GET", "/chunks/first", {}, 422, "id: "),
        ("GET", "/chunks/1?after=21", {}, 422, "after is 21"),
        ("GET", "/chunks/..%2f..%2fetc%2fpasswd", {}, 404, "no such path"),
        ("GET", "/nope", {}, 404, "/openapi.json"),
        ("GET", "/search/", {}, 404, "/openapi.json"),
        ("DELETE", "/sql", {}, 405, "DELETE is not for this path"),
        ("GET", "/sql", {}, 405, "GET is not for this path"),
    ],
)  # fmt: skip
def test_mistakes(client, method, path, given, status, detail):  # noqa: PLR0917 - a row of the table
    """A status that says whose fault it is, and one line that says what would be right."""
    given = {name: value() if callable(value) else value for name, value in given.items()}
    response = client.request(method, path, **given)
    problem = response.json()
    assert (response.status_code, problem["status"]) == (status, status)
    assert response.headers["content-type"] == "application/problem+json"
    assert detail in problem["detail"], problem["detail"]
    assert "\n" not in problem["detail"]


def test_head_and_options(client):
    """HEAD is GET without its body; OPTIONS tells the methods; no answer has a header of CORS."""
    got, headed = client.get("/describe"), client.head("/describe")
    assert (headed.status_code, headed.content) == (200, b"")
    assert headed.headers["content-length"] == got.headers["content-length"]
    options = client.options("/search", headers={"Access-Control-Request-Method": "POST"})
    assert (options.status_code, options.headers["allow"]) == (204, "GET, POST, HEAD, OPTIONS")
    assert client.delete("/sql").headers["allow"]
    for response in (got, headed, options):
        assert not [name for name in response.headers if name.lower().startswith("access-control")]


def test_a_body_that_does_not_come(server):
    """A client that stops in the middle is told after ten seconds, and keeps nobody from asking meanwhile."""
    head = (
        f"POST /sql HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAuthorization: Bearer {server.token}\r\n"
        "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as slow:
        slow.sendall(head.encode())
        with server.client as other:
            assert other.get("/describe").status_code == 200
        assert slow.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_a_missing_extra_and_wrong_options(passage_files):
    """Who cannot be served learns why in one line."""
    code = "import sys; sys.modules['uvicorn'] = None; from sqlrag.cli import main; main()"
    arguments = ["serve", str(passage_files["sqlite"])]
    ran = subprocess.run(
        [sys.executable, "-c", code, *arguments, "--http"], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr.endswith(': pip install "sqlrag[http]"\n')) == (1, True)
    for options in ([], ["--http", "--quack"]):
        ran = subprocess.run([*SERVE, arguments[1], *options], capture_output=True, text=True, check=False)
        assert (ran.returncode, "served in one way" in ran.stderr) == (2, True)


def test_a_taken_port_and_ctrl_c(passage_files):
    """The second server on a port says so; Ctrl-C ends the first without a traceback."""
    with started([*SERVE, str(passage_files["sqlite"]), "--http", "--port", "0", "--json"]) as process:
        port = json.loads(process.stdout.readline())["url"].rpartition(":")[2]
        command = [*SERVE, str(passage_files["sqlite"]), "--http", "--port", port]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (ran.returncode, "Address already in use" in ran.stderr) == (1, True)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) in {0, 130, -signal.SIGINT}
        assert "Traceback" not in process.stderr.read()
