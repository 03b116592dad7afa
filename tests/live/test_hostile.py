"""Files from strangers: nothing runs that the user did not ask for, nothing outside is read, one clear line."""

from __future__ import annotations

import contextlib
import shutil
import warnings
from pathlib import Path

import apsw
import duckdb
import pytest

import sqlrag
from sqlrag import errors
from tests.conftest import ENGINES, database_path
from tests.ingest.children import Child
from tests.live.hostile_inputs import CASES, ENDLESS, NOTHING, SECRET, Hostile, change, make, record, tours

SECONDS = 90
"""Most of them take one or two; the machine may be busy."""

SQL = ("SQLError", "Catalog Error", "Binder Error")
"""DuckDB's own words may have several lines."""


class Tourist:
    """A process that opens one file after the other; where one was too much for it, another process opens the next."""

    def __init__(self) -> None:
        self.child: Child | None = None

    def said_of(self, path: Path) -> list[tuple[str, str]]:
        """Return what was said of a file."""
        if self.child is None:
            self.child = Child(tours)
        child, self.child = self.child, None
        try:
            child._pipe.send(path)
            if not child._pipe.poll(SECONDS):
                pytest.fail(f"no end after {SECONDS} s")
            said = child._pipe.recv()
        except BaseException:
            child.process.kill()
            raise
        if isinstance(said, BaseException):
            raise said
        self.child = child
        return said

    def close(self) -> None:
        """End the process."""
        if self.child is not None:
            self.child.process.kill()
            self.child = None


@pytest.fixture(scope="module")
def tourist():
    """One for all files: to start one, and to load the models, takes longer than the tour."""
    with contextlib.closing(Tourist()) as tourist:
        yield tourist


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> dict[str, Path]:
    """A sound database on each engine."""
    folder = tmp_path_factory.mktemp("sound")
    paths = {engine: database_path(folder, engine, "sound") for engine in ENGINES}
    for path in paths.values():
        make(path)
    return paths


def changed(sound: Path, folder: Path, statements: tuple[str, ...]) -> Path:
    """Return a copy of the database that a stranger has changed; beside it a file with a secret."""
    (folder / "secret.txt").write_text(SECRET)
    path = folder / f"changed{sound.suffix}"
    for suffix in ("", ".sqlrag"):
        if Path(f"{sound}{suffix}").exists():
            shutil.copy(f"{sound}{suffix}", f"{path}{suffix}")
    change(path, tuple(statement.replace("{secret}", str(folder / "secret.txt")) for statement in statements))
    return path


def canaries(path: Path) -> int:
    """Return how many rows the table has that nobody wrote to; a schema that does not parse has them all."""
    try:
        connection = duckdb.connect(str(path)) if path.suffix == ".duckdb" else apsw.Connection(str(path))
        with connection:
            return connection.execute("SELECT count(*) FROM canary").fetchall()[0][0]
    except apsw.CorruptError:
        return 3


@pytest.mark.parametrize(
    ("engine", "hostile"),
    [
        pytest.param(
            engine,
            hostile,
            id=f"{engine}-{hostile.what}",
            marks=[pytest.mark.slow] if "300,000" in hostile.what else [],
        )
        for engine in ENGINES
        for hostile in CASES[engine]
    ],
)
def test_a_file_from_a_stranger(sound, tourist, tmp_path, engine: str, hostile: Hostile):
    """What is said first is what is expected, and it is an error of sqlrag's; the rest of the file is as it was."""
    if engine == "duckdb" and duckdb.__version__ < "2" and "CREATE TRIGGER" in "".join(hostile.statements):
        pytest.skip("DuckDB has triggers from 2.0 on")
    path = changed(sound[engine], tmp_path, hostile.statements)
    said = tourist.said_of(path)
    expected = hostile.expected(engine)
    assert [words for _, words in said if "\n" in words and not words.startswith(SQL)] == []
    if expected is NOTHING:
        assert said == []
    else:
        assert expected in said[0][1], said
    assert canaries(path) == hostile.canaries
    others = {file.name.removeprefix(path.name) for file in tmp_path.iterdir()}
    assert others <= {"", "-wal", "-shm", ".wal", ".sqlrag", ".sqlrag-wal", ".sqlrag-shm", "secret.txt"}
    if hostile.what != "index over a view that reads a file":  # `sync` reads what the view says: it was asked
        assert not [file for file in tmp_path.glob("changed*") if SECRET.encode() in file.read_bytes()]


def test_only_sync_reads_a_view(sound, tmp_path, engine):
    """A view runs what its author wrote: endless, or over files. Opening, asking and `info` do not touch it."""
    endless = {
        "sqlite": f"CREATE VIEW spy AS {ENDLESS} SELECT i AS id, 'x' AS body FROM n",
        "duckdb": "CREATE VIEW spy AS SELECT i AS id, content AS body "
        "FROM range(1000000000000) AS t (i), read_text('{secret}')",
    }[engine]
    tracking = {"sqlite": "compare", "duckdb": "view"}[engine]
    over_it = record(f"source_table = 'spy', source_key = 'id', tracking = '{tracking}', filters = '[\"body\"]'")
    path = changed(sound[engine], tmp_path, (endless, *over_it))
    with sqlrag.connect(path) as db:
        assert [info.index for info in db.info()] == ["chunks", "reviews"]
        with pytest.warns(
            errors.BacklogWarning, match="over the view spy, which reads more than this database's tables"
        ):
            (hit,) = db.search("kettle", "reviews", top_n=1)
        assert (hit.source_id, hit.metadata) == (1, {})
        assert db.check() == []
        assert db.execute("SELECT count(*) FROM text_top_k('reviews', 'kettle', 5)").fetchall() == [(1,)]
    assert not [file for file in tmp_path.glob("changed*") if SECRET.encode() in file.read_bytes()]


def test_x4_a_view_over_own_tables_is_read_for_metadata(tmp_path, engine):
    """A view of the user's with filters goes on giving each hit's metadata, in a connection that has synced nothing."""
    path = database_path(tmp_path, engine)
    with sqlrag.connect(path) as db:
        db.execute("CREATE TABLE review (id INTEGER PRIMARY KEY, stars INTEGER, body TEXT)").fetchall()
        db.execute("INSERT INTO review VALUES (1, 2, 'Loud kettle.'), (2, 5, 'A lamp for a desk.')").fetchall()
        db.execute("CREATE VIEW best AS WITH b AS (SELECT * FROM review) SELECT id, stars, body FROM b WHERE stars > 3")
        db.execute("CREATE VIEW shown (id, stars, body) AS SELECT id, max(stars), body FROM best GROUP BY id, body")
        db.create_index("reviews", "shown", "body", key="id", filters=["stars"])
    with sqlrag.connect(path) as db:
        (hit,) = db.search("a lamp", "reviews")
        assert (hit.source_id, hit.metadata) == (2, {"stars": 5})
        assert [hit.source_id for hit in db.search("a lamp", "reviews", filter="stars > 4")] == [2]


@pytest.mark.parametrize(
    "view",
    [
        "SELECT id, stars, content AS body FROM review, read_text('{secret}')",
        "SELECT id, stars, peek() AS body FROM review",
        "SELECT id, stars, (SELECT content FROM read_text('{secret}')) AS body FROM review",
        "SELECT review.id, stars, inner_one.body FROM review, inner_one",
        "SELECT * FROM (WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
        "SELECT i AS id, i AS stars, 'x' AS body FROM n)",
        "SELECT unnest(range(9)) AS id, 1 AS stars, sleep_ms(100000)::VARCHAR AS body",
        'SELECT id, stars, body FROM "{secret}.csv"',
    ],
)
def test_x4_a_view_over_other_files_is_not_read_for_metadata(sound, tmp_path, view):
    """What a view reads by functions, macros, other views or names of files, a question does not read; sync does."""
    (tmp_path / "secret.txt.csv").write_text(f"id,stars,body\n1,1,{SECRET}\n")
    statements = (
        "CREATE MACRO peek() AS (SELECT max(content) FROM read_text('{secret}'))",
        "CREATE VIEW inner_one AS SELECT content AS body FROM read_text('{secret}')",
        f"CREATE VIEW spy AS {view}",
        *record("source_table = 'spy', tracking = 'view', filters = '[\"body\"]'"),
    )
    with sqlrag.connect(changed(sound["duckdb"], tmp_path, statements)) as db:
        with pytest.warns(errors.BacklogWarning, match="its hits come without metadata until you call sync"):
            hits = db.search("kettle", "reviews")
        assert [hit.metadata for hit in hits] == [{}, {}]
        if "secret" in view:
            db.sync("reviews")
            assert {hit.metadata["body"] for hit in db.search("the lighthouse", "reviews")} != {None}


def test_x4_what_takes_the_place_of_a_table_is_refused_wherever_the_source_is_read(sound, tmp_path, engine):
    """Search, a filter, sync, evaluation, another text, an index made anew: one error, and nothing is read."""
    endless = {
        "sqlite": f"CREATE VIEW review AS {ENDLESS} SELECT i AS id, 1 AS stars, 'x' AS body FROM n",
        "duckdb": "CREATE VIEW review AS SELECT range AS id, 1 AS stars, content AS body "
        "FROM range(1000000000000), read_text('{secret}')",
    }[engine]
    path = changed(sound[engine], tmp_path, ("DROP TABLE review", endless))
    refused = pytest.raises(
        errors.SourceGoneError, match=r"review, which is a view now and is not read: bring the table"
    )
    for read_only in (True, False):
        with sqlrag.connect(path, read_only=read_only, sync_rows=0) as db, warnings.catch_warnings():
            warnings.simplefilter("ignore", errors.BacklogWarning)
            for ask in (
                lambda: db.search("kettle", "reviews"),
                lambda: db.search("kettle", "reviews", filter="stars > 1"),
                lambda: db.execute("SELECT * FROM text_top_k('reviews', 'kettle', 5, 'stars > 1')").fetchall(),
                lambda: db.evaluate({"q": "kettle"}, {"q": {"1": 1}}, "reviews", document_id="id"),
                *(
                    (db.sync, lambda: db.reindex("reviews"), lambda: db.alter_index("reviews", text="{body}!"))
                    if not read_only
                    else ()
                ),
            ):
                with refused:
                    ask()
            assert len(db.execute("SELECT * FROM vector_top_k('reviews', 'kettle', 5)").fetchall()) == 2
            assert [info.index for info in db.info()] == ["chunks", "reviews"]
            assert [line for line in db.check() if "which is a view now" in line]
    with sqlrag.connect(path) as db:
        assert [line for line in db.repair() if "which is a view now" in line]
        db.drop_index("reviews")
        assert db.check() == []


def test_views_that_use_our_functions_go_on_working(sound, tmp_path, engine):
    """A view of the user's may embed, rerank and search; one that would change the database is refused."""
    path = changed(sound[engine], tmp_path, ())
    with sqlrag.connect(path) as db:
        db.execute(
            "CREATE TEMP VIEW best AS SELECT hit.id, rerank_score('kettle', c.text) AS score "
            "FROM vector_top_k('reviews', embed('kettle'), 2) AS hit JOIN reviews AS c ON c.id = hit.id"
        )
        assert len(db.execute("SELECT * FROM best").fetchall()) == 2
        if engine == "sqlite":
            db.execute("CREATE VIEW gone AS SELECT sqlrag_drop_index('reviews') AS rows")
            with pytest.raises(errors.SQLError, match=r"unsafe use of sqlrag_drop_index\(\)"):
                db.execute("SELECT * FROM gone").fetchall()
        assert db.indexes() == ["chunks", "reviews"]


@pytest.mark.parametrize("filter_", ["1); ATTACH 'x.db' AS x; --", "id IN (SELECT 1)", "load_extension('x')"])
def test_a_filter_does_not_attach(sound, tmp_path, filter_):
    """What goes into a statement as a filter is one expression over the table's columns."""
    with sqlrag.connect(changed(sound["sqlite"], tmp_path, ())) as db, pytest.raises(errors.Error) as raised:
        db.search("kettle", "reviews", filter=filter_)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "x.db").exists()


@pytest.mark.parametrize(
    ("what", "found"),
    [
        ("vectors of NaN", "are not of unit length"),
        ("vectors of zeros", "are not of unit length"),
        ("ids behind the vectors that no chunk has", "4 vectors lie under another id"),
    ],
)
def test_what_check_finds_of_vectors_repair_makes_anew(sound, tmp_path, what, found):
    """Vectors that are none, or lie under ids of no chunk, are made again from the rows; then all is sound."""
    (hostile,) = (case for case in CASES["sqlite"] if case.what == what)
    with sqlrag.connect(changed(sound["sqlite"], tmp_path, hostile.statements)) as db:
        assert found in " ".join(db.check())
        assert db.repair() == []
        assert db.search("a lamp", "reviews")[0].source_id == 2
