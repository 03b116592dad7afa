"""Every fenced block of README.md is run, in order, in a folder as the demo leaves it.

What may stand there, and what becomes of it:

- The folder has `python-stdlib.db` and `python-stdlib.duckdb` (small ones), `docs/` (Markdown pages), `articles.jsonl`,
  `articles.csv` and `examples/`. What a block writes is there for the next one.
- ```` ```sql ````: run with `Database.execute` on both databases, or with ` sqlite` or ` duckdb` after the language on
  one. `:q` and `:budget` have values. What has columns must have rows, and the same on both (in any order where no
  ORDER BY says one).
- ```` ```python ````: run in a process of its own. A block without `import sqlrag` goes on where the last one stopped.
- ```` ```console ````: lines that begin with `$ ` go to the shell, with the installed `sqlrag` first on the PATH; what
  follows them is their output. ```` ```sh ````, ```` ```bash ````: the same, each line a command. `.venv/bin/` before a
  command is left out. Not run, but checked: `make` (the target is in the Makefile), `pip install` (the extra is in
  pyproject.toml), `sqlrag demo` (its options). Not run: `git clone`, `cd`, `python -m venv`, `source`.
- ```` ```text ````, or a fence without a language: the output of the last block before it that was run.
- ```` ```json ```` is parsed.
- `<!-- not run: WHY -->` in the line before a block: it is only compiled (python) or left alone (all else).

Shown output may be cut and its numbers may differ, but the first result that it names, a title of the demo's documents,
must be the first of the real output. Where it names none, the words of its first line must be in the real output.
"""

from __future__ import annotations

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

import pytest

import sqlrag
from sqlrag.cli import cli
from sqlrag.cli.standard_library import QUESTIONS
from sqlrag.cli.statements import split_statements

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PARAMS = {"q": QUESTIONS[0], "budget": 500}
DATABASES = {"sqlite": "python-stdlib.db", "duckdb": "python-stdlib.duckdb"}

FENCE = re.compile(
    r"^(?:<!-- not run: (?P<why>.+) -->\n)?^```(?P<info>[^\n`]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)
NOT_RUN = re.compile(r"git clone |cd |python3? -m venv |source |\. ")

# Runs the last of a list of sources; what those before it print is not shown.
PROGRAM = """
import contextlib, io, json, sys
*before, last = json.load(sys.stdin)
names = {"__name__": "__main__"}
with contextlib.redirect_stdout(io.StringIO()):
    for source in before:
        exec(compile(source, "README.md", "exec"), names)
exec(compile(last, "README.md", "exec"), names)
"""


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    line: int
    language: str
    engines: tuple[str, ...]
    body: str
    not_run: str | None


def blocks_of(text: str) -> list[Block]:
    """Return the fenced blocks of a Markdown text in order."""
    blocks = []
    for found in FENCE.finditer(text):
        language, _, option = found["info"].strip().partition(" ")
        line = text.count("\n", 0, found.start("info")) + 1
        engines = (option,) if option else tuple(DATABASES)
        blocks.append(Block(line, language, engines, found["body"], found["why"]))
    return blocks


class Reader:
    """Someone who goes through a README from top to bottom and does what it says."""

    def __init__(self, text: str, folder: Path, titles: set[str]) -> None:
        self.blocks = blocks_of(text)
        self.outcomes: list[Exception | None] = []
        self._folder = folder
        self._titles = titles
        self._python: list[str] = []
        self._output: str | None = None

    def read(self, place: int) -> None:
        """Run the blocks as far as `place`, and raise what went wrong there."""
        for block in self.blocks[len(self.outcomes) : place + 1]:
            self.outcomes.append(self._outcome(block))
        outcome = self.outcomes[place]
        if outcome is not None:
            raise outcome

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
                compile(block.body, "README.md", "exec")
            return
        run = {
            "sql": self._sql, "python": self._program, "console": self._console, "sh": self._shell, "bash": self._shell,
            "text": self._shown, "": self._shown, "json": self._json,
        }  # fmt: skip
        assert block.language in run, f"nothing is known of ```{block.language}: see the top of this test"
        run[block.language](block)

    def _sql(self, block: Block) -> None:
        printed = []
        for engine in block.engines:
            with sqlrag.connect(self._folder / DATABASES[engine]) as db:
                for statement in split_statements(block.body):
                    result = db.execute(statement, PARAMS)
                    rows = result.fetchall()
                    assert rows or not result.columns, f"no rows on {engine}"
                lines = [" ".join(map(_plain, row)) for row in rows]
                printed.append("\n".join(lines if "ORDER BY" in statement.upper() else sorted(lines)))
        assert len(set(printed)) == 1, "the engines differ:\n" + "\n\n".join(printed)
        self._output = printed[0]

    def _program(self, block: Block) -> None:
        if "import sqlrag" in block.body:
            self._python = []
        self._python.append(block.body)
        self._output = self._run([sys.executable, "-c", PROGRAM], input=json.dumps(self._python))

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
        command = command.strip().replace(".venv/bin/", "")
        words = shlex.split(command, comments=True)
        self._output = None
        if words[0] == "make":
            _check_make(words[1:])
        elif re.search(r"\bpip install ", command):
            _check_pip(words)
        elif words[:2] == ["sqlrag", "demo"]:
            cli.commands["demo"].make_context("demo", words[2:])  # some thousands of docstrings: tests/cli runs it
        elif not NOT_RUN.match(command):
            self._output = self._run(command, shell=True, stdin=subprocess.DEVNULL)

    def _shown(self, block: Block) -> None:
        self._compare(block.body)

    def _json(self, block: Block) -> None:
        json.loads(block.body)

    def _run(self, command: str | list[str], **options) -> str:
        """Run a program in the folder; return what it printed."""
        path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
        assert shutil.which("sqlrag", path=path), "sqlrag is not installed: pip install -e ."
        done = subprocess.run(
            command,
            cwd=self._folder,
            env={**os.environ, "PATH": path, "PYTHONUTF8": "1", "COLUMNS": "100"},
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=False,
            **options,
        )
        assert done.returncode == 0, done.stderr or done.stdout
        return done.stdout

    def _compare(self, shown: str) -> None:
        """Compare what the README shows with what the last command printed."""
        assert self._output is not None, "what is shown as output is of nothing that was run: see the top of this test"
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
        """Return the first word that is a document's title; what is in quotes or a comment is none."""
        text = re.sub(r"'[^'\n]*'|\"[^\"\n]*\"|#.*", "", text)
        words = re.findall(r"\w+(?:\.\w+)*", text)
        return next((word for word in words if word in self._titles), None)


def _plain(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _check_make(targets: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in (target for target in targets if "=" not in target):
        assert re.search(rf"^{re.escape(target)}\s*:", makefile, re.MULTILINE), f"no target {target} in the Makefile"


def _check_pip(words: list[str]) -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[project.optional-dependencies]")[2]
    extras = set(re.findall(r"^(\w+) = \[", project.partition("\n[")[0], re.MULTILINE))
    packages = [word for word in words if re.match(r"(sqlrag|\.)(\[|$)", word)]
    assert packages, "`pip install` of what? sqlrag or . is expected"
    for package in packages:
        asked = set(filter(None, re.split(r"[\[\],\s]+", package.strip(".").removeprefix("sqlrag"))))
        assert asked <= extras, f"no extra {sorted(asked - extras)} in pyproject.toml"


@pytest.fixture(scope="module")
def titles(harvested) -> set[str]:
    """The titles of the small database."""
    return {document.title for document in harvested}


@pytest.fixture(scope="module")
def reader(prepared, titles, tmp_path_factory) -> Reader:
    """The reader of README.md."""
    folder = shutil.copytree(prepared, tmp_path_factory.mktemp("readme") / "here", symlinks=True)
    return Reader(README, folder, titles)


def _ids() -> Iterator[str]:
    return (f"line {block.line}: {block.language or 'text'}" for block in blocks_of(README))


@pytest.mark.parametrize("place", range(len(blocks_of(README))), ids=_ids())
def test_block(place, reader):
    """The block does what README.md says."""
    reader.read(place)


def test_nothing_is_left_to_fill_in():
    """No figure or output is still a placeholder."""
    assert re.findall(r"@@\w+@@", README) == []


def test_commands_in_the_text_exist():
    """Each `sqlrag command` that the text names is one."""
    named = set(re.findall(r"`sqlrag ([a-z]+)", README))
    assert named
    assert named <= set(cli.commands)


@pytest.mark.parametrize("name", ["README.md", "examples/README.md"])
def test_links_lead_somewhere(name):
    """A relative link names a file or folder of the repository."""
    page = ROOT / name
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (page.parent / link).exists()] == []


WRONG = {
    "a statement that fails": ("```sql\nSELECT nothing FROM chunks\n```", "nothing"),
    "a statement without rows": ("```sql\nSELECT 1 FROM chunks WHERE id < 0\n```", "no rows on sqlite"),
    "an engine's own SQL": ("```sql\nSELECT sqlite_version()\n```", "sqlite_version"),
    "a program that fails": ("```python\nimport sqlrag\nsqlrag.conect('x.db')\n```", "conect"),
    "a command that fails": ("```console\n$ sqlrag search python-stdlib.db\n```", "QUESTION"),
    "an option that is none": ("```sh\nsqlrag demo --motor duckdb\n```", "--motor"),
    "a target that is none": ("```console\n$ make coffee\n```", "no target coffee"),
    "an extra that is none": ('```sh\npip install "sqlrag[gpu]"\n```', "no extra ['gpu']"),
    "another language": ("```ruby\nputs 1\n```", "```ruby"),
    "output of nothing": ("```text\n0.9  timeit\n```", "nothing that was run"),
    "another first result": ("```console\n$ echo 1 timeit.Timer\n0.9  timeit.timeit\n```", "not timeit.timeit"),
    "another result of SQL": (
        "```sql\nSELECT 'random.choice'\n```\n```text\nrandom.shuffle\n```",
        "not random.shuffle",
    ),
    "another output": ("```console\n$ echo three dogs\n3 cats\n```", "cats"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_found(text, message, prepared, titles, tmp_path):
    """A README that says something wrong does not pass: each rule above can fail."""
    reader = Reader(text, shutil.copytree(prepared, tmp_path / "here", symlinks=True), titles)
    with pytest.raises(Exception, match=re.escape(message)):
        reader.read(len(reader.blocks) - 1)


def test_what_is_right_passes(prepared, titles, tmp_path):
    """Blocks build on each other, output may be cut and differ in its numbers, and what can't be run is left out."""
    text = """
```console
$ make test     # a comment
$ sqlrag sql python-stdlib.db -p q="choose a random element" \\
    "SELECT title, score FROM search('chunks', :q) JOIN documents AS d ON d.id = source_id"
title     score
…
random.choice  0.1
```
```sql sqlite
SELECT vec_version() AS version, 'timeit.Timer'
```
```text
version
v9.9.9  timeit.Timer
```
```python
import sqlrag
found = sqlrag.connect("python-stdlib.db").search("choose a random element")
print("not of the next block")
```
```python
print(found[0].title, 25)
```
```
random.choice 24
```
<!-- not run: no such model here -->
```python
sqlrag.connect("other.db", embedder="no/such-model")
```
"""
    reader = Reader(text, shutil.copytree(prepared, tmp_path / "here", symlinks=True), titles)
    assert [block.language for block in reader.blocks] == ["console", "sql", "text", "python", "python", "", "python"]
    for place in range(len(reader.blocks)):
        reader.read(place)
