"""Runs the fenced blocks of a page, in order, as somebody would who reads it from top to bottom.

Each page has a folder of its own, as `sqlrag demo` leaves it but smaller: `python-stdlib.db` and
`python-stdlib.duckdb`, `docs/` (Markdown pages), `articles.jsonl`, `articles.csv` and `examples/`. What a block writes
is there for the next one.

- ```` ```sql ````: run with `Database.execute` on both databases; with ` sqlite` or ` duckdb` after the language, on
  one. `:q` and `:budget` have values. A statement with columns must return rows, and the same rows on both engines (in
  any order where it has no ORDER BY).
- ```` ```python ````: run in this process. A block without an import begins where the last one stopped.
- ```` ```console ````: lines that begin with `$ ` are commands; what follows them is their output. `sqlrag` runs in
  this process, anything else in a shell with the installed `sqlrag` first on the PATH. ```` ```sh ````,
  ```` ```bash ````: the same, each line a command. `.venv/bin/` before a command is left out. Checked instead of run:
  `make` (the Makefile has the target), `pip install` (pyproject.toml has the extra), `sqlrag demo` (its options). Not
  run: `git clone`, `cd`, `python -m venv`, `source`.
- ```` ```text ````, or a fence without a language: the output of the last block that was run.
- ```` ```json ```` is parsed. ```` ```mermaid ```` is a drawing.
- `<!-- not run: WHY -->` in the line before a block: it is only compiled (python) or left alone (anything else).
- `<!-- first: COMMAND -->` on a line of its own: a command that prepares the next blocks and is not shown.

Output may be cut and its numbers may differ, but the first result that it names, a title of the demo's documents, must
be the first of the real output. If it names none, the words of its first line must be in the real output.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

import sqlrag
from sqlrag.cli import cli
from sqlrag.cli.standard_library import QUESTIONS
from sqlrag.cli.statements import DIALECTS
from sqlrag.values.sql_lexer import split

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
PARAMS = {"q": QUESTIONS[0], "budget": 500}
DATABASES = {"sqlite": "python-stdlib.db", "duckdb": "python-stdlib.duckdb"}

FENCE = re.compile(
    r"^(?:<!-- not run: (?P<why>[^\n]+) -->\n)?^```(?P<info>[^\n`]*)\n(?P<body>.*?)^```$"
    r"|^<!-- first: (?P<first>[^\n]+) -->$",
    re.MULTILINE | re.DOTALL,
)
NOT_RUN = re.compile(r"git clone |cd |python3? -m venv |source |\. ")


@dataclass(frozen=True)
class Block:
    """A fenced block, or a hidden command."""

    line: int
    language: str
    engines: tuple[str, ...]
    body: str
    not_run: str | None


def blocks_of(text: str) -> list[Block]:
    """Return the fenced blocks and hidden commands of a Markdown text in order."""
    blocks = []
    for found in FENCE.finditer(text):
        if found["first"]:
            line = text.count("\n", 0, found.start()) + 1
            blocks.append(Block(line, "sh", (), found["first"] + "\n", None))
            continue
        language, _, option = found["info"].strip().partition(" ")
        line = text.count("\n", 0, found.start("info")) + 1
        engines = (option,) if option else tuple(DATABASES)
        blocks.append(Block(line, language, engines, found["body"], found["why"]))
    return blocks


class Reader:
    """Somebody who goes through a page from top to bottom and does what it says."""

    def __init__(self, text: str, folder: Path, titles: set[str], page: str = "README.md") -> None:
        self.blocks = blocks_of(text)
        self._outcomes: list[Exception | None] = []
        self._page = page
        self._folder = folder
        self._titles = titles
        self._names: dict[str, object] = {}
        self._output: str | None = None

    def read(self, place: int) -> None:
        """Run the blocks as far as `place`, and raise what went wrong there."""
        with _inside(self._folder):
            for block in self.blocks[len(self._outcomes) : place + 1]:
                self._outcomes.append(self._outcome(block))
        outcome = self._outcomes[place]
        if outcome is not None:
            raise outcome

    def close(self) -> None:
        """Forget what Python blocks have opened."""
        self._names.clear()
        gc.collect()

    def _outcome(self, block: Block) -> Exception | None:
        try:
            self._block(block)
        except Exception as error:  # noqa: BLE001 - the test of that block raises it
            return error
        return None

    def _block(self, block: Block) -> None:
        if block.not_run is not None:
            self._output = None
            if block.language == "python":
                compile(block.body, self._page, "exec")
            return
        run = {
            "sql": self._sql, "python": self._program, "console": self._console, "sh": self._shell, "bash": self._shell,
            "text": self._shown, "": self._shown, "json": self._json, "mermaid": self._drawing,
        }  # fmt: skip
        assert block.language in run, f"the tests cannot run ```{block.language}: see the top of tests/docs/reader.py"
        run[block.language](block)

    def _sql(self, block: Block) -> None:
        printed = []
        for engine in block.engines:
            with sqlrag.connect(DATABASES[engine]) as db:
                for statement in split(block.body, DIALECTS[engine]):
                    result = db.execute(statement, PARAMS)
                    rows = result.fetchall()
                    assert rows or not result.columns, f"no rows on {engine}"
                lines = [" ".join(map(_plain, row)) for row in rows]
                printed.append("\n".join(lines if "ORDER BY" in statement.upper() else sorted(lines)))
        assert len(set(printed)) == 1, "the engines differ:\n" + "\n\n".join(printed)
        self._output = printed[0]

    def _program(self, block: Block) -> None:
        if re.search(r"^(import|from) ", block.body, re.MULTILINE):
            self.close()
            self._names["__name__"] = "__main__"
        code = compile("\n" * block.line + block.body, self._page, "exec")  # a traceback has the page's line
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(code, self._names)
        self._output = output.getvalue()

    def _console(self, block: Block) -> None:
        assert block.body.startswith("$ "), "a console block begins with `$ ` and a command"
        for part in re.split(r"^\$ ", block.body, flags=re.MULTILINE)[1:]:
            command, shown = re.fullmatch(r"((?:[^\n]*\\\n)*[^\n]*\n)(.*)", part, re.DOTALL).groups()
            self._command(command)
            if shown.strip():
                self._compare(shown)

    def _shell(self, block: Block) -> None:
        for command in re.findall(r"(?:.*\\\n)*.+\n", block.body):
            if not command.startswith("#"):
                self._command(command)

    def _command(self, command: str) -> None:
        command = command.strip().replace(".venv/bin/", "").replace("\\\n", " ")
        words = shlex.split(command, comments=True)
        self._output = None
        if words[0] == "make":
            _check_make(words[1:])
        elif re.search(r"\bpip install ", command):
            _check_pip(words)
        elif words[:2] == ["sqlrag", "demo"] and "--help" not in words:
            cli.commands["demo"].make_context("demo", words[2:])  # some thousands of docstrings: tests/cli runs it
        elif words[0] == "sqlrag" and not _needs_a_shell(command):
            self._output = self._in_process(words[1:])
        elif not NOT_RUN.match(command):
            self._output = self._in_a_shell(command)

    def _shown(self, block: Block) -> None:
        self._compare(block.body)

    def _json(self, block: Block) -> None:
        json.loads(block.body)

    def _drawing(self, block: Block) -> None:
        assert block.body.strip()

    def _in_process(self, arguments: list[str]) -> str:
        """Run a command of sqlrag's; return what it printed."""
        done = CliRunner().invoke(cli, arguments, prog_name="sqlrag", env={"COLUMNS": "100"})
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.stdout

    def _in_a_shell(self, command: str) -> str:
        """Run any other command; return what it printed."""
        path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
        assert shutil.which("sqlrag", path=path), "sqlrag is not installed: pip install -e ."
        done = subprocess.run(
            command,
            shell=True,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PATH": path, "PYTHONUTF8": "1", "COLUMNS": "100"},
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr or done.stdout
        return done.stdout

    def _compare(self, shown: str) -> None:
        """Compare what the page shows with what the last command printed."""
        assert self._output is not None, "output is shown, but nothing was run: see the top of tests/docs/reader.py"
        first = self._first_title(shown)
        if first is not None:
            assert first == self._first_title(self._output), f"the first result is not {first}:\n{self._output}"
            return
        lines = [line for line in shown.splitlines() if line.strip(" .…")]
        words = set(re.findall(r"[^\W\d_]{3,}", lines[0]))
        assert words, f"nothing in {lines[0]!r} can be compared"
        missing = words - set(re.findall(r"[^\W\d_]{3,}", self._output))
        assert not missing, f"{sorted(missing)} of {lines[0]!r} not in the output:\n{self._output}"

    def _first_title(self, text: str) -> str | None:
        """Return the first word that is a document's title, outside of quotes and comments."""
        text = re.sub(r"'[^'\n]*'|\"[^\"\n]*\"|#.*", "", text)
        words = re.findall(r"\w+(?:\.\w+)*", text)
        return next((word for word in words if word in self._titles), None)


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _needs_a_shell(command: str) -> bool:
    """Tell whether a command has a pipe, a redirection, a variable or the like in it."""
    tokens = shlex.shlex(command, posix=True, punctuation_chars=True)
    return "$" in command or any(set(token) <= set("();<>|&") for token in tokens)


def _plain(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _check_make(targets: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in (target for target in targets if "=" not in target):
        assert re.search(rf"^{re.escape(target)}\s*:", makefile, re.MULTILINE), f"no target {target} in the Makefile"


def _check_pip(words: list[str]) -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[project.optional-dependencies]")[2]
    extras = set(re.findall(r"^([\w-]+) = \[", project.partition("\n[")[0], re.MULTILINE))
    packages = [word for word in words if re.match(r"(sqlrag|\.)(\[|$)", word)]
    assert packages, "`pip install` of what? sqlrag or . is expected"
    for package in packages:
        asked = set(filter(None, re.split(r"[\[\],\s]+", package.strip(".").removeprefix("sqlrag"))))
        assert asked <= extras, f"no extra {sorted(asked - extras)} in pyproject.toml"
