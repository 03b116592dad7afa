"""D4: dropping or changing an index takes away what was made for it, and nothing of the user's that is called so."""

from __future__ import annotations

import pytest

import sqlrag
from sqlrag.text.documents import Document
from tests.engine.databases import change_tables

INDEXES = "SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name IN ('review', 'opinion') ORDER BY 1"


@pytest.fixture
def reviews(tmp_path):
    """A table with indexes of the user's own that are called as ours would be."""
    with sqlrag.connect(tmp_path / "reviews.db") as db:
        db.execute("CREATE TABLE review (id INTEGER PRIMARY KEY, body TEXT, lang TEXT, year INT, stars INT)")
        db.execute("INSERT INTO review VALUES (1, 'It boils fast.', 'en', 2020, 4)")
        db.execute('CREATE INDEX "reviews_filter_lang" ON "review" ("lang")')
        db.execute("CREATE INDEX reviews_filter_year ON review (year) WHERE year > 2000")
        db.execute("CREATE INDEX reviews_filter_mine ON review (stars, year)")
        yield db


OWN = ["reviews_filter_lang", "reviews_filter_mine", "reviews_filter_year"]


def indexes(db):
    return [name for (name,) in db.execute(INDEXES)]


def test_d4_indexes_of_the_user_s_outlive_drop_index(reviews):
    """A name taken, a column indexed already: neither is ours to drop."""
    reviews.create_index("reviews", table="review", text="body", filters=["lang", "year"])
    assert indexes(reviews) == OWN  # `lang` and `year` lead an index already
    reviews.drop_index("reviews")
    assert indexes(reviews) == OWN


def test_d4_indexes_of_the_user_s_outlive_alter_index_and_reindex(reviews):
    """The ones that were made come and go with the filters."""
    reviews.execute("CREATE INDEX REVIEWS_filter_body ON review (year, body)")
    reviews.create_index("reviews", table="review", text="body", filters=["body"])
    assert set(indexes(reviews)) == {*OWN, "REVIEWS_filter_body", "reviews_filter_body_2"}
    reviews.reindex("reviews", max_tokens=50)
    assert set(indexes(reviews)) == {*OWN, "REVIEWS_filter_body", "reviews_filter_body_2"}
    reviews.alter_index("reviews", filters=["stars", "lang"])
    assert set(indexes(reviews)) == {*OWN, "REVIEWS_filter_body"}
    reviews.drop_index("reviews")
    assert set(indexes(reviews)) == {*OWN, "REVIEWS_filter_body"}


def test_d4_what_was_made_goes_under_whichever_name_its_column_has_now(tmp_path):
    """Renaming table and column changes the definition, not who made it."""
    path = tmp_path / "renamed.db"
    with sqlrag.connect(path) as db:
        db.execute("CREATE TABLE review (id INTEGER PRIMARY KEY, body TEXT, lang TEXT)")
        db.create_index("reviews", table="review", text="body", filters=["lang"])
    change_tables(path, "ALTER TABLE review RENAME TO opinion", "ALTER TABLE opinion RENAME COLUMN lang TO tongue")
    with sqlrag.connect(path) as db:
        assert indexes(db) == ["reviews_filter_lang"]
        db.drop_index("reviews")
        assert indexes(db) == []


def test_d4_an_index_put_in_the_place_of_ours_stays(reviews):
    """It has our name and another definition."""
    reviews.create_index("stars", table="review", text="body", filters=["body"])
    reviews.execute("DROP INDEX stars_filter_body")
    reviews.execute("CREATE INDEX stars_filter_body ON review (body, year)")
    reviews.drop_index("stars")
    assert indexes(reviews) == [*OWN, "stars_filter_body"]


def test_d4_a_database_of_an_earlier_version_has_no_record_of_them(tmp_path):
    """Name, definition and filters together tell what it made."""
    path = tmp_path / "earlier.db"
    with sqlrag.connect(path) as db:
        db.execute("CREATE TABLE review (id INTEGER PRIMARY KEY, body TEXT, lang TEXT, year INT)")
        db.create_index("reviews", table="review", text="body", filters=["lang"])
    change_tables(
        path,
        "DELETE FROM sqlrag_meta WHERE key = 'filters:reviews'",
        "CREATE INDEX reviews_filter_x ON review (lang)",
        'CREATE INDEX "reviews_filter_year" ON "review" ("year")',
    )
    with sqlrag.connect(path) as db:
        db.drop_index("reviews")
        assert indexes(db) == ["reviews_filter_x", "reviews_filter_year"]


def test_d4_a_trigger_of_the_user_s_that_is_called_so_stays(reviews):
    """It does not fill the queue."""
    reviews.create_index("reviews", table="review", text="body")
    reviews.execute("CREATE TABLE log (what)")
    sql = "CREATE TRIGGER reviews_source_insert_9 AFTER INSERT ON review BEGIN INSERT INTO log VALUES (new.id); END"
    reviews.execute(sql)
    reviews.alter_index("reviews", text="{body} ({lang})")
    reviews.drop_index("reviews")
    assert reviews.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall() == [
        ("reviews_source_insert_9",)
    ]


def test_d4_tables_that_an_index_over_documents_does_not_have(fresh):
    """The user's tables with names that only an index over a table takes stay, on both engines."""
    fresh.ingest([Document("a", "", "A text.", {}, "hash")])
    for table in ("chunks_rows", "chunks_queue"):
        fresh.execute(f"CREATE TABLE {table} (mine INTEGER)")
        fresh.execute(f"INSERT INTO {table} VALUES (1)")
    fresh.drop_index("chunks")
    assert fresh.execute("SELECT mine FROM chunks_rows, (SELECT mine AS other FROM chunks_queue)").fetchall() == [(1,)]
