"""The two-stage statement from other programs, against sqlrag in Python's own process.

    python benchmarks/clients.py [--chunks 10000] [--write]

Programs that load the SQLite extension, and programs that ask a server: those that can run here. On the docstrings of
the standard library. Each client is a process that stays; it is given a question, runs the statement and prints the
rows. What is measured is the time from the question to the last row, pipes included, and as the clients take turns,
what else the machine does falls on all of them. Each asks in words of its own: nothing is remembered of them. More is
the median over the questions of a client's time over Python's for the same question, with the same engine.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from clients_remote import commands, quack_command
from statement import QUESTIONS, STATEMENT

import sqlrag
from sqlrag.cli.standard_library import harvest
from sqlrag.store.driver.built_library import loadable_path

LINE = " ".join(STATEMENT.split())
END = "-- that was all"

PYTHON = """
import sys
{opening}
for question in sys.stdin:
    for row in db.execute({statement!r}, {{"q": question.strip()}}).fetchall():
        print(row)
    print({end!r}, flush=True)
"""
REFERENCE = "Python, in its own process"
DUCKDB = "Python, in its own process, DuckDB"
IN_PROCESS = "import sqlrag\ndb = sqlrag.connect(sys.argv[1], read_only=True)"
LOADING = """
import sqlite3
db = sqlite3.connect(sys.argv[1])
db.enable_load_extension(True)
db.load_extension(sys.argv[2])
"""
NODE = """
const {{ DatabaseSync }} = require("node:sqlite");
const db = new DatabaseSync(process.argv[2], {{ allowExtension: true }});
db.loadExtension(process.argv[3]);
const search = db.prepare({statement!r});
require("readline").createInterface({{ input: process.stdin }}).on("line", (question) => {{
    console.log(search.all({{ q: question }}));
    console.log({end!r});
}});
"""


class Client:
    """A process that answers questions; `reference` is the client that it is compared with."""

    def __init__(
        self, command: list[str], ask: Callable[[str], str] = "{}\n".format, reference: str = REFERENCE
    ) -> None:
        self.reference = reference
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._ask = ask

    def milliseconds(self, question: str) -> float:
        """Return how long a question takes."""
        started = time.perf_counter()
        self.process.stdin.write(self._ask(question))
        self.process.stdin.flush()
        while END not in (line := self.process.stdout.readline()):
            assert line, "a client has ended"
        return (time.perf_counter() - started) * 1000


def in_the_shell(question: str) -> str:
    """Return what the sqlite3 shell is told."""
    return f".parameter set :q \"'{question}'\"\n{LINE};\n.print {END}\n"


def clients(database: str, library: str, folder: Path) -> dict[str, Client]:
    """Start those clients that are here, the one to compare with first."""
    form = {"statement": STATEMENT, "end": END}
    own = PYTHON.format(opening=IN_PROCESS, **form)
    found = {REFERENCE: Client([sys.executable, "-c", own, database])}
    shell, node = shutil.which("sqlite3"), shutil.which("node")
    if shell:
        client = Client(["stdbuf", "-oL", shell, "-batch", database], in_the_shell)
        client.process.stdin.write(f".load {library}\n")
        found[f"sqlite3 shell {printed([shell, '--version']).split()[0]}"] = client
    if os.path.exists("/usr/bin/python3"):
        client = Client(["/usr/bin/python3", "-c", PYTHON.format(opening=LOADING, **form), database, library])
        found["sqlite3 of /usr/bin/python3"] = client
    if node and not subprocess.run([node, "-e", "require('node:sqlite')"], capture_output=True, check=False).returncode:
        (folder / "client.js").write_text(NODE.format(**form).replace(repr(STATEMENT), f"`{STATEMENT}`"))
        client = Client([node, str(folder / "client.js"), database, library])
        found[f"node:sqlite of Node {printed([node, '--version']).strip()}"] = client
    return found


def printed(command: list[str]) -> str:
    return subprocess.check_output(command, text=True)


def measure(found: dict[str, Client]) -> dict[str, list[float]]:
    """Return the milliseconds of each question by client, who take turns."""
    for client in found.values():
        client.milliseconds("warm up")
    times: dict[str, list[float]] = {name: [] for name in found}
    for question in QUESTIONS:
        for number, (name, client) in enumerate(found.items()):
            times[name].append(client.milliseconds(f"{question} ({number})"))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunks", type=int, default=10_000, help="at most this many docstrings")
    parser.add_argument("--write", action="store_true", help="write benchmarks/clients.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder, database = Path(name), str(Path(name, "stdlib.db"))
        chunks = make(database, arguments.chunks)
        os.environ["SQLRAG_SOCKET"] = str(folder / "server.sock")
        server = subprocess.Popen([sys.executable, "-m", "sqlrag", "serve", "--json"], stdout=subprocess.PIPE)
        stack.enter_context(server)
        stack.callback(server.terminate)
        server.stdout.readline()
        found = clients(database, loadable_path(), folder)
        for name_, command in commands(stack, database, END).items():
            found[name_] = Client(command)
        other = str(folder / "stdlib.duckdb")
        make(other, arguments.chunks)
        form = {"statement": STATEMENT, "end": END}
        if quack := quack_command(stack, other, END):
            own = PYTHON.format(opening=IN_PROCESS, **form)
            found[DUCKDB] = Client([sys.executable, "-c", own, other], reference=DUCKDB)
            found["`sqlrag serve --quack`, DuckDB"] = Client(quack, reference=DUCKDB)
        times = measure(found)
        for client in found.values():
            client.process.stdin.close()
            client.process.wait()
    references = {name: client.reference for name, client in found.items()}
    print(table := written(times, references, arguments.chunks, chunks))
    if arguments.write:
        (Path(__file__).parent / "clients.md").write_text(table, encoding="utf-8")


def make(database: str, chunks: int) -> int:
    """Make the database; return how many chunks it has."""
    with sqlrag.connect(database) as db:
        db.ingest(list(harvest())[:chunks])
        return db.info()[0].chunks


def written(times: dict[str, list[float]], references: dict[str, str], most: int, chunks: int) -> str:
    """Return the table."""
    lines = [
        "# The statement from other programs",
        "",
        f"`python benchmarks/clients.py --chunks {most}` on {len(os.sched_getaffinity(0))} CPUs "
        f"({platform.machine()}), Python {platform.python_version()}; {chunks:,} chunks, "
        f"{len(QUESTIONS)} questions, 25 candidates each; "
        "the models warm: those that load the extension and Datasette ask `sqlrag serve`, the servers have their own.",
        "",
        "| client | median, ms | more than Python |",
        "| --- | --- | --- |",
    ]
    for name, values in times.items():
        own = times[references[name]]
        more = median(value / reference for value, reference in zip(values, own, strict=True)) - 1
        lines.append(f"| {name} | {median(values):.1f} | {'' if values is own else f'{more:+.1%}'} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
