"""D3: names of indexes are compared as the engines compare names of tables, without case, whichever call has them."""

from __future__ import annotations

import pytest

from sqlrag.errors import InputError
from sqlrag.store.names import same_name
from sqlrag.text.documents import Document


@pytest.fixture
def reviews(fresh):
    """A database with an index over a table."""
    fresh.execute("CREATE TABLE review (id INTEGER PRIMARY KEY, body TEXT)")
    fresh.execute("INSERT INTO review VALUES (1, 'It boils fast.'), (2, 'Lights up my desk.')")
    fresh.create_index("reviews", table="review", text="body")
    return fresh


def test_d3_documents_are_not_ingested_into_a_live_index_under_another_case(reviews):
    """The index is named, and stays as it was."""
    with pytest.raises(InputError, match="index 'reviews' is over the table review"):
        reviews.ingest([Document("a", "", "A text.", {}, "hash")], "Reviews")
    assert reviews.indexes() == ["reviews"]
    assert reviews.check() == []
    assert [hit.source_id for hit in reviews.search("desk", "REVIEWS", top_n=1)] == [2]


def test_d3_documents_go_into_the_index_of_the_same_name(fresh):
    """One index, under the name that it was made with."""
    fresh.ingest([Document("a", "", "A text.", {}, "hash")], "Notes")
    fresh.ingest([Document("b", "", "Another text.", {}, "hash2")], "NOTES")
    assert fresh.indexes() == ["Notes"]
    assert len(fresh.search("text", "notes")) == 2
    assert fresh.execute("SELECT DISTINCT index_name FROM documents").fetchall() == [("Notes",)]
    assert fresh.check() == []
    fresh.reindex("nOTES")
    assert fresh.check() == []
    fresh.drop_index("nOTES")
    assert fresh.indexes() == []


def test_d3_a_live_index_is_altered_made_anew_and_dropped_under_any_case(reviews):
    """Nothing is left of it under either name."""
    for name in ("REVIEWS", "Reviews"):
        reviews.create_index(name, table="REVIEW", text="BODY")
        reviews.alter_index(name, tokenizer="trigram")
        reviews.reindex(name)
        reviews.sync(name)
        assert reviews.indexes() == ["reviews"]
        assert reviews.check() == []
    reviews.drop_index("REVIEWS")
    assert reviews.indexes() == []
    reviews.create_index("Reviews", table="review", text="body")
    assert reviews.check() == []


def test_letters_beyond_ascii_keep_their_case():
    """As SQLite and DuckDB have it: Ä and ä are two names."""
    assert same_name("Chunks", "cHUNKS")
    assert not same_name("Äpfel", "äpfel")
    assert not same_name(None, "None")
