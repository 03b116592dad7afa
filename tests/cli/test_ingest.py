"""`sqlrag ingest`, `info` and `check`."""

import dataclasses
import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import apsw
import pytest

import sqlrag
from sqlrag.models import Reranker
from sqlrag.results import IndexInfo, IngestReport
from tests.conftest import started
from tests.engine.databases import copy_of


def test_ingest_tells_what_it_did(run, tmp_path):
    """The summary counts documents, chunks and tokens, the rate, and the share that exceeds the window."""
    (tmp_path / "note.txt").write_text("A cross-encoder reads the question and the passage together.")
    result = run("ingest", tmp_path / "new.db", tmp_path / "note.txt")
    assert result.exit_code == 0, result.stderr
    assert re.fullmatch(
        r".*new\.db: documents: 1 added; 1 chunks, \d+ tokens in \d+\.\d s \([\d,]+ tokens/s\)\. "
        r"0\.0% of these chunks exceed the model's window\.\n",
        result.stdout,
    )


def test_ingest_json_is_the_report(run_json, tmp_path):
    """`--json` has the fields of `IngestReport`; a second run finds nothing to do, a change is a change."""
    note = tmp_path / "note.txt"
    note.write_text("A bi-encoder turns each text into a vector.")
    first = run_json("ingest", tmp_path / "new.db", note)
    assert list(first) == [field.name for field in dataclasses.fields(IngestReport)]
    assert (first["added"], first["unchanged"], first["unreadable"]) == (1, 0, [])
    again = run_json("ingest", tmp_path / "new.db", note)
    assert (again["added"], again["unchanged"], again["chunks"]) == (0, 1, 0)
    note.write_text("A bi-encoder turns each text into one vector, whatever the question.")
    changed = run_json("ingest", tmp_path / "new.db", note)
    assert (changed["added"], changed["changed"]) == (0, 1)


def test_columns_of_a_table_file(run_json, tmp_path):
    """The options name the columns that are text, title, key and metadata."""
    rows = [{"key": 7, "name": "Dijkstra", "body": "Shortest paths in a graph.", "year": 1959, "lang": "en"}]
    file = tmp_path / "papers.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    options = ["--text", "body", "--title", "name", "--id", "key", "--metadata", "year", "--metadata", "lang"]
    run_json("ingest", tmp_path / "new.db", file, *options)
    (hit,) = run_json("search", tmp_path / "new.db", "the quickest way between two nodes", "--top-n", "1")
    assert hit["title"] == "Dijkstra"
    assert hit["text"] == "Shortest paths in a graph."
    assert hit["metadata"] == {"year": 1959, "lang": "en"}


def test_tokenizer(run, run_json, error_line, tmp_path):
    """`--tokenizer` is of a new index, `info` says which it is, and an index keeps its own."""
    (tmp_path / "note.txt").write_text("A honeybee dances.")
    path = tmp_path / "new.db"
    run_json("ingest", path, tmp_path / "note.txt", "--tokenizer", "trigram")
    assert run_json("sql", path, "SELECT id FROM text_top_k('chunks', 'bee', 3)")
    assert run_json("info", path)["indexes"][0]["tokenizer"] == "trigram"
    assert re.search(r"full text +trigram tokenizer", run("info", path).stdout)
    again = run("ingest", path, tmp_path / "note.txt", "--tokenizer", "porter")
    assert again.exit_code == 1
    assert "tokenizer is porter, but index 'chunks' was made with trigram" in error_line(again)
    unknown = run("ingest", path, tmp_path / "note.txt", "--tokenizer", "icu")
    assert unknown.exit_code == 2
    assert "'icu' is not one of 'porter', 'unicode61', 'trigram'" in error_line(unknown)


def test_prune_removes_what_is_gone(run_json, tmp_path):
    """A file that was removed stays until `--prune`."""
    folder = tmp_path / "docs"
    folder.mkdir()
    for name in ("one", "two"):
        (folder / f"{name}.txt").write_text(f"The text of document {name}.")
    run_json("ingest", tmp_path / "new.db", folder)
    (folder / "two.txt").unlink()
    assert run_json("ingest", tmp_path / "new.db", folder)["removed"] == 0
    assert run_json("ingest", tmp_path / "new.db", folder, "--prune")["removed"] == 1


def test_unreadable_files_are_named_and_the_rest_is_ingested(run, tmp_path):
    """One bad file is told on stderr and doesn't fail the run; nothing but bad files does."""
    bad, good = tmp_path / "bad.jsonl", tmp_path / "good.txt"
    bad.write_text('{"text": "unfinished')
    good.write_text("A text like any other.")
    result = run("ingest", tmp_path / "new.db", bad, good)
    assert result.exit_code == 0
    assert result.stderr.startswith("1 row could not be read:\n")
    assert "bad.jsonl" in result.stderr
    assert "documents: 1 added" in result.stdout
    result = run("ingest", tmp_path / "other.db", bad)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "Error: nothing could be read"


def test_nothing_to_read(run, error_line, tmp_path):
    """A folder without a document is an error; what was left out is counted with its kinds."""
    (tmp_path / "docs").mkdir()
    result = run("ingest", tmp_path / "new.db", tmp_path / "docs")
    assert result.exit_code == 1
    assert error_line(result).startswith("Error: there was nothing to read: no file of a known kind")
    (tmp_path / "docs" / "picture.PNG").write_bytes(b"\x89PNG")
    (tmp_path / "docs" / "note.md").write_text("# A note\n\nWith one line.")
    result = run("ingest", tmp_path / "new.db", tmp_path / "docs")
    assert result.exit_code == 0
    assert result.stdout.endswith(". 1 file of other kinds left out: 1 .png (images need OCR first).\n")
    (tmp_path / "docs" / "program").write_text("all:")
    result = run("ingest", tmp_path / "new.db", tmp_path / "docs")
    assert result.stdout.endswith("; 1 no suffix (as text: --include NAME).\n")


def test_info(run, run_json, db):
    """Counts and models of each index, and the file's size."""
    found = run_json("info", db)
    assert list(found) == ["path", "engine", "bytes", "indexes"]
    assert found["engine"] == ("duckdb" if db.endswith(".duckdb") else "sqlite")
    assert found["bytes"] > 100_000
    (index,) = found["indexes"]
    assert list(index) == [field.name for field in dataclasses.fields(IndexInfo)]
    assert (index["index"], index["dimension"], index["backlog"]) == ("chunks", 384, 0)
    assert index["chunks"] >= index["documents"] > 50
    shown = run("info", db).stdout
    assert f"{index['chunks']:,}, {index['tokens']:,} tokens" in shown
    assert "none: up to date" in shown
    assert "cached" not in shown


def test_info_of_a_score_cache(run, engine, passage_files, tmp_path):
    """Rows and hits of a cache stand in it where there is one."""
    path = copy_of(passage_files[engine], tmp_path)
    for _ in range(2):
        with sqlrag.connect(path, score_cache=1_000, reranker=Reranker()) as db:
            db.search("how do bees dance?")
    assert "  scores     25 cached, 25 hits\n" in run("info", path).stdout


def test_check_of_a_sound_database(run, run_json, db):
    """Nothing is wrong, and the exit status says so."""
    result = run("check", db)
    assert result.exit_code == 0
    assert result.stdout == f"{db}: no problems found\n"
    assert run_json("check", db) == []


def test_check_finds_damage(run, tmp_path):
    """A chunk whose vector is gone is a problem, on a line of its own, and the exit status is 1."""
    (tmp_path / "note.txt").write_text("A text like any other.")
    path = tmp_path / "new.db"
    run("ingest", path, tmp_path / "note.txt")
    assert run("sql", path, "DELETE FROM chunks_vec").exit_code == 0
    result = run("check", path)
    assert result.exit_code == 1
    assert result.stdout.strip()
    assert "Traceback" not in result.stdout
    listed = run("check", path, "--json")
    assert listed.exit_code == 1
    assert json.loads(listed.stdout) == result.stdout.splitlines()


def test_progress_is_shown_on_a_terminal_only(terminal, process, folder, tmp_path):
    """A terminal sees a bar with the rate; a pipe sees the summary."""
    files = sorted(folder.glob("timeit*"))
    status, shown = terminal("ingest", tmp_path / "a.db", *files)
    assert status == 0
    assert "tokens/s" in shown
    assert "\x1b[" in shown
    result = process("ingest", tmp_path / "b.db", *files)
    assert result.err == ""
    assert len(result.out.splitlines()) == 1


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C of another process can't be sent there")
@pytest.mark.usefixtures("real_models")
def test_ctrl_c_keeps_what_is_done(process, tmp_path):
    """Ctrl-C ends with status 130 and one line that says what is kept; the same command goes on from there."""
    rows = 800  # several commits
    file = tmp_path / "long.jsonl"
    file.write_text(
        "\n".join(json.dumps({"text": f"Row {i} says that {i} comes before {i + 1}."}) for i in range(rows))
    )
    path = tmp_path / "new.db"
    command = [sys.executable, "-m", "sqlrag", "ingest", str(path), str(file)]
    with started(command) as running:
        deadline = time.monotonic() + 60
        while not _chunks(path):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (130, "")
    assert err == f"Interrupted: what was finished is in {path}; the same command goes on from there\n"
    kept = _chunks(path)
    assert 0 < kept < rows
    assert process("check", path).status == 0
    report = json.loads(process("ingest", path, file, "--json").out)
    assert (report["added"], report["unchanged"]) == (rows - kept, kept)


def _chunks(path):
    """Return how many chunks another process has committed."""
    if not path.exists():
        return 0
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return connection.execute("SELECT count(*) FROM chunks").fetchone()[0]
    except apsw.Error:
        return 0
    finally:
        connection.close()


def _seconds_of_work(pid: int) -> float:
    """Return the seconds of the processor that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_ctrl_c_stops_a_statement(db):
    """A statement that would run for ever is stopped inside the engine."""
    statement = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    command = [sys.executable, "-m", "sqlrag", "sql", db, statement]
    with started(command) as running:
        while _seconds_of_work(running.pid) < 3:  # starting takes one; on a busy machine three pass before that
            assert running.poll() is None
            time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=30)
    assert (running.returncode, out) == (130, "")
    assert err == "Interrupted: the statement that ran was stopped; what ran before it stays\n"
