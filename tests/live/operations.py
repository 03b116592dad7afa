"""What the crash tests interrupt, each on a small database of its own.

Ingest, sync, measuring candidates, codes made anew, reindex, repair.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from unittest.mock import patch

import sqlrag
import sqlrag.indexing.ingest
import sqlrag.indexing.sync
from sqlrag.store import upkeep
from sqlrag.text.documents import Document

SMALL = {
    (sqlrag.indexing.ingest, "BATCH_CHUNKS"): 16,
    (sqlrag.indexing.sync, "BATCH_ROWS"): 12,
    (upkeep, "SMALLEST"): 600,
    (upkeep, "QUERIES"): 64,
}
"""Constants that make many commits of little work; only the operations on many rows measure candidates."""

THINGS = ("a kettle", "two lamps", "some honey", "an old map", "a bicycle", "warm socks", "sheet music", "a telescope")
PLACES = ("harbour", "mill", "observatory", "bakery", "orchard", "library", "lighthouse")


def code(number: int, edition: int = 0) -> str:
    """Return a word that only one text has, of one edition."""
    return f"zq{number}e{edition}"


def body(number: int, edition: int = 0, sentences: int = 1) -> str:
    """Return the text of a row: short, and no two the same."""
    return " ".join(
        f"Parcel {number} held {THINGS[(number + place) % len(THINGS)]} and reached the "
        f"{PLACES[(3 * number + place + edition) % len(PLACES)]} after {number * 7 % 50 + place + edition} days."
        for place in range(sentences)
    )


def document(number: int, edition: int = 0) -> Document:
    """Return a document of two chunks, or, each twentieth, of more than a batch has."""
    text = f"{code(number, edition)}\n\n{body(number, edition, 40 if number % 20 == 7 else 3)}"
    name = code(number, edition)
    return Document(f"doc{number:03}", name, text, {}, hashlib.sha256(text.encode()).hexdigest())


@dataclass(frozen=True)
class Operation:
    """One operation: `make` prepares a database, `run` is interrupted, and run again. Both are told the variant."""

    name: str
    make: Callable[[sqlrag.Database, int], None]
    run: Callable[[sqlrag.Database, int], object]
    on_documents: Callable[[int], bool]
    variants: int = 2
    flaws: Callable[[int], tuple[str, ...]] = lambda _variant: ()
    """What `check` may say between the interruption and the next run."""

    def index(self, variant: int) -> str:
        """Return the name of the index."""
        return "chunks" if self.on_documents(variant) else "notes"

    def source(self, variant: int) -> tuple[str, str, str]:
        """Return the source of the index, its key, and the column with the word that only that row has."""
        return ("documents", "id", "title") if self.on_documents(variant) else ("parcel", "id", "code")


def make_table(db: sqlrag.Database, variant: int, rows: int, sentences: int = 1, **options: object) -> None:
    """Make a table with an index; the second variant has a key of text, and on SQLite a write-ahead log."""
    sqlite = db.engine == "sqlite"
    if variant and sqlite:
        db.execute("PRAGMA journal_mode = WAL").fetchall()
    kind = ("TEXT", "WITHOUT ROWID" if sqlite else "") if variant else ("INTEGER", "")
    db.execute(f"CREATE TABLE parcel (id {kind[0]} PRIMARY KEY, code TEXT, body TEXT) {kind[1]}").fetchall()
    write_rows(db, [(number, code(number), body(number, sentences=sentences)) for number in range(1, rows + 1)])
    db.create_index("notes", "parcel", "{code}: {body}", **options)


def write_rows(db: sqlrag.Database, rows: list[tuple[int, str, str]]) -> None:
    """Write rows as any client would, over those with the same key."""
    db.execute("BEGIN").fetchall()
    for row in rows:
        db.execute("INSERT OR REPLACE INTO parcel VALUES (?, ?, ?)", row).fetchall()
    db.execute("COMMIT").fetchall()


def _make_documents(db: sqlrag.Database, variant: int) -> None:
    db.ingest([document(number) for number in range(14)], max_tokens=40, vectors="int8" if variant else "float32")


def _ingest(db: sqlrag.Database, _variant: int) -> object:
    return db.ingest([document(number, number % 3 == 0) for number in range(28)])


def _make_backlog(db: sqlrag.Database, variant: int) -> None:
    make_table(db, variant, 36)
    write_rows(db, [(number, code(number, 1), body(number, 1)) for number in (*range(5, 36, 3), *range(60, 90))])
    db.execute("DELETE FROM parcel WHERE id IN (1, 2, 3, 4, 70)").fetchall()


def _make_unmeasured(db: sqlrag.Database, variant: int) -> None:
    with patch.object(upkeep, "SMALLEST", 1_000):
        make_table(db, 0, 700, vectors="int8" if variant else "float32")


def _make_many(db: sqlrag.Database, variant: int) -> None:
    _make_unmeasured(db, variant)
    write_rows(db, [(7, code(7, 1), body(7, 1))])


def _make_long(db: sqlrag.Database, variant: int) -> None:
    if variant == 2:
        _make_documents(db, 0)
    else:
        make_table(db, variant, 36, sentences=3)


def _make_damaged(db: sqlrag.Database, variant: int) -> None:
    _make_long(db, (0, 2, 1)[variant])
    index = "chunks" if variant == 1 else "notes"
    vectors, key = (f"{index}_vec", "rowid") if db.engine == "sqlite" else (f"{index}_embedding", "id")
    if variant == 2:  # only making it anew helps
        db.execute(f"DROP TABLE {vectors if db.engine == 'sqlite' else 'notes_rows'}").fetchall()
    else:
        db.execute(f"DELETE FROM {vectors} WHERE {key} % 5 < 3").fetchall()
        db.execute(f"DELETE FROM {index} WHERE id % 7 < 3").fetchall()


OPERATIONS = (
    Operation("ingest", _make_documents, _ingest, lambda _: True, flaws=lambda _: ("ingested in part",)),
    Operation("sync", _make_backlog, lambda db, _: db.sync(), lambda _: False),
    Operation("measuring", _make_many, lambda db, _: db.sync(), lambda _: False),
    Operation("codes", _make_unmeasured, lambda db, _: db.reindex("notes", codes_only=True), lambda _: False),
    Operation(
        "reindex",
        _make_long,
        lambda db, variant: db.reindex("chunks" if variant == 2 else "notes", max_tokens=24),
        lambda variant: variant == 2,
        variants=3,
    ),
    Operation(
        "repair",
        _make_damaged,
        lambda db, _: db.repair(),
        lambda variant: variant == 1,
        variants=3,
        flaws=lambda _: (
            "have no vector",
            "vectors have no",
            "have another text than the index",
            "ingested in part",
            "differ",
            "is gone",
            "has lost",
        ),
    ),
)
