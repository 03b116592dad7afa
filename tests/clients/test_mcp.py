"""`sqlrag mcp`, asked by the client of the protocol's own SDK: over stdin and stdout, and over HTTP."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import anyio
import pytest

import sqlrag
from sqlrag.cli.serve import MCP_TOKEN as TOKEN
from sqlrag.serve.tools import Tools
from sqlrag.serve.untrusted import ROWS, open_limited
from tests.conftest import database_path, started

pytest.importorskip("mcp", reason='the MCP SDK is not here: pip install "sqlrag[mcp]"')

import httpx2
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from sqlrag.serve.mcp.server import make_server

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
SERVER = [sys.executable, "-m", "sqlrag", "mcp"]


def over_stdio(path, talk, *options):
    """Start a server for a database, and talk to it as an agent does."""

    async def run():
        command, *args = [*SERVER, str(path), *options]
        # The SDK hands on a few variables of the environment only.
        async with Client(StdioServerParameters(command=command, args=args, env=dict(os.environ))) as client:
            return await talk(client)

    return anyio.run(run)


def in_process(path, talk, seconds=30.0):
    """Talk to a server in this process, which starts sooner; what a process adds is in the tests over stdio."""

    async def run():
        async with Client(make_server(Tools(guarded, str(path)))) as client:
            return await talk(client)

    with contextlib.closing(open_limited(str(path), seconds=seconds)) as guarded:
        return anyio.run(run)


def answers_to(calls):
    """Return the talk that gives the answers to `(name, arguments)`: the structured content, or an error's text."""

    async def talk(client):
        answers = [await client.call_tool(name, arguments) for name, arguments in calls]
        return [one.content[0].text if one.is_error else one.structured_content for one in answers]

    return talk


def test_the_tools(passage_files):
    """There are four, each says that it only reads, and each argument says what it takes."""

    async def talk(client):
        return (await client.list_tools()).tools, client.instructions

    tools, instructions = in_process(passage_files["sqlite"], talk)
    assert [tool.name for tool in tools] == ["search", "read_chunk", "sql", "describe"]
    assert all(tool.annotations.read_only_hint and tool.description for tool in tools)
    arguments = [argument for tool in tools for argument in tool.input_schema["properties"].values()]
    assert all(argument["description"] for argument in arguments)
    assert "search" in instructions


def test_a_conversation(engine, passage_files):
    """What an agent does: look around, search, read on, and ask SQL; each answer is the database's own."""
    path = passage_files[engine]
    two_stages = (
        "SELECT c.id, rerank_score(:q, c.context || c.text) AS score FROM vector_top_k('chunks', embed(:q), 25) AS hit "
        "JOIN chunks AS c ON c.id = hit.id ORDER BY score DESC LIMIT 3"
    )
    question = "why do bees dance?"
    described, found, filtered, rows = over_stdio(
        path,
        answers_to(
            [
                ("describe", {}),
                ("search", {"question": question, "top_n": 3}),
                (
                    "search",
                    {"question": question, "index": "chunks", "top_k": 5, "top_n": 2, "filter": "title <> 'Bees'"},
                ),
                ("sql", {"statement": two_stages, "params": {"q": question}}),
            ]
        ),
    )
    assert (described["engine"], described["database"]) == (engine, path.name)
    assert [index["index"] for index in described["indexes"]] == ["chunks"]
    assert [(table["name"], table["rows"]) for table in described["tables"]] == [("chunks", 25), ("documents", 25)]
    assert "metadata" in [column["name"] for column in described["tables"][1]["columns"]]
    with sqlrag.connect(path, read_only=True) as db:
        hits = db.search(question)
    assert [(hit["id"], hit["text"], hit["rank_before"], hit["rank_after"]) for hit in found["hits"]] == [
        (hit.id, hit.text, hit.rank_before, hit.rank_after) for hit in hits
    ]
    assert [hit["score"] for hit in found["hits"]] == pytest.approx([hit.score for hit in hits])
    source = {"id": hits[0].source_id, "uri": hits[0].uri, "title": "Bees", "metadata": hits[0].metadata}
    assert (found["hits"][0]["source"], found["note"]) == (source, None)
    assert len(filtered["hits"]) == 2
    assert "Bees" not in [hit["source"]["title"] for hit in filtered["hits"]]
    assert [row["id"] for row in rows["rows"]] == [hit.id for hit in hits]


def test_search_gives_what_fits_to_cite(passage_files):
    """An agent asks for as much as it wants to read: numbered passages, best first, within its tokens."""
    calls = [("search", {"question": "why do bees dance?", "max_tokens": tokens}) for tokens in (150, 2000)]
    few, many = in_process(passage_files["sqlite"], answers_to(calls))
    assert few["tokens"] <= 150 < many["tokens"] <= 2000
    assert 0 < len(few["hits"]) < len(many["hits"])
    assert [hit["number"] for hit in many["hits"]] == list(range(1, len(many["hits"]) + 1))
    assert [hit["rank_after"] for hit in many["hits"]] == sorted(hit["rank_after"] for hit in many["hits"])
    assert few["hits"][0]["source"]["title"] == "Bees"


def test_neighbours_of_a_chunk(engine, tmp_path):
    """read_chunk shows what stands before and after, within one document."""
    path = database_path(tmp_path, engine)
    (tmp_path / "a.md").write_text("\n\n".join(f"Paragraph {i} tells of the number {i}." for i in range(8)))
    (tmp_path / "b.md").write_text("Another document.")
    with sqlrag.connect(path) as db:
        db.ingest([tmp_path / "a.md", tmp_path / "b.md"], max_tokens=12, overlap=0)
        chunks = db.execute("SELECT id, text FROM chunks ORDER BY source_id, ordinal").fetchall()
    texts = [text for _, text in chunks]
    assert len(texts) > 5
    read = [("read_chunk", {"id": chunks[place][0], "before": 1, "after": 2}) for place in (0, 3)]
    first, middle = in_process(path, answers_to(read))
    assert [chunk["text"] for chunk in first["chunks"]] == texts[:3]
    assert [chunk["text"] for chunk in middle["chunks"]] == texts[2:6]
    assert first["source"]["uri"].endswith("a.md")


def test_an_index_over_a_table(engine, tmp_path):
    """A hit's source is the row's key, and rows that the index does not have yet are told of."""
    path = database_path(tmp_path, engine)
    with sqlrag.connect(path) as db:
        db.execute("CREATE TABLE review (id INTEGER PRIMARY KEY, product TEXT, body TEXT)")
        db.execute("INSERT INTO review VALUES (7, 'kettle', 'It boils fast.'), (8, 'lamp', 'It lights my desk.')")
        db.create_index("reviews", "review", "body", filters=["product"])
        db.execute("INSERT INTO review VALUES (9, 'lamp', 'The switch feels cheap.')")

    async def talk(client):
        question = {"question": "how quick is it?", "top_n": 1, "filter": "product = 'kettle'"}
        found = (await client.call_tool("search", question)).structured_content
        read = await client.call_tool("read_chunk", {"id": found["hits"][0]["id"]})
        return found, read.structured_content, (await client.call_tool("describe", {})).structured_content

    found, read, described = in_process(path, talk)
    assert found["hits"][0]["source"] == {"id": 7, "uri": None, "title": None, "metadata": {"product": "kettle"}}
    assert "'reviews' does not have 1 changed row of review yet" in found["note"]
    assert (read["source"]["id"], read["chunks"][0]["text"]) == (7, "It boils fast.")
    assert {table["name"] for table in described["tables"]} - {"documents"} == {"review", "reviews"}


def test_f9_the_note_says_that_triggers_are_gone(tmp_path):
    """After a migration nobody knows what the index lacks: the notes of search and sql say so."""
    path = tmp_path / "migrated.db"
    with sqlrag.connect(path) as db:
        db.execute("CREATE TABLE review (id INTEGER PRIMARY KEY, body TEXT)")
        db.execute("INSERT INTO review VALUES (7, 'It boils fast.')")
        db.create_index("reviews", "review", "body")
        db.execute("ALTER TABLE review RENAME TO old; CREATE TABLE review AS SELECT * FROM old; DROP TABLE old")
        db.execute("CREATE TABLE new (id INTEGER PRIMARY KEY, body TEXT); INSERT INTO new SELECT * FROM review")
        db.execute("DROP TABLE review; ALTER TABLE new RENAME TO review")

    async def talk(client):
        found = (await client.call_tool("search", {"question": "how quick is it?", "top_n": 1})).structured_content
        sql = {"statement": "SELECT id FROM vector_top_k('reviews', 'quick', 1)"}
        asked = (await client.call_tool("sql", sql)).structured_content
        return found, asked, (await client.call_tool("describe", {})).structured_content

    found, asked, described = in_process(path, talk)
    for note in (found["note"], asked["note"]):
        assert "index 'reviews' may lack changes of review, as its triggers on the table are gone" in note
    assert [index["backlog"] for index in described["indexes"]] == [None]


def test_errors_are_one_clear_line(engine, passage_files):
    """What is wrong with a call is a tool's error that the agent can read, never the end of the server."""
    calls = [
        ("sql", {"statement": "DELETE FROM documents"}, "DELETE.* is not allowed: this database is only read here"),
        ("sql", {"statement": "SELECT * FROM nope"}, "nope"),
        ("sql", {"statement": "SELECT :a"}, "parameter 'a' that no value was given for"),
        ("sql", {"statement": "SELECT :a", "params": {"a": [1]}}, r"params: a is \[1\]: it takes a text, a number"),
        ("sql", {"statement": "SELECT :a", "params": {"a": 1 << 64}}, "params: a is 18446744073709551616"),
        ("sql", {"statement": f"{ENDLESS} SELECT count(*) FROM n"}, "stopped after 1 s: "),
        ("search", {"question": "x", "index": "nope"}, "nope"),
        ("search", {"question": "x", "top_k": 2, "top_n": 3}, "top_n is 3"),
        ("search", {"question": "x", "filter": "no_such_column = 1"}, "no_such_column"),
        ("search", {"question": "x", "top_k": 0}, "top_k is 0"),
        ("read_chunk", {"id": 9999}, "id is 9999: index 'chunks' has no such chunk"),
        ("read_chunk", {"id": 1, "before": -1}, "before is -1"),
        ("read_chunk", {"id": 1, "after": 21}, "after is 21"),
    ]
    calls.append(("sql", {"statement": "SELECT 1 AS x"}, ""))
    answers = in_process(passage_files[engine], answers_to([call[:2] for call in calls]), seconds=1)
    assert answers.pop() == {"columns": ["x"], "rows": [{"x": 1}], "note": None}
    for (_, arguments, expected), answer in zip(calls, answers, strict=False):
        assert isinstance(answer, str), arguments
        assert "\n" not in answer
        assert re.search(expected, answer), answer


def test_path_outside(engine, passage_files):
    """No file but the database's own."""
    statements = ["ATTACH '/etc/passwd' AS other"]
    statements += (
        ["FROM '/etc/passwd'", "COPY chunks TO '/tmp/sqlrag-copy'"]
        if engine == "duckdb"
        else ["SELECT readfile('/etc/passwd')", "VACUUM INTO '/tmp/sqlrag-copy'"]
    )
    answers = in_process(
        passage_files[engine], answers_to([("sql", {"statement": statement}) for statement in statements])
    )
    assert all(isinstance(answer, str) and "root:" not in answer for answer in answers)
    assert not Path("/tmp/sqlrag-copy").exists()


def test_a_long_answer_is_cut(passage_files):
    """An agent's window is not flooded, and it learns that there is more."""
    calls = [("sql", {"statement": f"{ENDLESS} SELECT i FROM n"})]
    (answer,) = in_process(passage_files["sqlite"], answers_to(calls))
    assert (len(answer["rows"]), answer["note"]) == (ROWS, f"cut after {ROWS:,} rows: there are more")


def test_x3_what_cannot_be_stopped_ends_no_conversation(passage_files):
    """A function of SQLite's that nothing stops: the agent is told after the time limit, and asks on."""
    sql = "SELECT length(replace(hex(zeroblob(7000000)), hex(zeroblob(3500000)) || '1', 'b'))"
    calls = [("sql", {"statement": sql}), ("sql", {"statement": "SELECT 1 AS x"})]
    stopped, answered = over_stdio(passage_files["sqlite"], answers_to(calls), "--time-limit", "0.5")
    assert "stopped after 0.5 s" in stopped
    assert answered["rows"] == [{"x": 1}]


def test_models_are_loaded_by_the_first_question(passage_files):
    """An agent's start does not wait for models that it may never need."""
    code = (
        "import sys; from sqlrag.serve.untrusted import open_limited; from sqlrag.serve.mcp.server import make_server; "
        "from sqlrag.serve.tools import Tools; "
        f"make_server(Tools(open_limited({str(passage_files['sqlite'])!r}), 'x')); "
        "print('onnxruntime' in sys.modules, 'torch' in sys.modules, 'duckdb' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False False False\n"


# HTTP


@contextlib.contextmanager
def http_server(path, **environment):
    """Start a server on a free port; return where it listens and its token."""
    os.environ.update(environment)
    try:
        with started([*SERVER, str(path), "--http", "--port", "0", "--json"]) as process:
            told = json.loads(process.stdout.readline() or process.stderr.read())
            yield told["url"], told.get("token")
    finally:
        for name in environment:
            del os.environ[name]


@pytest.fixture(scope="module")
def served(passage_files):
    """A server over HTTP: its URL and token."""
    with http_server(passage_files["sqlite"]) as server:
        yield server


def over_http(url, token, talk):
    """Talk to a server over streamable HTTP."""

    async def run():
        headers = {"Authorization": f"Bearer {token}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=60) as http,
            Client(streamable_http_client(url, http_client=http)) as client,
        ):
            return await talk(client)

    return anyio.run(run)


def test_http(served):
    """The same tools, the same answers, to several clients at once."""

    async def talk(client):
        async def ask():
            found = await client.call_tool("search", {"question": "why do bees dance?", "top_n": 1})
            titles.append(found.structured_content["hits"][0]["source"]["title"])

        titles = []
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(ask)
        return [tool.name for tool in (await client.list_tools()).tools], titles

    names, titles = over_http(*served, talk)
    assert (len(names), titles) == (4, ["Bees"] * 4)


INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "a test", "version": "1"},
    },
}
PING = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}


def answer_to(url, token, **headers):
    """Send one plain request."""
    base = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
    headers = {**base, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return httpx2.post(url, json=PING, headers={name: value for name, value in headers.items() if value is not None})


WHO = [({}, 200), ({"Authorization": None}, 401), ({"Authorization": "Bearer wrong"}, 401),
       ({"Host": "evil.example"}, 421), ({"Origin": "http://evil.example"}, 403)]  # fmt: skip


@pytest.mark.parametrize(("headers", "status"), WHO, ids=str)
def test_who_may_ask(served, headers, status):
    """Nobody without the token, and no page of another site: the guard is the JSON API's, whose tests say more."""
    response = answer_to(*served, **headers)
    assert response.status_code == status
    assert ("Authorization" in response.text) == (status == 401)


def test_huge_request(served):
    """A body that no question needs is refused, and the server answers on."""
    url, token = served
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
    for statement, status in ((f"SELECT '{'x' * 5_000_000}'", 413), ("SELECT 1", 200)):
        call = {**PING, "method": "tools/call", "params": {"name": "sql", "arguments": {"statement": statement}}}
        assert httpx2.post(url, json=call, headers=headers, timeout=60).status_code == status


def test_answers_do_not_wait_for_acknowledgements(served):
    """Over one connection a small question takes milliseconds, not the 40 that a delayed acknowledgement takes."""
    url, token = served
    call = {**PING, "method": "tools/call", "params": {"name": "sql", "arguments": {"statement": "SELECT 1"}}}
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
    took = []
    with httpx2.Client(headers=headers) as client:
        for _ in range(15):
            began = time.perf_counter()
            assert client.post(url, json=call).status_code == 200
            took.append(time.perf_counter() - began)
    assert statistics.median(took) < 0.035


def test_it_listens_on_this_machine_alone(served):
    """The address is the loopback's, not one that a network reaches."""
    port = int(served[0].split(":")[2].split("/")[0])
    table = Path("/proc/net/tcp")
    if not table.exists():
        pytest.skip("there is no /proc/net/tcp here")
    addresses = [line.split()[1] for line in table.read_text().splitlines()]
    assert f"0100007F:{port:04X}" in addresses
    assert f"00000000:{port:04X}" not in addresses


def test_a_token_of_ones_own(passage_files):
    """A token from the environment is taken, and not printed."""
    with http_server(passage_files["sqlite"], **{TOKEN: "abcdefghijklmnop"}) as (url, token):
        assert token is None
        assert answer_to(url, "abcdefghijklmnop").status_code == 200
        assert answer_to(url, "abcdefghijklmno").status_code == 401


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["missing.db"], {}, "missing.db does not exist"),
        (["text.txt"], {}, "text.txt is not a SQLite database"),
        (["here.db", "--http"], {TOKEN: "short"}, f"{TOKEN} is no token"),
        (["here.db", "--time-limit", "0"], {}, "'--time-limit'"),
    ],
)
def test_what_is_wrong_is_said_at_once(tmp_path, passage_files, arguments, environment, message):
    """A server that cannot start ends with one line, and does not wait for an agent."""
    (tmp_path / "text.txt").write_text("This is no database.\n" * 100)
    (tmp_path / "here.db").write_bytes(passage_files["sqlite"].read_bytes())
    ran = subprocess.run(
        [*SERVER, *arguments], cwd=tmp_path, env={**os.environ, **environment}, capture_output=True, text=True,
        stdin=subprocess.PIPE, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode in {1, 2}
    assert ran.stdout == ""
    assert ran.stderr.startswith("Error: ")
    assert message in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_a_port_that_is_taken(served, passage_files):
    """Two servers on one port: the second says so."""
    port = served[0].split(":")[2].split("/")[0]
    ran = subprocess.run(
        [*SERVER, str(passage_files["sqlite"]), "--http", "--port", port], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == f"Error: port {port}: Address already in use: take another --port\n"


def test_without_the_extra(passage_files):
    """Who has not installed the SDK learns how to."""
    code = "import sys; sys.modules['mcp'] = None; from sqlrag.cli import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", code, "mcp", str(passage_files["sqlite"])], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("Error: this needs the MCP SDK")
    assert ran.stderr.endswith(': pip install "sqlrag[mcp]"\n')
    assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize("options", [["--http", "--port", "0"], []], ids=["http", "stdio"])
def test_ctrl_c_ends_it(passage_files, options):
    """A server in a terminal ends with Ctrl-C, soon and without a traceback."""
    command = [*SERVER, str(passage_files["sqlite"]), *options]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, encoding="utf-8") as process:
        try:
            if not options:
                process.stdin.write(json.dumps(INITIALIZE) + "\n")
                process.stdin.flush()
            assert process.stdout.readline()
            process.send_signal(signal.SIGINT)
            assert process.wait(30) in {0, 130, -signal.SIGINT}
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()
