# ruff: noqa: E501 - a line for each file
"""Files that a stranger might send, and what sqlrag makes of each.

Each is a sound database with two indexes, `chunks` over documents and `reviews` over a table, that was changed by the
engine alone. A tour opens it for writing, asks every function, syncs and checks, in a process of its own. Written down
by `python -m tests.live.hostile_inputs` as benchmarks/hostile.md.
"""

from __future__ import annotations

import resource
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import apsw
import duckdb
import sqlite_vec

import sqlrag
from sqlrag.errors import BacklogWarning, Error
from sqlrag.text.documents import Document
from tests.ingest.children import Child

SECRET = "the password of the lighthouse keeper"
"""What stands in a file beside the database; nothing may read it."""

MOST_BYTES = 8_000_000_000
"""Of address space: libraries, models and DuckDB's own pool take half of it."""

ENDLESS = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
NOTHING = ""
"""What is said of a file that works as ever."""


@dataclass(frozen=True)
class Hostile:
    """One input."""

    what: str
    statements: tuple[str, ...]
    said: str
    """A part of the first thing that is said: an error, a warning or a finding of `check`."""
    said_by_duckdb: str | None = None
    """The same on DuckDB, where it is another."""
    canaries: int = 3
    """Rows left in a table that nobody wrote to."""

    def expected(self, engine: str) -> str:
        """Return what must be said first."""
        return self.said if engine == "sqlite" or self.said_by_duckdb is None else self.said_by_duckdb


def make(path: Path) -> None:
    """Make the sound database."""
    with sqlrag.connect(path) as db:
        db.ingest([Document("a", "Bees", "Bees dance to tell where the nectar is.", {}, "h1")])
        db.execute("CREATE TABLE review (id INTEGER PRIMARY KEY, stars INTEGER, body TEXT)")
        db.execute("CREATE TABLE canary (id INTEGER)")
        db.execute("INSERT INTO canary VALUES (1), (2), (3)").fetchall()
        db.execute("INSERT INTO review VALUES (1, 2, 'Loud kettle.'), (2, 5, 'A lamp for a desk.')").fetchall()
        db.create_index("reviews", "review", "body", filters=["stars"])
        db.execute("INSERT INTO review VALUES (3, 4, 'A whistle for the ferry.')").fetchall()


def change(path: Path, statements: tuple[str, ...]) -> None:
    """Run statements with the engine and sqlite-vec alone."""
    if path.suffix == ".duckdb":
        with duckdb.connect(str(path)) as connection:
            for statement in statements:
                connection.execute(statement)
        Path(f"{path}.sqlrag").unlink()  # it is made anew, of what the stranger wrote
        return
    connection = apsw.Connection(str(path))
    connection.enable_load_extension(True)
    connection.load_extension(sqlite_vec.loadable_path())
    for statement in statements:
        connection.execute(statement)
    connection.close()


def steps(db: sqlrag.Database) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield what a user asks of a database, by name."""
    ask = db.execute
    yield "info", db.info
    yield "search", lambda: db.search("kettle", "reviews")
    yield "documents", lambda: db.search("bees", "chunks")
    yield "filter", lambda: db.search("kettle", "reviews", filter="stars > 1")
    for function in ("vector_top_k", "text_top_k", "hybrid_top_k"):
        yield function, lambda f=function: ask(f"SELECT * FROM {f}('reviews', 'kettle', 5)").fetchall()
    yield "insert", lambda: ask("INSERT INTO review VALUES (4, 1, 'Snow in the harbour.')").fetchall()
    yield "sync", db.sync
    yield "check", db.check


def tour(_pipe: object, path: Path, *, read_only: bool = False) -> list[tuple[str, str]]:
    """Take all steps; return what was said at each of those that said something."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    said = []

    def take(step: str, act: Callable[[], object]) -> object:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", BacklogWarning)
            result = None
            try:
                result = act()
            except Error as error:
                said.append((step, f"{type(error).__name__}: {error}"))
        said.extend((step, str(warning.message)) for warning in caught)
        if step == "check" and result:
            said.extend((step, line) for line in result)
        return result

    db = take("connect", lambda: sqlrag.connect(path, read_only=read_only, score_cache=1_000))
    if isinstance(db, sqlrag.Database):
        for step, act in steps(db):
            take(step, act)
        db.close()
    return said


def tours(pipe: Connection) -> None:
    """Take the tour of each database whose path comes, and tell what was said."""
    while True:
        pipe.send(tour(pipe, pipe.recv()))


def instead(table: str, select: str) -> tuple[str, ...]:
    """Put a view in the place of a table."""
    return (f"ALTER TABLE {table} RENAME TO was_{table}", f"CREATE VIEW {table} AS {select}")


def record(values: str) -> tuple[str, ...]:
    """Change the record of the index over the table."""
    return (f"UPDATE sqlrag_indexes SET {values} WHERE name = 'reviews'",)


def vectors(blob: str) -> tuple[str, ...]:
    """Change what vec0 keeps of the index over the table."""
    return (f"UPDATE reviews_vec_vector_chunks00 SET vectors = {blob}",)


RECORDS = [
    Hostile("source_table is SQL", record("source_table = 'review\"; DROP TABLE canary; --'"), NOTHING, "is gone"),
    Hostile("source_table is sqlrag's own", record("source_table = 'sqlrag_meta'"), "its source is 'sqlrag_meta', a table of sqlrag's own"),
    Hostile("source_table is the index's own", record("source_table = 'reviews', source_key = 'id', template = '{text}', filters = '[]'"), "its source is 'reviews', a table of sqlrag's own"),
    Hostile("source_table is a part of the index", record("source_table = 'reviews_rows', source_key = 'source_id', template = '{content_hash}', filters = '[]'"), "its source is 'reviews_rows', a table of sqlrag's own"),
    Hostile("source_table is another index's", record("source_table = 'chunks', source_key = 'id', template = '{text}', filters = '[]'"), "filter 'stars > 1' cannot be used"),
    Hostile("source_table is the engine's own", record("source_table = 'sqlite_schema', source_key = 'name', template = '{sql}', filters = '[]'"), "its source is 'sqlite_schema', a table of sqlrag's own"),
    Hostile("source_table has a schema", record("source_table = 'main.review'"), NOTHING, "is over main.review, which is gone"),
    Hostile("embedder is a path", record("embedder = '../../etc/passwd'"), "neither bundled nor pulled"),
    Hostile("the database's embedder is a path", ("UPDATE sqlrag_meta SET value = '/etc/passwd' WHERE key = 'embedder'",), NOTHING),
    Hostile("template of 1,000 times a column", record(f"template = '{'{body}' * 1000}'"), "1,000 times: a template takes each 10 at most"),
    Hostile("template of a column that is not there", record("template = '{nope}'"), NOTHING, "takes its text from column 'nope'"),
    Hostile("template without a column", record("template = 'x'"), "sqlrag did not write"),
    Hostile("template of format directives", record("template = '{body.__class__} {body!r:>999999999}'"), "have another text than the index", "takes its text from column 'body.__class__'"),
    Hostile("filters are no list", record("filters = '{\"a\": 1}'"), "is no list of columns"),
    Hostile("filters nested 100,000 deep", record(f"filters = '{'[' * 100_000}'"), "maximum recursion depth"),
    Hostile("a filter is SQL", record("filters = '[\"stars\\\"; DROP TABLE canary\"]'"), "has as a filter column"),
    Hostile("key is not there", record("source_key = 'nope'"), NOTHING, "knows rows by column 'nope'"),
    Hostile("key is broken JSON", record("source_key = '[\"id\"'"), "sqlrag did not write"),
    Hostile("key is a JSON array of none", record("source_key = '[]'"), "its key has no column"),
    Hostile("tracking does not exist", record("tracking = 'python'"), "sqlrag did not write"),
    Hostile("tracking is 'documents'", record("tracking = 'documents'"), "sqlrag did not write"),
    Hostile("tracking is 'compare'", record("tracking = 'compare'"), NOTHING),
    Hostile("window of 2^31 - 1", record('"window" = 2147483647'), NOTHING),
    Hostile("chunks of 2^31 - 1 tokens", record("max_tokens = 2147483647"), NOTHING),
    Hostile("dimension of 2^31 - 1", record("dimension = 2147483647"), "the vectors of index 'reviews' are damaged", "vectors of another length than 2147483647"),
    Hostile("dimension of 2", record("dimension = 2"), "the vectors of index 'reviews' are damaged", "vectors of another length than 2"),
    Hostile("vectors of the other kind", record("vectors = 'int8'"), "its table reviews_vec is not as sqlrag makes it", NOTHING),
    Hostile("a prompt of 10 MB", record(f"document_prompt = '{'x' * 10_000_000}'"), NOTHING),
    Hostile("schema_version of 5,000 digits", (f"UPDATE sqlrag_meta SET value = '{'9' * 5000}' WHERE key = 'schema_version'",), "is damaged: its sqlrag_meta has the schema_version"),
]  # fmt: skip

SQLITE = [
    Hostile("view for sqlrag_indexes, endless", instead("sqlrag_indexes", ENDLESS + "SELECT *, i FROM was_sqlrag_indexes, n"), "its view sqlrag_indexes is not as sqlrag makes it"),
    Hostile("view for sqlrag_meta that calls sqlrag_drop_index", instead("sqlrag_meta", "SELECT key, sqlrag_drop_index('chunks') AS value FROM was_sqlrag_meta"), "its view sqlrag_meta is not as sqlrag makes it"),
    Hostile("view for documents, endless", instead("documents", ENDLESS + "SELECT * FROM was_documents, n"), "its view documents is not as sqlrag makes it"),
    Hostile("view for reviews that calls embed", instead("reviews", "SELECT id, source_id, ordinal, start_char, end_char, embed(text) AS text, token_count FROM was_reviews"), "its view reviews is not as sqlrag makes it"),
    Hostile("view for reviews_rows, endless", instead("reviews_rows", ENDLESS + "SELECT i AS source_id, x'00' AS content_hash FROM n"), "its view reviews_rows is not as sqlrag makes it"),
    Hostile("view for reviews_queue, endless", instead("reviews_queue", ENDLESS + "SELECT i AS number, i AS source_id, 1.0 AS queued_at FROM n"), "its view reviews_queue is not as sqlrag makes it"),
    Hostile("view for reviews_vec, endless", ("DROP TABLE reviews_vec", f"CREATE VIEW reviews_vec AS {ENDLESS} SELECT i AS embedding, i AS k FROM n"), "its view reviews_vec is not as sqlrag makes it"),
    Hostile("view for a table behind reviews_vec, endless", instead("reviews_vec_chunks", ENDLESS + "SELECT i AS chunk_id, 64 AS size, x'FF' AS validity, zeroblob(512) AS rowids FROM n"), "its view reviews_vec_chunks is not as sqlrag makes it"),
    Hostile("full text over another table", ("DROP TABLE reviews_fts", "CREATE VIRTUAL TABLE reviews_fts USING fts5 (text, content = 'canary', content_rowid = 'id')"), "its table reviews_fts is not as sqlrag makes it"),
    Hostile("full text with another tokenizer", ("DROP TABLE reviews_fts", "CREATE VIRTUAL TABLE reviews_fts USING fts5 (context, text, words, content = 'reviews', content_rowid = 'id', tokenize = 'trigram')", "INSERT INTO reviews_fts (reviews_fts) VALUES ('rebuild')"), NOTHING),
    Hostile("full text whose configuration is changed", ("UPDATE reviews_fts_config SET v = 99 WHERE k = 'version'",), "invalid fts5 file format"),
    Hostile("full text that is a table", ("DROP TABLE reviews_fts", "CREATE TABLE reviews_fts (text, rank)"), "its table reviews_fts is not as sqlrag makes it"),
    Hostile("vectors in a full text", ("DROP TABLE reviews_vec", "CREATE VIRTUAL TABLE reviews_vec USING fts5 (embedding)"), "its table reviews_vec is not as sqlrag makes it"),
    Hostile("sqlrag_indexes with a column that is computed, a gigabyte", ("CREATE TABLE kept AS SELECT * FROM sqlrag_indexes", "DROP TABLE sqlrag_indexes", "CREATE TABLE sqlrag_indexes (name, source_table, source_key, embedder, embedder_hash, dimension, query_prompt AS (CAST(zeroblob(999999999) AS TEXT)), document_prompt, window, max_tokens, overlap)", "INSERT INTO sqlrag_indexes SELECT name, source_table, source_key, embedder, embedder_hash, dimension, document_prompt, window, max_tokens, overlap FROM kept"), "its table sqlrag_indexes is not as sqlrag makes it"),
    Hostile("view for the source, endless", instead("review", ENDLESS + "SELECT i AS id, 1 AS stars, 'x' AS body FROM n"), "is over the table review, which is a view now and is not read"),
    Hostile("view for the source, of its rows", instead("review", "SELECT * FROM was_review"), "is over the table review, which is a view now and is not read"),
    Hostile("view for the source, the triggers gone", ("DROP TABLE review", f"CREATE VIEW review AS {ENDLESS} SELECT i AS id, 1 AS stars, 'x' AS body FROM n"), "is over the table review, which is a view now and is not read"),
    Hostile("virtual table for the source", ("DROP TABLE review", "CREATE VIRTUAL TABLE review USING fts5 (id, stars, body)"), "is over the table review, which is a virtual table now and is not read"),
    Hostile("view for the source, recorded as such, recursive", ("DROP TABLE review", f"CREATE VIEW review AS {ENDLESS.replace('FROM n)', 'FROM n WHERE i < 9)')} SELECT i AS id, 1 AS stars, 'x' AS body FROM n", *record("tracking = 'compare'")), "its hits come without metadata until you call sync()"),
    Hostile("source with a column that takes long", ("ALTER TABLE review ADD COLUMN v AS (length(replace(hex(zeroblob(20000000)), '0', 'ab')))", "UPDATE sqlrag_indexes SET filters = '[\"v\"]' WHERE name = 'reviews'"), NOTHING),
    Hostile("source with a CHECK that calls sqlrag_drop_index", ("PRAGMA writable_schema = ON", "UPDATE sqlite_schema SET sql = replace(sql, 'body TEXT', 'body TEXT CHECK (sqlrag_drop_index(''chunks'') > 0)') WHERE name = 'review'"), "unsafe use of sqlrag_drop_index()"),
    Hostile("source with a default that calls sqlrag_drop_index", ("PRAGMA writable_schema = ON", "UPDATE sqlite_schema SET sql = replace(sql, 'stars INTEGER', 'stars INTEGER DEFAULT (sqlrag_drop_index(''chunks''))') WHERE name = 'review'"), NOTHING),
    Hostile("trigger on sqlrag_meta that deletes elsewhere", ("CREATE TRIGGER t AFTER INSERT ON sqlrag_meta BEGIN DELETE FROM canary; END",), "its trigger t is not as sqlrag makes it"),
    Hostile("trigger on reviews that deletes elsewhere", ("CREATE TRIGGER t AFTER INSERT ON reviews BEGIN DELETE FROM canary; END",), "is not brought up to date before a query, since its table has triggers that are not sqlrag's (t)", canaries=0),
    Hostile("trigger on reviews under the name of sqlrag's", ("DROP TRIGGER reviews_after_insert", "CREATE TRIGGER reviews_after_insert AFTER INSERT ON reviews BEGIN DELETE FROM canary; END"), "triggers that are not sqlrag's (reviews_after_insert)", canaries=0),
    Hostile("trigger on review that calls sqlrag_drop_index", ("CREATE TRIGGER t AFTER INSERT ON review BEGIN SELECT sqlrag_drop_index('chunks'); END",), "unsafe use of sqlrag_drop_index()"),
    Hostile("trigger on review that calls sqlrag_reindex and search", ("CREATE TRIGGER t AFTER INSERT ON review BEGIN SELECT sqlrag_reindex('chunks') FROM search('chunks', 'x'); END",), "unsafe use of sqlrag_reindex()"),
    Hostile("trigger on review that ATTACHes", ("PRAGMA writable_schema = ON", "INSERT INTO sqlite_schema VALUES ('trigger', 't', 'review', 0, 'CREATE TRIGGER t AFTER INSERT ON review BEGIN ATTACH ''x.db'' AS x; END')"), "malformed database schema"),
    Hostile("generated column that calls embed", ("ALTER TABLE review ADD COLUMN v AS (embed(body))",), NOTHING),
    Hostile("index on an expression that calls rerank_score", ("PRAGMA writable_schema = ON", "CREATE TABLE other (a)", "CREATE INDEX i ON review (length(body))", "UPDATE sqlite_schema SET sql = 'CREATE INDEX i ON review (rerank_score(body, body))' WHERE name = 'i'"), "missing from index i"),
    Hostile("queue rows of other types", ("INSERT INTO reviews_queue (source_id, queued_at) VALUES (x'00', 'soon'), (NULL, -1e300), (9e18, 'x'), ('[', x'FF')",), NOTHING),
    Hostile("a queue of 300,000 rows that are not there", (f"INSERT INTO reviews_queue (source_id, queued_at) {ENDLESS.replace('FROM n)', 'FROM n WHERE i < 300000)')} SELECT i + 1000, 2400000 FROM n",), "changed rows of review yet"),
    Hostile("rows with hashes of other types", ("UPDATE reviews_rows SET content_hash = 'text'",), "have another text than the index"),
    Hostile("vectors of NaN", vectors("CAST(replace(printf('%.*c', 6144 * 4, 'x'), 'xxxx', char(127, 127, 127, 127)) AS BLOB)"), "are not of unit length"),
    Hostile("vectors of another length", vectors("zeroblob(7)"), "are damaged"),
    Hostile("vectors of zeros", vectors("zeroblob(16 * 384 * 4)"), "are not of unit length"),
    Hostile("ids behind the vectors that no chunk has", ("UPDATE reviews_vec_chunks SET rowids = randomblob(128)",), "the vectors of index 'reviews' are damaged"),
    Hostile("codes of another length", ("UPDATE reviews_codes SET codes = zeroblob(7)",), "the vectors of index 'reviews' are damaged"),
    Hostile("codes that are no bytes", ("UPDATE reviews_codes SET codes = 'x', factors = 1.5",), "the vectors of index 'reviews' are damaged"),
    Hostile("codes of 200 MB", ("UPDATE reviews_codes SET ids = zeroblob(200000000)",), "the vectors of index 'reviews' are damaged"),
    Hostile("codes with other ids", ("UPDATE reviews_codes SET ids = CAST(substr(ids, 9) || substr(ids, 1, 8) AS BLOB)",), "the vectors of index 'reviews' are damaged"),
    Hostile("no codes", ("DELETE FROM reviews_codes",), "vectors have no code, so that no search finds them"),
    Hostile("codes with factors of NaN", ("UPDATE reviews_codes SET factors = CAST(replace(factors, factors, char(127, 127, 127, 127, 127, 127, 127, 127)) AS BLOB)",), "codes are not those of their vectors"),
    Hostile("view for reviews_codes, endless", instead("reviews_codes", ENDLESS + "SELECT i AS first_id, i AS stamp, x'00' AS ids, x'00' AS factors, x'00' AS codes FROM n"), "its view reviews_codes is not as sqlrag makes it"),
    Hostile("view for reviews_gone, endless", instead("reviews_gone", ENDLESS + "SELECT i AS id FROM n"), "its view reviews_gone is not as sqlrag makes it"),
    Hostile("codes in a full text", ("DROP TABLE reviews_codes", "CREATE VIRTUAL TABLE reviews_codes USING fts5 (codes)"), "its table reviews_codes is not as sqlrag makes it"),
    Hostile("a million chunks that are said to be gone", (f"INSERT OR IGNORE INTO reviews_gone {ENDLESS.replace('FROM n)', 'FROM n WHERE i < 1000000)')} SELECT i + 1000 FROM n",), NOTHING),
    Hostile("candidates without an end", ("INSERT INTO sqlrag_candidates VALUES ('reviews', 25, 1, 2.0, 9223372036854775807), ('reviews', 26, 9223372036854775807, -1e308, 0)",), NOTHING),
    Hostile("candidates of none", ("INSERT INTO sqlrag_candidates VALUES ('reviews', 25, 0, 0.5, -1), ('reviews', 100, -7, 0.5, 1)",), "its table sqlrag_candidates has"),
    Hostile("candidates of other types", ("INSERT INTO sqlrag_candidates VALUES ('reviews', 'x', 'y', 'z', 'w')",), "its table sqlrag_candidates has"),
    Hostile("view for the score cache, endless", (f"CREATE VIEW sqlrag_scores AS {ENDLESS} SELECT i AS model, i AS pair, 1.0 AS score, i AS used, i AS hits FROM n",), NOTHING),
    Hostile("score cache of other columns", ("CREATE TABLE sqlrag_scores (a, b AS (zeroblob(999999999)))", "INSERT INTO sqlrag_scores VALUES ('x')"), NOTHING),
    Hostile("chunks whose text is a number and bytes", ("UPDATE reviews SET text = x'FF00FF', ordinal = 'x' WHERE id = 1",), "is no text: sqlrag check --repair"),
    Hostile("schema that does not parse", ("PRAGMA writable_schema = ON", "UPDATE sqlite_schema SET sql = 'CREATE TABLE review (((' WHERE name = 'review'"), "malformed database schema"),
]  # fmt: skip

DUCKDB = [
    Hostile("view for sqlrag_indexes that reads a file", instead("sqlrag_indexes", "SELECT was.* FROM was_sqlrag_indexes AS was, read_text('{secret}')"), "its view sqlrag_indexes is not as sqlrag makes it"),
    Hostile("view for sqlrag_meta that reads a file", instead("sqlrag_meta", "SELECT key, value FROM was_sqlrag_meta UNION ALL SELECT 'x', content FROM read_text('{secret}')"), "its view sqlrag_meta is not as sqlrag makes it"),
    Hostile("view for reviews_rows that reads a file", ("ALTER TABLE reviews_rows RENAME TO was", "CREATE VIEW reviews_rows AS SELECT was.* FROM was, read_text('{secret}')"), "its view reviews_rows is not as sqlrag makes it"),
    Hostile("view for documents that reads a file", instead("documents", "SELECT was.* FROM was_documents AS was, read_text('{secret}')"), "its view documents is not as sqlrag makes it"),
    Hostile("macro for sum that reads a file", ("CREATE MACRO sum(x) AS (SELECT count(*) FROM read_text('{secret}'))",), "macros with the names of DuckDB's own functions (sum)"),
    Hostile("macro for md5 that reads a file", ("CREATE MACRO md5(x) AS (SELECT max(content) FROM read_text('{secret}'))",), "macros with the names of DuckDB's own functions (md5)"),
    Hostile("macro for duckdb_functions, to hide", ("CREATE MACRO duckdb_functions() AS TABLE SELECT 1 AS function_name", "CREATE MACRO md5(x) AS 'x'"), "macros with the names of DuckDB's own functions (duckdb_functions, md5)"),
    Hostile("macro named embed", ("CREATE MACRO embed(x) AS (SELECT content FROM read_text('{secret}'))",), NOTHING),
    Hostile("index over a view that reads a file", ("CREATE VIEW spy AS SELECT 1 AS id, 1 AS stars, content AS body FROM read_text('{secret}')", "UPDATE sqlrag_indexes SET source_table = 'spy', tracking = 'view' WHERE name = 'reviews'"), "its hits come without metadata until you call sync()"),
    Hostile("view for the source that reads a file", instead("review", "SELECT id, stars, content AS body FROM was_review, read_text('{secret}')"), "is over the table review, which is a view now and is not read"),
    Hostile("view for the source, of its rows", instead("review", "SELECT * FROM was_review"), "is over the table review, which is a view now and is not read"),
    Hostile("view for the source, endless", instead("review", "SELECT range AS id, 1 AS stars, 'x' AS body FROM range(1000000000000)"), "is over the table review, which is a view now and is not read"),
    Hostile("view for the source, in another schema", ("CREATE SCHEMA other", "CREATE VIEW other.review AS SELECT 1 AS id, 1 AS stars, content AS body FROM read_text('{secret}')", "DROP TABLE review", "SET search_path = 'main,other'"), "is over review, which is gone"),
    Hostile("vectors of NaN", ("UPDATE reviews_embedding SET embedding = list_transform(embedding::FLOAT[], lambda x: 'nan'::FLOAT)::FLOAT[384]",), "are not of unit length"),
    Hostile("vectors of zeros", ("UPDATE reviews_embedding SET embedding = list_transform(embedding::FLOAT[], lambda x: 0)::FLOAT[384]",), "are not of unit length"),
    Hostile("vectors of another length", ("ALTER TABLE reviews_embedding ALTER embedding TYPE FLOAT[] USING embedding::FLOAT[]", "UPDATE reviews_embedding SET embedding = [1.0]"), "vectors of another length than 384"),
    Hostile("rows with other hashes", ("UPDATE reviews_rows SET content_hash = 'x'",), NOTHING),
    Hostile("trigger on reviews that deletes elsewhere", ("CREATE TRIGGER t AFTER INSERT ON reviews FOR EACH STATEMENT DELETE FROM canary",), "is not brought up to date before a query, since its table has triggers that are not sqlrag's (t)", canaries=0),
]  # fmt: skip


CASES = {"sqlite": [*RECORDS, *SQLITE], "duckdb": [*RECORDS, *DUCKDB]}


def main() -> None:
    """Write benchmarks/hostile.md: what is said first of each file."""
    lines = [
        "# Files from strangers",
        "",
        "`python -m tests.live.hostile_inputs`: a sound database that a stranger has changed with the engine alone is opened",
        "for writing, asked every function, written to, synced and checked. What is said first of it (an error, a warning or",
        "a finding of `check`); all of it is asserted by [tests/live/test_hostile.py](../tests/live/test_hostile.py), with",
        "the time it takes, the rows of a table that nobody wrote to, and a file beside the database that nothing may read.",
    ]
    for engine, cases in CASES.items():
        lines += ["", f"## {engine}", "", "| what is in the file | what is said |", "| --- | --- |"]
        with tempfile.TemporaryDirectory() as name:
            sound, secret = Path(name) / f"sound.{engine.replace('sqlite', 'db')}", Path(name) / "secret.txt"
            make(sound)
            secret.write_text(SECRET)
            for case in cases:
                path = Path(name) / f"database{sound.suffix}"
                for suffix in ("", ".sqlrag", "-wal", "-shm", ".wal", ".sqlrag-wal", ".sqlrag-shm"):
                    Path(f"{path}{suffix}").unlink(missing_ok=True)
                    if Path(f"{sound}{suffix}").exists():
                        shutil.copy(f"{sound}{suffix}", f"{path}{suffix}")
                change(path, tuple(one.replace("{secret}", str(secret)) for one in case.statements))
                said = [(step, words.replace(f"{name}/", "")) for step, words in Child(tour, path).result()]
                first = f"{said[0][0]}: {said[0][1].splitlines()[0][:200]}" if said else "works as ever"
                lines.append(f"| {case.what} | {first.replace('|', chr(92) + '|')} |")
    lines += ["", *NOTES]
    (Path(__file__).parents[2] / "benchmarks" / "hostile.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


NOTES = [
    "What that rests on:",
    "",
    "- sqlrag's own tables must be the tables that it makes: no view, computed column, trigger, or virtual table of another",
    "  kind in their place, none behind a virtual table. DuckDB macros with the names of DuckDB's functions are refused.",
    "- `sqlrag_create_index`, `_sync`, `_alter_index`, `_reindex` and `_drop_index` cannot be called from a view or trigger",
    "  on SQLite; `embed`, `rerank_score`, the top-k functions and `search` can: they only read and compute.",
    "- What an index knows as a table must be one, wherever it is read: not a view, nor a virtual table. An index over a",
    "  view says so; a question reads that view for metadata if it reads this database's tables alone and has an end.",
    "- A file names models, never paths. Nothing that it says is loaded from disk or network.",
    "- Before a query nothing is synced whose chunk table has a trigger that is not sqlrag's.",
    "- Where sqlite-vec keeps each vector is compared both ways, and some vectors with their texts; before one is written,",
    "  its place is looked at, so that no other is lost (tests/live/test_shadow_tables.py).",
    "- What you ask for is done: `sync` of an index over a view runs the view (DuckDB's can read files), a write to a",
    "  table runs its triggers, and a filter over an endless view has no end (Ctrl-C has). With `read_only=True` nothing",
    "  is written.",
    "- SQLite's `PRAGMA trusted_schema = OFF` is not used: it would forbid sqlite-vec in the index's own triggers.",
]


if __name__ == "__main__":
    main()
