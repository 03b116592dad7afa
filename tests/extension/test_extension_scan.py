"""sqlrag_scan() and sqlrag_look_up() in other programs, on damaged files, under the sanitizers and valgrind."""

from __future__ import annotations

import shutil

import pytest

MADE = [
    "CREATE VIRTUAL TABLE a_vec USING vec0 (embedding FLOAT[8], chunk_size = 16);",
    "CREATE VIRTUAL TABLE a_codes USING vec0 (cell INTEGER PARTITION KEY, code INT8[8] distance_metric = L1, "
    "chunk_size = 8);",
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) "
    "INSERT INTO a_vec (rowid, embedding) SELECT i, vec_f32('[' || i || ', 1, 2, 3, 4, 5, 6, 7]') FROM n;",
    *(
        f"INSERT INTO a_codes (rowid, cell, code) VALUES ({i}, {i % 4}, vec_int8('[{i % 100}, -1, 2, 3, 4, 5, 6, 7]'));"
        for i in range(1, 301)
    ),
    "DELETE FROM a_vec WHERE rowid % 5 = 0;",
    "CREATE TABLE q AS SELECT vec_f32('[7, 1, 2, 3, 4, 5, 6, 7]') AS vector, x'07ff020304050607' AS code;",
]
ASKED = [
    "SELECT id, distance FROM q, sqlrag_scan('a_vec', 'float32 L2', vector, 3);",
    "SELECT count(*), max(measured) FROM q, sqlrag_scan('a_vec', 'float32 L2', vector, 1000, '[1,2,3,5,299]');",
    "SELECT id, distance FROM q, sqlrag_scan('a_codes', 'int8 L1', code, 3, NULL, '[1,3]');",
    "SELECT id, distance FROM q, sqlrag_look_up('a_vec', 'float32 L2', vector, 3, '[9,8,300,1,1]');",
    "SELECT id, distance FROM q, sqlrag_look_up('a_codes', 'int8 L2', code, 2, '[9,8,300]');",
]
ANSWERS = ["7|0.0", "6|1.0", "8|1.0", "4|4", "7|0.0", "107|0.0", "207|0.0", "8|1.0", "9|2.0", "1|6.0", "8|1.0", "9|2.0"]

DAMAGE = [
    "UPDATE a_{table}_vector_chunks00 SET vectors = {value}",
    "UPDATE a_{table}_chunks SET validity = {value}",
    "UPDATE a_{table}_chunks SET rowids = {value}",
    "UPDATE a_{table}_rowids SET chunk_offset = {value}",
    "UPDATE a_{table}_rowids SET chunk_id = {value}",
]
VALUES = ["x''", "x'ff'", "zeroblob(7)", "zeroblob(100000)", "7", "-1", "9223372036854775807", "'a text'"]


def test_it_finds_what_is_nearest(checked):
    """The shell has it with the extension; no server is asked."""
    assert checked.run(*MADE, *ASKED).stdout.split() == ANSWERS


def test_damaged_tables(checked):
    """Whatever stands where sqlite-vec had written, nothing is read out of bounds: rows, or one clear error."""
    script = [*MADE]
    for table in ("vec", "codes"):
        for damage in DAMAGE:
            for value in VALUES:
                script += ["SAVEPOINT s;", f"{damage.format(table=table, value=value)};", *ASKED, "ROLLBACK TO s;"]
    done = checked.run(*script, *ASKED)
    assert done.stdout.split()[-len(ANSWERS) :] == ANSWERS
    said = {line.split(": ", 1)[-1] for line in done.stderr.splitlines() if "damaged" in line}
    assert len(said) == 1, said
    assert all("sqlrag check --repair makes them anew" in line for line in said)


def test_arguments_that_are_none(checked):
    """Wrong arguments of every kind are errors, and nothing worse."""
    wrong = ["NULL", "7", "-1", "1.5", "x''", "x'00'", "'[1'", "'[]'", "'float32 L2'", "zeroblob(300000)", "'a_vec'"]
    given = ["'a_vec'", "'float32 L2'", "vector", "3", "'[1,2]'", "'[1]'"]
    script = []
    for place in range(6):
        for value in wrong:
            arguments = ", ".join([*given[:place], value, *given[place + 1 :]])
            script.append(f"SELECT count(*) FROM q, sqlrag_scan({arguments});")
            if place < 5:
                script.append(f"SELECT count(*) FROM q, sqlrag_look_up({arguments.rsplit(', ', 1)[0]});")
    done = checked.run(*MADE, *script, *ASKED)
    assert done.stdout.split()[-len(ANSWERS) :] == ANSWERS
    assert "ids is a JSON array" in done.stderr


def test_the_scan_alone(checked):
    """The second entry point gives the scan, and none of the functions that ask a server."""
    load = f"SELECT load_extension('{checked.library.with_suffix('')}', 'sqlrag_scan_init') IS NULL;"
    count = "SELECT count(*) FROM pragma_module_list WHERE name LIKE 'sqlrag_%' OR name = 'vector_top_k';"
    checked.before = [f".load {checked.library.with_name('vec0')}", load]
    assert checked.run(count, *MADE, *ASKED).stdout.split() == ["1", "2", *ANSWERS]


def test_valgrind(checked, made):
    """Nothing lost, nothing unwritten read."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        pytest.skip("no valgrind here: apt install valgrind")
    checked.library = made("plain") / "plain" / "sqlrag_extension.so"
    checked.command = [valgrind, "-q", "--error-exitcode=99", "--leak-check=full", "--errors-for-leak-kinds=definite",
                       *checked.command]  # fmt: skip
    del checked.environment["LD_PRELOAD"]
    checked.before = [f".load {checked.library.with_name('vec0')}", f".load {checked.library.with_suffix('')}"]
    vec0 = checked.library.with_name("vec0.so")
    if not vec0.exists():
        shutil.copy(made("asan") / "asan" / "vec0.so", vec0)
    damaged = "UPDATE a_vec_vector_chunks00 SET vectors = zeroblob(9);"
    done = checked.run(*MADE, *ASKED, damaged, *ASKED)
    assert done.stdout.split()[: len(ANSWERS)] == ANSWERS
    assert "damaged" in done.stderr
