"""All commands together: help, version, start-up, and how they fail."""

import re
import subprocess
import sys

import click
import pytest

from sqlrag.cli import cli

COMMANDS = [
    "demo", "ingest", "index", "search", "compare", "context", "sql", "shell", "sync", "reindex", "info", "check",
    "eval", "models", "serve", "status", "stop", "extension", "mcp", "export",
    "spark-pull",
]  # fmt: skip


def test_every_command_is_listed(run):
    """`sqlrag --help` lists the commands, the demo first, and none but these."""
    result = run("--help")
    assert result.exit_code == 0
    listed = re.findall(r"^  ([\w-]+)  +\S", result.stdout.split("Commands:")[1], re.MULTILINE)
    assert listed == COMMANDS


GROUPS = {"models": ["list", "pull", "check", "add", "remove", "export", "bench"]}


@pytest.mark.parametrize("group", GROUPS)
def test_every_command_of_a_group_is_listed(run, group):
    """The help of a group lists its commands, and none but these."""
    listed = re.findall(r"^  ([\w-]+)  +\S", run(group, "--help").stdout.split("Commands:")[1], re.MULTILINE)
    assert listed == GROUPS[group]


@pytest.mark.parametrize(
    "path",
    [[name] for name in COMMANDS if name not in GROUPS] + [[group, name] for group in GROUPS for name in GROUPS[group]],
    ids=" ".join,
)
def test_every_command_has_help(run, path):
    """A command says what it does, has help for each of its options, and takes `--json`."""
    result = run(*path, "--help")
    assert result.exit_code == 0
    command = cli
    for name in path:
        command = command.commands[name]
    assert command.help
    assert "--json" in result.stdout
    options = [param for param in command.params if isinstance(param, click.Option)]
    assert [option.name for option in options if not option.help and not option.show_default] == []


def test_short_help_is_not_cut(run):
    """What the list says of a command is a whole sentence."""
    assert "..." not in run("--help").stdout.split("Commands:")[1]


def test_version(run):
    """`--version` names the program, its version and the Python that it runs on."""
    assert re.fullmatch(r"sqlrag \d+\.\d+\.\d+ \(Python 3\.\d+\.\d+\)\n", run("--version").stdout)


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["search", "--help"], ["search", "missing.db", "q"]])
def test_light_commands_import_nothing_heavy(args):
    """Help, version and a mistyped path cost no model, no engine and no colours."""
    code = (
        "import sys\n"
        f"sys.argv[1:] = {args!r}\n"
        "from sqlrag.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit:\n    pass\n"
        "print('imported', *sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    imported = set(done.stderr.rpartition("imported ")[2].split())
    assert "click" in imported
    heavy = {"numpy", "onnxruntime", "tokenizers", "duckdb", "pyarrow", "rich", "apsw", "torch", "pandas"}
    assert imported & heavy == set()


NEEDED = ("error_reporting", "interrupt", "options", "program", "query")
"""The modules of the command line that `sqlrag search` needs."""


def test_a_command_imports_no_other(tmp_path):
    """What a cold `sqlrag search` waits for is its own code: not the shell's, the servers' or the evaluation's."""
    code = (
        "import sys\n"
        f"sys.argv[1:] = ['search', {str(tmp_path / 'missing.db')!r}, 'q']\n"
        "from sqlrag.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit:\n    pass\n"
        "print('imported', *sorted(name for name in sys.modules if name.startswith('sqlrag')), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    imported = {name for name in done.stderr.rpartition("imported ")[2].split() if name.startswith("sqlrag.cli.")}
    assert imported == {f"sqlrag.cli.{name}" for name in NEEDED}


def test_every_command_is_there():
    """Each name of the list is the command of that name."""
    assert {name: command.name for name, command in cli.commands.items()} == {name: name for name in cli.commands}


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        (["serach"], 2, r"No such command 'serach'"),
        (["search"], 2, r"Missing argument 'DB'"),
        (["search", "missing.db", "q"], 2, r"missing\.db does not exist: make it with `sqlrag ingest missing\.db"),
        (["compare", "missing.db", "q"], 2, r"missing\.db does not exist"),
        (["sql", "missing.db", "SELECT 1"], 2, r"missing\.db does not exist"),
        (["shell", "missing.db"], 2, r"missing\.db does not exist"),
        (["info", "missing.db"], 2, r"missing\.db does not exist"),
        (["check", "missing.duckdb"], 2, r"missing\.duckdb does not exist"),
        (["info", "."], 2, r"\. is a folder"),
        (["ingest", "new.db"], 2, r"name files or folders, or '-' for stdin"),
        (["ingest", "new.db", "no-such-folder"], 2, r"Path 'no-such-folder' does not exist"),
        (["ingest", "new.db", ".", "--max-tokens", "0"], 2, r"'--max-tokens': 0 is not in the range"),
        (["ingest", "new.db", ".", "--engine", "postgres"], 2, r"'--engine': 'postgres' is not one of"),
        (["demo", "--path", "no/such/folder/x.db"], 1, r"there is no folder no/such/folder"),
        (["search", "text.txt", "q"], 1, r"text\.txt"),
        (["info", "text.txt"], 1, r"text\.txt"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line(  # noqa: PLR0917 - fixtures
    process, error_line, tmp_path, args, status, message
):
    """Bad input: an exit status, one line that names what was wrong, no file made."""
    (tmp_path / "text.txt").write_text("This is not a database, but it is long enough to look at.\n" * 20)
    result = process(*args, cwd=tmp_path)
    assert result.status == status
    assert re.match("Error: .*" + message, error_line(result))
    assert result.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--top-n", "30"], r"top_n"),
        (["--top-k", "0"], r"'--top-k': 0 is not in the range"),
        (["--index", "nope"], r"nope"),
        (["--filter", "no_such_column = 1"], r"no_such_column"),
        (["--filter", "1; DROP TABLE chunks"], r"filter"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.parametrize("command", ["search", "compare"])
def test_bad_options_of_a_search_are_one_line(  # noqa: PLR0917 - fixtures
    run, error_line, db, command, args, message
):
    """A search that cannot be as asked says which option is wrong."""
    result = run(command, db, "how long does it take?", *args)
    assert result.exit_code in (1, 2)
    assert re.search(message, error_line(result))
    assert result.stdout == ""


def test_output_has_no_colours_in_a_pipe(process, db):
    """A pipe gets neither colours nor a progress bar."""
    result = process("search", db, "how long does a piece of code take?")
    assert result.status == 0
    assert "\x1b" not in result.out
    assert result.err == ""


def test_output_has_colours_on_a_terminal(terminal, db):
    """A terminal gets colours, and the time taken."""
    status, shown = terminal("search", db, "how long does a piece of code take?")
    assert status == 0
    assert "\x1b[" in shown
    assert re.search(r"3 of the first 25 candidates, in \d+\.\d\d s", shown)


def test_a_reader_that_leaves_is_no_error(db):
    """`sqlrag sql … | head -1` is quiet."""
    statement = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) SELECT i FROM n"
    command = f'"{sys.executable}" -m sqlrag sql "{db}" --format csv "{statement}" | head -1'
    done = subprocess.run(command, shell=True, capture_output=True, encoding="utf-8", check=False)
    assert done.stdout == "i\n"
    assert done.stderr == ""
