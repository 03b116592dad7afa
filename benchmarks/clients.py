"""The two-stage statement from programs that only load the SQLite extension, against sqlrag in Python's own process.

    python benchmarks/clients.py [--chunks 10000] [--write]

On the docstrings of the standard library. Each client is a process that stays; it is given a question, runs the
statement and prints the rows. What is measured is the time from the question to the last row, pipes included, and as
the clients take turns, what else the machine does falls on all of them. Each asks in words of its own: nothing is
remembered of them. More is the median over the questions of a client's time over Python's for the same question.
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
from pathlib import Path
from statistics import median

from statement import QUESTIONS, STATEMENT

import sqlrag
from sqlrag.demo import harvest
from sqlrag.extension import loadable_path

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
    """A process that answers questions."""

    def __init__(self, command: list[str], ask: Callable[[str], str] = "{}\n".format) -> None:
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
    found = {"Python, in its own process": Client([sys.executable, "-c", own, database])}
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
    with tempfile.TemporaryDirectory() as name:
        folder, database = Path(name), str(Path(name, "stdlib.db"))
        with sqlrag.connect(database) as db:
            db.ingest(list(harvest())[: arguments.chunks])
            chunks = db.info()[0].chunks
        os.environ["SQLRAG_SOCKET"] = str(folder / "server.sock")
        server = subprocess.Popen([sys.executable, "-m", "sqlrag", "serve", "--json"], stdout=subprocess.PIPE)
        server.stdout.readline()
        found = clients(database, loadable_path(), folder)
        times = measure(found)
        for client in found.values():
            client.process.stdin.close()
            client.process.wait()
        server.terminate()
        server.wait()
    print(table := written(times, chunks))
    if arguments.write:
        (Path(__file__).parent / "clients.md").write_text(table, encoding="utf-8")


def written(times: dict[str, list[float]], chunks: int) -> str:
    """Return the table."""
    own = next(iter(times.values()))
    lines = [
        "# The statement from other programs",
        "",
        f"`python benchmarks/clients.py` on {len(os.sched_getaffinity(0))} CPUs ({platform.machine()}), "
        f"Python {platform.python_version()}; {chunks:,} chunks, {len(QUESTIONS)} questions, 25 candidates each; "
        "the models warm, in `sqlrag serve` for all but the first.",
        "",
        "| client | median, ms | more than Python |",
        "| --- | --- | --- |",
    ]
    for name, values in times.items():
        more = median(value / reference for value, reference in zip(values, own, strict=True)) - 1
        lines.append(f"| {name} | {median(values):.1f} | {'' if values is own else f'{more:+.1%}'} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
