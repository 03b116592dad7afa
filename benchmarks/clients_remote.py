"""Programs that ask a server: Datasette with the plugin, the JSON API, PostgreSQL's protocol, MCP, DuckDB's quack.

Each is a Python process that stays, reads questions from its input and prints the rows, as those of `clients.py`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from statement import STATEMENT

import sqlrag

ANSWERS = """
for question in sys.stdin:
    for row in rows(question.strip()):
        print(row)
    print({end!r}, flush=True)
"""

DATASETTE = """
import http.client, json, sys, urllib.parse
server = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
def rows(question):
    query = urllib.parse.urlencode({{"sql": {statement!r}, "q": question, "_shape": "arrays"}})
    server.close()  # a server gives up a connection that is idle while others have their turns
    server.request("GET", f"/stdlib.json?{{query}}")
    return json.load(server.getresponse())["rows"]
"""
HTTP = """
import http.client, json, sys, urllib.parse
server = http.client.HTTPConnection(urllib.parse.urlsplit(sys.argv[1]).netloc)
headers = {{"Authorization": f"Bearer {{sys.argv[2]}}", "Content-Type": "application/json"}}
def rows(question):
    body = json.dumps({{"statement": {statement!r}, "params": {{"q": question}}}})
    server.close()
    server.request("POST", "/sql", body, headers)
    return json.load(server.getresponse())["rows"]
"""
POSTGRES = """
import psycopg, sys
db = psycopg.connect(sys.argv[1], password=sys.argv[2], autocommit=True)
def rows(question):
    return db.execute({statement!r}, {{"q": question}}).fetchall()
"""
MCP = """
import anyio, os, sys
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters
server = StdioServerParameters(command=sys.executable, args=["-m", "sqlrag", "mcp", sys.argv[1]], env=dict(os.environ))
async def answer():
    async with Client(server) as client:
        for question in sys.stdin:
            arguments = {{"statement": {statement!r}, "params": {{"q": question.strip()}}}}
            answer = await client.call_tool("sql", arguments)
            for row in answer.structured_content["rows"]:
                print(row)
            print({end!r}, flush=True)
anyio.run(answer)
"""
QUACK = """
import duckdb, sys
db = duckdb.connect(config={{"allow_unsigned_extensions": True}})
for extension in sys.argv[3:]:
    db.execute(f"LOAD '{{extension}}'")
db.execute(f"ATTACH '{{sys.argv[1]}}' AS remote (TOKEN '{{sys.argv[2]}}')")
def rows(question):
    sql = {statement!r}.replace(":q", "'" + question.replace("'", "''") + "'")
    return db.execute("FROM remote.query(?)", [sql]).fetchall()
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def served(stack: ExitStack, *arguments: str) -> dict[str, str]:
    """Start `sqlrag serve` with a database until the stack closes, and return what it says of itself."""
    command = [sys.executable, "-m", "sqlrag", "serve", *arguments, "--port", "0", "--json"]
    server = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL))
    stack.callback(server.terminate)
    return json.loads(server.stdout.readline())


def loading_python() -> str | None:
    """Return a Python of this version whose sqlite3 loads extensions, None where there is none."""
    code = "import sqlite3, sys; print(sys.version_info[:2], hasattr(sqlite3.Connection, 'enable_load_extension'))"
    for python in (sys.executable, "/usr/bin/python3"):
        if os.path.exists(python):
            ran = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
            if ran.stdout == f"{sys.version_info[:2]} True\n":
                return python
    return None


def environment_of(folder: Path) -> dict[str, str]:
    """Return the environment in which another Python finds this one's packages."""
    sites = [path for path in sys.path if path.endswith("site-packages")]
    (folder / "sitecustomize.py").write_text(f"import site\nfor place in {sites!r}:\n    site.addsitedir(place)\n")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sites])}


def commands(stack: ExitStack, database: str, end: str) -> dict[str, list[str]]:
    """Return the clients of a SQLite database that can run here by their names, their servers started."""

    def program(source: str, *arguments: str) -> list[str]:
        # PostgreSQL's drivers have parameters of their own kind.
        statement = STATEMENT.replace(":q", "%(q)s") if source is POSTGRES else STATEMENT
        answers = "" if source is MCP else ANSWERS
        return [sys.executable, "-c", (source + answers).format(statement=statement, end=end), *arguments]

    found = {}
    python = loading_python() if importlib.util.find_spec("datasette") else None
    if python:
        port = free_port()
        command = [python, "-m", "datasette", database, "--port", str(port), "--setting", "sql_time_limit_ms", "60000"]
        environment = os.environ if python == sys.executable else environment_of(Path(database).parent)
        plugins = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        stack.enter_context(plugins)
        stack.callback(plugins.terminate)
        while "Uvicorn running" not in plugins.stderr.readline():
            pass
        found["Datasette, its plugin, over HTTP"] = program(DATASETTE, str(port))
    if importlib.util.find_spec("starlette"):
        said = served(stack, database, "--http")
        found["`sqlrag serve --http`, its JSON API"] = program(HTTP, said["url"], said["token"])
    if importlib.util.find_spec("psycopg"):
        said = served(stack, database, "--postgres")
        found["`sqlrag serve --postgres`, psycopg"] = program(POSTGRES, said["url"], said["password"])
    if importlib.util.find_spec("mcp"):
        found["`sqlrag mcp`, its SDK's client"] = program(MCP, database)
    return found


def quack_command(stack: ExitStack, database: str, end: str) -> list[str] | None:
    """Return the client of a DuckDB database, its server started; None where DuckDB's extensions are not here."""
    import duckdb

    from sqlrag.serve.quack.server import load_extensions

    try:
        with duckdb.connect() as connection:
            load_extensions(connection)
    except sqlrag.Error:
        return None
    said = served(stack, database, "--quack")
    source = (QUACK + ANSWERS).format(statement=STATEMENT, end=end)
    paths = []
    for name in ("httpfs", "quack"):
        folder = os.path.dirname(importlib.util.find_spec(f"duckdb_extension_{name}").origin)
        paths.append(f"{folder}/extensions/v{duckdb.__version__}/{name}.duckdb_extension")
    return [sys.executable, "-c", source, said["url"], said["token"], *paths]
