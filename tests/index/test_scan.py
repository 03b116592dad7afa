"""The C library's searches, sqlrag_nearest_codes() and sqlrag_look_up(), sqlrag_ids(), and what is kept in memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import apsw
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlrag.engines.sqlite.functions import load_vec
from sqlrag.store.driver.built_library import built_library, loadable_path
from sqlrag.store.driver.extensions import has_codes_scan
from tests.index.codes_reference import CREATE, block, codes_of, nearest
from tests.sizes import examples

pytestmark = pytest.mark.skipif(built_library() is None, reason="sqlrag's C library was not built: apt install gcc")

KERNELS = ["plain", "avx2", "avx512", "neon", "none of them"]
"""Where a processor has not got one, or there is none of that name, the fastest is taken."""


def connected(path: str | Path = ":memory:") -> apsw.Connection:
    """Return a connection that has the library."""
    connection = apsw.Connection(str(path))
    load_vec(connection)
    return connection


class Codes:
    """Codes of random vectors, here and in the table `a_codes`."""

    def __init__(self, count: int, dimension: int, *, seed: int = 0, size: int = 2048, path: str = ":memory:") -> None:
        self.generator = np.random.default_rng(seed)
        self.vectors = self.generator.standard_normal((count, dimension)).astype(np.float32)
        self.vectors[count // 2 :] = self.vectors[: count - count // 2]  # so many are equally near
        self.ids = np.cumsum(self.generator.integers(1, 4, count)).astype(np.int64)
        self.codes, self.factors = codes_of(self.vectors)
        self.size = size
        self.connection = connected(path)
        self.connection.execute(CREATE.format("a_codes"))
        self.write()

    def write(self) -> None:
        """Write all blocks."""
        self.connection.execute("BEGIN; DELETE FROM a_codes")
        for start in range(0, len(self.ids), self.size):
            part = slice(start, start + self.size)
            row = block(self.ids[part], self.codes[part], self.factors[part])
            self.connection.execute("INSERT INTO a_codes VALUES (?, ?, ?, ?, ?)", row)
        self.connection.execute("COMMIT")

    def query(self) -> np.ndarray:
        return self.generator.standard_normal(self.vectors.shape[1]).astype(np.float32)

    def nearest(self, query: np.ndarray, k: int, ids: np.ndarray | None = None) -> list:
        """Return what must be found."""
        among = slice(None) if ids is None else np.isin(self.ids, ids)
        return nearest(query, self.ids[among], self.codes[among], self.factors[among], k)


def found(connection: apsw.Connection, query: np.ndarray, *arguments: object, table: str = "a_codes") -> list:
    """Return what sqlrag_nearest_codes() finds."""
    marks = ", ".join("?" * len(arguments))
    sql = f"SELECT id, estimate FROM sqlrag_nearest_codes(?, ?, {marks})"
    blobs = [given.astype("<i8").tobytes() if isinstance(given, np.ndarray) else given for given in arguments]
    return list(connection.execute(sql, (table, query.tobytes(), *blobs)))


# What is found


@pytest.mark.sized
@settings(max_examples=examples(12, 60), deadline=None)
@given(
    dimension=st.one_of(st.sampled_from([384, 768, 100, 1000]), st.integers(8, 1600)),
    count=st.sampled_from([1, 7, 8, 9, 500]),
    k=st.sampled_from([1, 10, 200, 501]),
    size=st.integers(1, 700),
    seed=st.integers(0, 10**6),
)
def test_every_kernel_finds_what_numpy_finds(dimension, count, k, size, seed):
    """The same ids, in the same order, with the same estimates to the last bit, read and kept; equal codes, too."""
    stored = Codes(count, dimension, seed=seed, size=size)
    if count == 500:
        stored.factors[3:6] = np.nan, np.inf, 3e38
        stored.write()
    copy = stored.connection.serialize("main")
    few = stored.generator.choice(stored.ids, len(stored.ids) // 3 + 1)
    for kernel in KERNELS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SQLRAG_KERNEL", kernel)
            connection = connected()
        connection.deserialize("main", copy)
        for query in (stored.query(), np.zeros(dimension, np.float32)):
            for _ in range(2):
                assert found(connection, query, k) == stored.nearest(query, k)
            if len(np.unique(few)) > k:
                assert found(connection, query, k, few) == stored.nearest(query, k, few)


def test_many_codes_are_shared_among_threads():
    """More codes than one thread takes, with a filter and without."""
    stored = Codes(280_000, 8, size=2000)
    for k in (1, 100, 3000):
        query = stored.query()
        assert found(stored.connection, query, k) == stored.nearest(query, k)
        half = stored.generator.permutation(stored.ids)[:140_000]
        assert found(stored.connection, query, k, half) == stored.nearest(query, k, half)


@pytest.mark.parametrize("every", [1, 2, 13, 400])
@pytest.mark.parametrize("neighbours", [False, True])
def test_only_the_ids_of_a_filter(every, neighbours):
    """In any order, some twice, others that are not there; negative ids and the largest ones as well."""
    stored = Codes(3000, 64)
    if neighbours:
        stored.ids = np.arange(-1507, 1493)
    limits = np.iinfo(np.int64)
    stored.ids[:20] = limits.min + np.arange(20)
    stored.ids[-20:] = limits.max - np.arange(20)[::-1]
    stored.write()
    wanted = np.concatenate([stored.ids[::-every], stored.ids[:10], [10**15, -(10**15)]])
    query = stored.query()
    assert found(stored.connection, query, 7, wanted) == stored.nearest(query, 7, wanted)


def test_few_ids_come_back_as_they_are():
    """No more than k: in their order, without an estimate, and no code is read."""
    stored = Codes(50, 16)
    stored.connection.execute("UPDATE a_codes SET codes = 7")
    ids = np.array([9, 2**63 - 1, -4, 9, 9, 1000])
    rows = [(-4, None), (9, None), (1000, None), (2**63 - 1, None)]
    assert found(stored.connection, stored.query(), 4, ids) == rows
    assert found(stored.connection, stored.query(), 5, ids[:0]) == []
    with pytest.raises(apsw.CorruptError):
        found(stored.connection, stored.query(), 3, ids)


def test_k_0_and_k_beyond_all():
    """Nothing, and everything."""
    stored = Codes(50, 16)
    assert found(stored.connection, stored.query(), 0) == []
    assert len(found(stored.connection, stored.query(), 2**62)) == 50
    stored.connection.execute("DELETE FROM a_codes")
    assert found(stored.connection, stored.query(), 5) == []


def test_numbers_near_the_largest_and_the_smallest():
    """A query of any finite numbers has an answer."""
    stored = Codes(50, 16)
    for number in (3e38, 1e-45, -3e38):
        assert len(found(stored.connection, np.full(16, number, np.float32), 5)) == 5


# What is kept


def break_codes(connection: apsw.Connection) -> None:
    """Write other codes under the same stamps, as nobody does: only who reads them sees it."""
    connection.execute("UPDATE a_codes SET codes = zeroblob(3)")


def test_codes_stay_in_memory(tmp_path):
    """All connections of the process share them; when the last one that searched is closed they are read again."""
    path = str(tmp_path / "a.db")
    stored = Codes(3000, 64, path=path)
    query = stored.query()
    rows = stored.nearest(query, 9)
    assert found(stored.connection, query, 9) == rows
    break_codes(stored.connection)
    other = connected(path)
    assert found(other, query, 9) == rows
    stored.connection.close()
    assert found(other, query, 9) == rows
    other.close()
    with pytest.raises(apsw.CorruptError):
        found(connected(path), query, 9)


def test_each_database_in_memory_has_its_own():
    """Two of them have no name by which one could be taken for the other."""
    one, other = Codes(20, 16), Codes(20, 16, seed=1)
    other.connection.execute("UPDATE a_codes SET stamp = 5")
    one.connection.execute("UPDATE a_codes SET stamp = 5")
    for stored in (one, other, one):
        query = stored.query()
        assert found(stored.connection, query, 5) == stored.nearest(query, 5)


def rewritten(stored: Codes) -> None:
    """Let the vectors be others."""
    stored.vectors = stored.generator.standard_normal(stored.vectors.shape).astype(np.float32)
    stored.codes, stored.factors = codes_of(stored.vectors)


def insert_all(connection: apsw.Connection, stored: Codes) -> None:
    connection.execute("DELETE FROM a_codes")
    row = block(stored.ids, stored.codes, stored.factors)
    connection.execute("INSERT INTO a_codes VALUES (?, ?, ?, ?, ?)", row)


def test_a_reader_keeps_what_it_has_begun_with(tmp_path):
    """In a log, an older reader finds the older codes, and the writer its own, in turns."""
    stored = Codes(200, 64, path=str(tmp_path / "a.db"))
    stored.connection.execute("PRAGMA journal_mode = WAL")
    reader, query = connected(tmp_path / "a.db"), stored.query()
    reader.execute("BEGIN")
    before = stored.nearest(query, 9)
    assert found(reader, query, 9) == before
    rewritten(stored)
    insert_all(stored.connection, stored)
    for _ in range(2):
        assert found(stored.connection, query, 9) == stored.nearest(query, 9)
        assert found(reader, query, 9) == before
    reader.execute("COMMIT")
    assert found(reader, query, 9) == stored.nearest(query, 9)


def test_a_file_that_a_copy_replaces(tmp_path):
    """The file of yesterday in place of today's, while a connection to the latter is open."""
    path, copy = tmp_path / "a.db", tmp_path / "copy.db"
    stored = Codes(200, 64, path=str(path))
    query = stored.query()
    before = stored.nearest(query, 9)
    shutil.copy(path, copy)
    rewritten(stored)
    insert_all(stored.connection, stored)
    assert found(stored.connection, query, 9) == stored.nearest(query, 9)
    copy.replace(path)
    restored = connected(path)
    for _ in range(2):
        assert found(restored, query, 9) == before
        assert found(stored.connection, query, 9) == stored.nearest(query, 9)


def test_it_holds_nothing_of_the_database(tmp_path):
    """After a search others may write, change the schema, and the connection may be closed."""
    stored = Codes(100, 16, path=str(tmp_path / "a.db"))
    reading, query = connected(tmp_path / "a.db"), stored.query()
    found(reading, query, 5)
    stored.connection.execute("ALTER TABLE a_codes ADD COLUMN more; VACUUM")
    assert found(reading, query, 5) == stored.nearest(query, 5)
    stored.connection.execute("DROP TABLE a_codes")
    with pytest.raises(apsw.SQLError, match="no such table"):
        found(reading, query, 5)
    reading.close()
    stored.connection.execute("PRAGMA locking_mode = EXCLUSIVE; CREATE TABLE b (c)")


def test_it_can_be_interrupted():
    """A progress handler, as a time limit has one, ends the reading of blocks, and the next search is whole."""
    stored = Codes(4000, 8, size=2)
    query, calls = stored.query(), [0, 5000]

    def handler() -> bool:
        calls[0] += 1
        return calls[0] > calls[1]

    stored.connection.set_progress_handler(handler, 1)
    with pytest.raises(apsw.InterruptError):
        found(stored.connection, query, 5)
    calls[1] = 10**9
    assert found(stored.connection, query, 5) == stored.nearest(query, 5)


def test_searches_in_threads_while_one_writes(tmp_path):
    """Every answer is that of the codes before a write or of those after it."""
    stored = Codes(400, 16, size=40, path=str(tmp_path / "a.db"))
    stored.connection.execute("PRAGMA journal_mode = WAL")
    query, answers, failed = stored.query(), [], []
    expected = [stored.nearest(query, 5)]

    def search() -> None:
        connection = connected(tmp_path / "a.db")
        try:
            answers.extend(found(connection, query, 5) for _ in range(150))
        except apsw.Error as error:
            failed.append(error)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        rewritten(stored)
        expected.append(stored.nearest(query, 5))
        stored.write()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(answers) == 450
    assert all(answer in expected for answer in answers)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_process_that_was_forked(tmp_path):
    """Parent and child search on, the child by a connection of its own, and find what each has written."""
    Codes(140_000, 8, path=str(tmp_path / "a.db")).connection.close()
    program = """
import os, sys
sys.path.extend(sys.argv[2:])
from tests.index.test_scan import connected, found
import numpy as np
query, connection = np.ones(8, np.float32), connected(sys.argv[1])
before = found(connection, query, 5)
child = os.fork()
if not child:
    connection = connected(sys.argv[1])
    same = found(connection, query, 5) == before
    connection.execute("DELETE FROM a_codes")
    os._exit(40 + same + len(found(connection, query, 5)))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), len(before), found(connection, query, 5))
"""
    command = [sys.executable, "-W", "ignore", "-c", program, str(tmp_path / "a.db"), *filter(None, sys.path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (run.returncode, run.stdout) == (0, "41 5 []\n"), run.stderr


# Whole vectors


def vectors(count: int, dimension: int, kind: str = "FLOAT", size: int = 16) -> tuple[apsw.Connection, np.ndarray]:
    """Return a connection with the vec0 table `a_vec`, and what is in it from id 1 on."""
    generator = np.random.default_rng(dimension)
    made = generator.standard_normal((count, dimension)).astype(np.float32)
    if kind == "INT8":
        made = np.clip(made * 40, -127, 127).astype(np.int8)
    connection = connected()
    connection.execute(f"CREATE VIRTUAL TABLE a_vec USING vec0 (embedding {kind}[{dimension}], chunk_size = {size})")
    value = "vec_int8(?)" if kind == "INT8" else "?"
    with connection:
        rows = [(place + 1, vector.tobytes()) for place, vector in enumerate(made)]
        connection.executemany(f"INSERT INTO a_vec (rowid, embedding) VALUES (?, {value})", rows)
    return connection, made


def looked_up(connection: apsw.Connection, metric: str, query: np.ndarray, k: int, ids: np.ndarray) -> list:
    sql = "SELECT id, distance FROM sqlrag_look_up('a_vec', ?, ?, ?, ?)"
    return list(connection.execute(sql, (metric, query.tobytes(), k, ids.astype("<i8").tobytes())))


@pytest.mark.parametrize(("metric", "kind"), [("float32 L2", "FLOAT"), ("int8 L2", "INT8")])
@pytest.mark.parametrize("dimension", [1, 7, 100, 384])
@pytest.mark.parametrize("page", [512, 4096, 65536])
@pytest.mark.parametrize("step", [1, 2, 40])
def test_vectors_that_are_looked_up(metric, kind, dimension, page, step):
    """The k nearest of some ids, as MATCH measures them; ids that are not there are left out."""
    connection, made = vectors(150, dimension, kind)
    connection.execute(f"PRAGMA page_size = {page}; VACUUM; DELETE FROM a_vec WHERE rowid % 5 = 0")
    ids = np.array([*range(151, 0, -step), 3, 3, 7, *([10**9, -1] if step == 2 else [])])
    query, there = made[20], [id_ for id_ in {*ids.tolist()} if 0 < id_ <= 150 and id_ % 5]
    apart = {id_: np.linalg.norm(made[id_ - 1].astype(float) - query.astype(float)) for id_ in there}
    expected = sorted(there, key=lambda id_: (round(apart[id_], 4), id_))
    rows = looked_up(connection, metric, query, 1000, ids)
    assert sorted(row[0] for row in rows) == sorted(expected)
    assert [row[1] for row in rows] == pytest.approx([apart[row[0]] for row in rows], abs=1e-4)
    assert [(row[1], row[0]) for row in rows] == sorted((row[1], row[0]) for row in rows)
    assert looked_up(connection, metric, query, 9, ids) == rows[:9]
    value = "vec_int8(?)" if kind == "INT8" else "?"
    match = f"SELECT rowid, distance FROM a_vec WHERE embedding MATCH {value} AND k = 150"
    exact = dict(connection.execute(match, (query.tobytes(),)))
    assert [row[1] for row in rows] == pytest.approx([exact[row[0]] for row in rows], abs=1e-5)


def test_a_stored_vector_that_is_no_number():
    """It is farther than all others."""
    connection, made = vectors(3, 4)
    connection.execute("UPDATE a_vec SET embedding = ? WHERE rowid = 2", (np.full(4, np.nan, np.float32).tobytes(),))
    rows = looked_up(connection, "float32 L2", made[0], 5, np.array([1, 2, 3]))
    assert [row[0] for row in rows] == [1, 3, 2]
    assert rows[-1][1] == float("inf")


# Ids


def test_ids_are_gathered():
    """In their order; NULLs are left out, and of no row an empty BLOB is made. In groups as well."""
    connection = connected()
    numbers = [5, -(2**63), None, 2**63 - 1, 5, *range(1000)]
    connection.execute("CREATE TABLE n (id)")
    connection.executemany("INSERT INTO n VALUES (?)", [(number,) for number in numbers])
    ((blob,),) = connection.execute("SELECT sqlrag_ids(id) FROM n")
    assert np.frombuffer(blob, "<i8").tolist() == [number for number in numbers if number is not None]
    assert connection.execute("SELECT sqlrag_ids(id) FROM n WHERE id = -7").fetchall() == [(b"",)]
    assert connection.execute("SELECT sqlrag_ids(NULL)").fetchall() == [(b"",)]
    groups = connection.execute("SELECT sqlrag_ids(id) FROM n WHERE id < 9 AND id >= 0 GROUP BY id % 3").fetchall()
    assert [np.frombuffer(blob, "<i8").tolist() for (blob,) in groups] == [[0, 3, 6], [1, 4, 7], [5, 5, 2, 5, 8]]


@pytest.mark.parametrize("value", ["'1'", "1.5", "x'01'", "''"])
def test_what_is_no_id_is_not_gathered(value):
    """Another value is an error, not left out."""
    with pytest.raises(apsw.SQLError, match=r"sqlrag_ids\(\): id is a whole number"):
        connected().execute(f"SELECT sqlrag_ids(column1) FROM (VALUES (1), ({value}), (2))").fetchall()


# What is wrong

QUERY = np.ones(8, np.float32).tobytes()
IDS = np.arange(5).tobytes()


@pytest.mark.parametrize(
    ("function", "arguments", "words"),
    [
        ("nearest_codes", ("a_codes", QUERY), r"sqlrag_nearest_codes\(\) needs table, query, k: got table, query"),
        ("nearest_codes", (None, QUERY, 1), "table is the name of a table of codes"),
        ("nearest_codes", ("a_codes", QUERY[:-1], 1), "query is a BLOB"),
        ("nearest_codes", ("a_codes", bytes(4 * 65537), 1), "query is a BLOB"),
        ("nearest_codes", ("a_codes", np.full(8, np.nan, np.float32).tobytes(), 1), "no number"),
        ("nearest_codes", ("a_codes", QUERY, -1), "k is a whole number"),
        ("nearest_codes", ("a_codes", QUERY, 1, "[1, 2]"), "ids is a BLOB of whole numbers"),
        ("nearest_codes", ("a_codes", QUERY, 1, IDS[:-1]), "ids is a BLOB"),
        ("nearest_codes", ("nothing", QUERY, 1), "no such table: main.nothing"),
        ("nearest_codes", ('"; DROP TABLE a_codes; --', QUERY, 1), "no such table"),
        ("nearest_codes", ("a_vec", QUERY, 1), "no such column: first_id"),
        ("nearest_codes", ("a_codes", bytes(4 * 65), 1), "vectors of index 'a' are damaged"),
        ("look_up", ("a_vec", "float32 L2", QUERY, 1), "needs table, metric, query, k, ids: got table"),
        ("look_up", (None, "float32 L2", QUERY, 1, IDS), "table is the name of a vec0 table"),
        ("look_up", ("a_vec", "cosine", QUERY, 1, IDS), "metric is 'float32 L2' or 'int8 L2'"),
        ("look_up", ("a_vec", "float32 L2", None, 1, IDS), "query is a BLOB of the metric's numbers"),
        ("look_up", ("a_vec", "int8 L2", bytes(65537), 1, IDS), "query is a BLOB"),
        ("look_up", ("a_vec", "float32 L2", QUERY, 1, None), "ids is a BLOB"),
        ("look_up", ("nothing_vec", "float32 L2", QUERY, 1, IDS), "no such table"),
        ("look_up", ("a_vec", "float32 L2", bytes(28), 1, IDS), "vectors of index 'a' are damaged"),
    ],
)  # fmt: skip
def test_arguments_that_are_none(function, arguments, words):
    """Each is one clear error."""
    connection, _ = vectors(20, 8)
    connection.execute(CREATE.format("a_codes"))
    codes = block(np.arange(1, 21), *codes_of(np.ones((20, 8))))
    connection.execute("INSERT INTO a_codes VALUES (?, ?, ?, ?, ?)", codes)
    marks = ", ".join("?" * len(arguments))
    with pytest.raises(apsw.Error, match=words) as caught:
        list(connection.execute(f"SELECT * FROM sqlrag_{function}({marks})", arguments))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "damage",
    [
        "ids = x''",
        "ids = substr(ids, 9)",
        "ids = 5",
        "ids = zeroblob(length(ids))",
        "factors = substr(factors, 5)",
        "codes = substr(codes, 9)",
        "codes = zeroblob(2 * length(codes))",
        "stamp = 'a text'",
        "ids = zeroblob(8 * 2049), factors = zeroblob(4 * 2049), codes = zeroblob(8 * 2049)",
    ],
)
def test_a_damaged_block_is_named(damage):
    """What sqlrag has not written so is an error that says what to do, and the next search of sound codes is whole."""
    stored = Codes(100, 16, size=30)
    query = stored.query()
    stamp = "" if "stamp" in damage else ", stamp = stamp + 1"
    stored.connection.execute(f"SAVEPOINT sound; UPDATE a_codes SET {damage}{stamp}")
    words = "vectors of index 'a' are damaged: sqlrag check --repair makes them anew"
    with pytest.raises(apsw.CorruptError, match=words):
        found(stored.connection, query, 5)
    stored.connection.execute("ROLLBACK TO sound; RELEASE sound")
    assert found(stored.connection, query, 5) == stored.nearest(query, 5)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE a_vec_rowids SET chunk_offset = -1",
        "UPDATE a_vec_rowids SET chunk_offset = 64",
        "UPDATE a_vec_rowids SET chunk_id = NULL",
        "UPDATE a_vec_vector_chunks00 SET vectors = zeroblob(length(vectors) - 1)",
        "UPDATE a_vec_vector_chunks00 SET vectors = x''",
        "DELETE FROM a_vec_vector_chunks00",
    ],
)
def test_a_damaged_place_is_named(damage):
    """The same where an id is looked up."""
    connection, made = vectors(100, 4)
    connection.execute(damage)
    with pytest.raises(apsw.CorruptError, match="vectors of index 'a' are damaged"):
        looked_up(connection, "float32 L2", made[0], 1, np.array([3]))


# Where it comes from


def test_loading_is_closed_after():
    """sqlrag loads its library itself, once, and lets nobody load another."""
    connection = apsw.Connection(":memory:")
    load_vec(connection)
    load_vec(connection)
    assert has_codes_scan(connection)
    with pytest.raises(apsw.SQLError, match="not authorized"):
        connection.execute("SELECT load_extension(?)", (loadable_path(),))


def test_two_sqlite_libraries_in_one_process(tmp_path):
    """APSW's and the standard library's sqlite3 each have all three, in the same process, and share what is kept."""
    stored = Codes(300, 16, path=str(tmp_path / "a.db"))
    stored.connection.close()
    program = """
import sqlite3, sys
sys.path.extend(sys.argv[2:])
import apsw
from sqlrag.engines.sqlite.functions import load_vec
ids = "(SELECT sqlrag_ids(value) FROM json_each('[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]'))"
sql = f"SELECT id, estimate FROM sqlrag_nearest_codes('a_codes', ?, 3, {ids})"
rows, connections = [], []
for connect in (apsw.Connection, sqlite3.connect, apsw.Connection):
    connections.append(connect(sys.argv[1]))
    load_vec(connections[-1])
    rows.append(list(connections[-1].execute(sql, (b"\\0\\0\\x80\\x3f" * 16,))))
for connection in connections:
    connection.close()
print(rows[0] == rows[1] == rows[2], len(rows[0]), sqlite3.sqlite_version != apsw.sqlite_lib_version())
"""
    import sqlite3

    python = sys.executable
    if not hasattr(sqlite3.Connection, "enable_load_extension"):
        python = "/usr/bin/python3"
        version = [python, "-c", "import sys; print(*sys.version_info[:2])"]
        if not Path(python).exists() or subprocess.check_output(version).split() != [
            str(number).encode() for number in sys.version_info[:2]
        ]:
            pytest.skip("this Python's sqlite3 cannot load extensions, and there is no /usr/bin/python3 of its version")
    command = [python, "-c", program, str(tmp_path / "a.db"), *filter(None, sys.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "True 3 True\n"), done.stderr
