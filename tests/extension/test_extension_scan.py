"""The searches of the extension in other programs, on damaged files, under the sanitizers and valgrind."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from tests.index.codes_reference import CREATE, codes_of, nearest

QUERY = np.array([7, 1, 2, 3, 4, 5, 6, 7], np.float32)
IDS = np.arange(1, 301)
CODES, FACTORS = codes_of(np.random.default_rng(0).standard_normal((len(IDS), len(QUERY))))
BLOCKS = [slice(0, 256), slice(256, 280), slice(280, 300)]


def literal(array: np.ndarray) -> str:
    return f"x'{array.tobytes().hex()}'"


def block(stamp: int, part: slice) -> str:
    values = ", ".join([literal(IDS[part].astype("<i8")), literal(FACTORS[part]), literal(CODES[part])])
    return f"INSERT INTO a_codes VALUES ({IDS[part][0]}, {stamp}, {values});"


def line(row: tuple) -> str:
    """Return a row as the shell prints it, an estimate to four places."""
    return f"{row[0]}|{round(row[1], 4)}"


MADE = [
    "CREATE VIRTUAL TABLE a_vec USING vec0 (embedding FLOAT[8], chunk_size = 16);",
    "CREATE VIRTUAL TABLE b_vec USING vec0 (embedding INT8[8], chunk_size = 8);",
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) "
    "INSERT INTO a_vec (rowid, embedding) SELECT i, vec_f32('[' || i || ', 1, 2, 3, 4, 5, 6, 7]') FROM n;",
    "INSERT INTO b_vec (rowid, embedding) SELECT rowid, vec_int8('[' || (rowid % 100) || ', -1, 2, 3, 4, 5, 6, 7]') "
    "FROM a_vec;",
    "DELETE FROM a_vec WHERE rowid % 5 = 0;",
    f"{CREATE.format('a_codes').strip()};",
    *(block(number, part) for number, part in enumerate(BLOCKS)),
    "CREATE TABLE q AS SELECT vec_f32('[7, 1, 2, 3, 4, 5, 6, 7]') AS vector, x'07ff020304050607' AS code;",
    "CREATE TABLE few (id); INSERT INTO few VALUES (9), (8), (300), (NULL), (1), (1);",
]
ASKED = [
    "SELECT id, round(estimate, 4) FROM q, sqlrag_nearest_codes('a_codes', vector, 3);",
    "SELECT id, round(estimate, 4) "
    "FROM q, sqlrag_nearest_codes('a_codes', vector, 3, (SELECT sqlrag_ids(id) FROM few));",
    "SELECT id, estimate FROM q, sqlrag_nearest_codes('a_codes', vector, 9, (SELECT sqlrag_ids(id) FROM few));",
    "SELECT id, distance FROM q, sqlrag_look_up('a_vec', 'float32 L2', vector, 3, (SELECT sqlrag_ids(id) FROM few));",
    "SELECT id, distance FROM q, sqlrag_look_up('b_vec', 'int8 L2', code, 2, (SELECT sqlrag_ids(id) FROM few));",
    "SELECT count(*), max(distance) "
    "FROM q, sqlrag_look_up('a_vec', 'float32 L2', vector, 999, (SELECT sqlrag_ids(rowid) FROM b_vec));",
]
FEW = np.isin(IDS, [1, 8, 9, 300])
ANSWERS = [
    *map(line, nearest(QUERY, IDS, CODES, FACTORS, 3)),
    *map(line, nearest(QUERY, IDS[FEW], CODES[FEW], FACTORS[FEW], 3)),
    *["1|", "8|", "9|", "300|"],
    *["8|1.0", "9|2.0", "1|6.0", "8|1.0", "9|2.0", "240|292.0"],
]

DAMAGE = [
    "UPDATE a_vec_vector_chunks00 SET vectors = {value}",
    "UPDATE a_vec_rowids SET chunk_offset = {value}",
    "UPDATE a_vec_rowids SET chunk_id = {value}",
    "UPDATE b_vec_vector_chunks00 SET vectors = {value}",
    "UPDATE a_codes SET stamp = {value}",
    "UPDATE a_codes SET ids = {value}, stamp = stamp + 100",
    "UPDATE a_codes SET factors = {value}, stamp = stamp + 100",
    "UPDATE a_codes SET codes = {value}, stamp = stamp + 100",
    "UPDATE a_codes SET codes = {value}, factors = {value}, ids = {value}, stamp = stamp + 100",
]
VALUES = [
    "x''",
    "x'ff'",
    "zeroblob(7)",
    "zeroblob(8)",
    "zeroblob(100000)",
    "7",
    "-1",
    "9223372036854775807",
    "'a text'",
]


def test_it_finds_what_is_nearest(checked):
    """The shell has it with the extension; no server is asked. What is kept has room for some of the blocks only."""
    assert checked.run(*MADE, *ASKED, *ASKED).stdout.split() == 2 * ANSWERS


def test_more_tables_than_memory_is_for(checked):
    """Each is searched in turns; those for which there is no room are read each time."""
    copies = [f"CREATE TABLE {name}_codes AS SELECT * FROM a_codes;" for name in "bcd"]
    asked = [ASKED[0].replace("a_codes", f"{name}_codes") for name in "abcd"]
    assert checked.run(*MADE, *copies, *asked, *asked).stdout.split() == 8 * ANSWERS[:3]


def test_damaged_tables(checked):
    """Whatever stands where sqlrag or sqlite-vec had written, nothing is read out of bounds: rows, or a clear error."""
    script = [*MADE]
    for damage in DAMAGE:
        for value in VALUES:
            script += ["SAVEPOINT s;", f"{damage.format(value=value)};", *ASKED, "ROLLBACK TO s;"]
    done = checked.run(*script, *ASKED)
    assert done.stdout.split()[-len(ANSWERS) :] == ANSWERS
    said = {line.split(": ", 1)[-1] for line in done.stderr.splitlines() if "damaged" in line}
    assert len(said) == 2, said
    assert all("sqlrag check --repair makes them anew" in line for line in said)


def test_arguments_that_are_none(checked):
    """Wrong arguments of every kind are errors, and nothing worse."""
    wrong = ["NULL", "7", "-1", "1.5", "x''", "x'00'", "'[1'", "'float32 L2'", "zeroblob(300000)", "'a_vec'", "'q'"]
    calls = {
        "nearest_codes": ["'a_codes'", "vector", "3", "x'0100000000000000'"],
        "look_up": ["'a_vec'", "'float32 L2'", "vector", "3", "x'0100000000000000'"],
    }
    script = []
    for function, given in calls.items():
        for place in range(len(given)):
            for value in wrong:
                arguments = ", ".join([*given[:place], value, *given[place + 1 :]])
                script.append(f"SELECT count(*) FROM q, sqlrag_{function}({arguments});")
    script += [f"SELECT length(sqlrag_ids({value}));" for value in wrong]
    done = checked.run(*MADE, *script, *ASKED)
    assert done.stdout.split()[-len(ANSWERS) :] == ANSWERS
    assert "ids is a BLOB of whole numbers" in done.stderr


@pytest.mark.parametrize("kernel", ["plain", "avx2", "avx512", "neon"])
def test_every_kernel(checked, kernel):
    """What the processor has not got is not run."""
    checked.environment["SQLRAG_KERNEL"] = kernel
    assert checked.run(*MADE, *ASKED).stdout.split() == ANSWERS


def test_the_searches_alone(checked):
    """The second entry point gives the searches, and none of the functions that ask a server."""
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
    damaged = "UPDATE a_vec_vector_chunks00 SET vectors = zeroblob(9); UPDATE a_codes SET ids = x'', stamp = 100;"
    done = checked.run(*MADE, *ASKED, damaged, *ASKED)
    assert done.stdout.split()[: len(ANSWERS)] == ANSWERS
    assert "damaged" in done.stderr
