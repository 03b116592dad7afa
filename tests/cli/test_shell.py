"""`sqlrag shell`, through a pipe and at a terminal."""

import re


def test_statements_through_a_pipe(run, db):
    """Lines are gathered until a semicolon, results come in the format asked for, no prompt is shown."""
    result = run("shell", db, "--format", "csv", input="SELECT 1\n  AS a;\n\nSELECT 2 AS b; SELECT 3 AS c")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "a\n1\nb\n2\nc\n3\n"


def test_a_statement_of_many_lines(run, db):
    """A semicolon or a dot at the beginning of a line of a text ends nothing; what follows on the line is the next."""
    result = run("shell", db, "--format", "csv", input="SELECT 'a;\n.quit\n;' AS a; -- ;\nSELECT\n2\nAS b;/* ; */")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == 'a\n"a;\n.quit\n;"\nb\n2\n'


def test_dot_commands(run, db):
    """Parameters are set, used, listed and forgotten; the format changes; `.quit` ends it."""
    script = (
        ".param set :name O'Brien\n.param set k 25\n.param\n.format json\nSELECT :name AS name, :k + 1 AS next;\n"
        ".param clear\n.param list\n.quit\nSELECT 'not reached' AS x;\n"
    )
    result = run("shell", db, input=script)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ':name = O\'Brien\n:k = 25\n[{"name": "O\'Brien", "next": 26}]\n'


def test_values_with_blanks(run, db):
    """The value of a parameter is the rest of the line."""
    result = run("shell", db, "--json", input=".param set q how long does it take?\nSELECT :q AS q;")
    assert result.stdout == '[{"q": "how long does it take?"}]\n'


def test_tables_and_schema(run, db):
    """`.tables` lists what people query, not what FTS5 and sqlite-vec keep for themselves; `.schema` shows SQL."""
    tables = run("shell", db, "--format", "csv", input=".tables").stdout
    assert {"chunks,table", "documents,table"} <= set(re.sub("base table", "table", tables).splitlines())
    assert "_rowids" not in tables
    schema = run("shell", db, input=".schema documents")
    assert schema.exit_code == 0, schema.stderr
    assert re.search(r"(?i)CREATE TABLE.*documents.*content_hash", schema.stdout, re.DOTALL)
    assert "chunks_vec" not in schema.stdout


def test_help_names_every_dot_command(run, db):
    """`.help` lists what the shell understands."""
    shown = run("shell", db, input=".help").stdout
    assert all(f"\n{name}" in shown for name in (".tables", ".schema", ".param", ".format", ".help", ".quit"))


def test_a_failure_in_a_pipe_ends_it(run, error_line, db):
    """A script does not go on after an error."""
    result = run("shell", db, "--format", "csv", input="SELECT 1 AS a;\nSELECT * FROM nope;\nSELECT 2 AS b;")
    assert result.exit_code == 1
    assert result.stdout == "a\n1\n"
    assert "nope" in error_line(result)


def test_an_unknown_dot_command(run, error_line, db):
    """A dot command that isn't one is named, with the way to those that are."""
    result = run("shell", db, input=".nope x\n")
    assert result.exit_code == 2
    assert error_line(result).startswith("Error: '.nope x' is no command of this shell: .help lists them")


def test_at_a_terminal(terminal, db, tmp_path, monkeypatch):
    """There are prompts, an error does not end it, lines are remembered for the next time."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    status, shown = terminal(
        "shell", db, typed="SELECT\n 40 + 2 AS answer;\nSELECT * FROM nope;\nSELECT 43 AS more;\n.quit\n"
    )
    assert status == 0
    assert "sqlrag> " in shown
    assert "   ...> " in shown
    assert "42" in shown
    assert "Error: " in shown
    assert "43" in shown
    assert "Traceback" not in shown
    assert "40 + 2 AS answer" in (tmp_path / "sqlrag" / "history").read_text()
