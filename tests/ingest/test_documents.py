"""Documents that the caller makes, as a list or a stream; and what is no document."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from sqlrag.errors import DatabaseError, InputError, SourceError
from sqlrag.text.documents import Document
from tests.ingest.content import assert_holds, write_folder


def document(uri: str = "note", text: str = "The ferry was late.", **changes: object) -> Document:
    """Return a document that is right but for the changes."""
    values = {"uri": uri, "title": uri.title(), "text": text, "metadata": {"n": 1}, "content_hash": f"hash of {text}"}
    return Document(**{**values, **changes})


@pytest.mark.parametrize("kind", [list, tuple, iter], ids=["list", "tuple", "iterator"])
def test_documents_come_from_any_iterable(fresh, kind):
    """A list, a tuple and a stream give the same: title and metadata kept, twice is once, prune removes the rest."""
    documents = [
        document("one", "The ferry was late."),
        document("two", "The comet is back. " * 3),
        document("empty", ""),
    ]
    assert fresh.ingest(kind(documents)).added == 3
    assert_holds(fresh, {item.uri: item.text for item in documents})
    rows = fresh.execute("SELECT title, CAST(metadata ->> 'n' AS INTEGER) FROM documents ORDER BY uri").fetchall()
    assert rows == [("Empty", 1), ("One", 1), ("Two", 1)]
    encoded = fresh.embedder.texts_encoded
    assert fresh.ingest(kind(documents)).unchanged == 3
    assert fresh.embedder.texts_encoded == encoded
    assert fresh.ingest(kind(documents[:1]), prune=True).removed == 2
    assert_holds(fresh, {"one": "The ferry was late."})


def test_prune_of_documents_keeps_those_of_files(fresh, tmp_path):
    """Documents that came from files stay while the file is there, or while that cannot be told."""
    docs, disk = write_folder(tmp_path / "C# notes", 2, 2), write_folder(tmp_path / "disk", 1, 2)
    (docs / "rows.jsonl").write_text('{"id": 1, "text": "comet"}\n{"id": 2, "text": "ferry"}\n')
    (docs / "disk").symlink_to(disk)
    assert fresh.ingest([docs, docs / "disk"]).added == 5
    assert fresh.ingest([document("one"), document("two")], prune=True).removed == 0
    (docs / "note000.txt").unlink()
    disk.rename(tmp_path / "away")
    assert fresh.ingest([document("one")], prune=True).removed == 2
    uris = [uri for (uri,) in fresh.execute("SELECT uri FROM documents ORDER BY uri").fetchall()]
    assert uris == [
        f"{docs}/{name}" for name in ("disk/note000.txt", "note001.txt", "rows.jsonl#1", "rows.jsonl#2")
    ] + ["one"]
    (docs / "rows.jsonl").unlink()
    assert fresh.ingest([document("one")], prune=True).removed == 2
    assert fresh.check() == []


@pytest.mark.parametrize("kind", [iter, lambda empty: (item for item in empty)], ids=["iterator", "generator"])
def test_prune_with_no_documents_empties_nothing(fresh, kind):
    """A stream that gives nothing is more often a failed query than an empty collection: the error says so."""
    assert fresh.ingest(kind([]), prune=True).removed == 0
    fresh.ingest([document("one"), document("two")])
    with pytest.raises(InputError, match=r"sources has no documents, and prune=True would remove 2 documents"):
        fresh.ingest(kind([]), prune=True)
    assert_holds(fresh, {"one": "The ferry was late.", "two": "The ferry was late."})
    assert fresh.ingest(kind([])).removed == 0


def test_a_stream_is_not_gathered(fresh, monkeypatch):
    """Documents are written while the stream goes on, also those that are long and have few chunks, or none."""
    monkeypatch.setattr("sqlrag.indexing.ingest.BATCH_CHARS", 1_000)
    written = []

    def stream():
        for number in range(6):
            yield document(f"d{number}", " " * 600 + "comet" * (number % 2))
            written.append(fresh.execute("SELECT count(*) FROM documents").fetchall()[0][0])

    fresh.ingest(stream())
    assert written == [0, 2, 2, 4, 4, 6]


def test_a_stream_that_breaks_loses_only_what_was_not_written(fresh, monkeypatch):
    """The error of the stream is the caller's own; what was committed before it stays, and the rest can follow."""
    monkeypatch.setattr("sqlrag.indexing.ingest.BATCH_CHUNKS", 2)
    documents = [document(f"d{number}", f"The comet, seen {number} times.") for number in range(5)]

    def stream():
        yield from documents[:3]
        raise OSError("the network is gone")

    with pytest.raises(OSError, match="the network is gone"):
        fresh.ingest(stream(), prune=True)
    assert_holds(fresh, {item.uri: item.text for item in documents[:2]})
    assert fresh.ingest(documents).added == 3
    assert_holds(fresh, {item.uri: item.text for item in documents})


def test_two_documents_of_one_uri(fresh):
    """The first counts, the other is named in the report."""
    report = fresh.ingest([document("same", "comet"), document("same", "ferry"), document("other", "bank")])
    assert report.added == 2
    assert [(skipped.uri, skipped.reason) for skipped in report.unreadable] == [
        ("same", "left out: another document of this run has the same uri")
    ]
    assert_holds(fresh, {"same": "comet", "other": "bank"})


def test_unusual_text_is_kept_as_it_is(fresh):
    """Control characters, emoji and combining marks stand in the database as they were given; a NUL is replaced."""
    texts = {"nul": "comet\0 ferry", "marks": "e\u0301 🚋\u200d \u2028 \x85 bank", "quotes": "'; DROP TABLE chunks; --"}
    fresh.ingest([document(uri, text) for uri, text in texts.items()])
    texts["nul"] = "comet\ufffd ferry"
    assert dict(fresh.execute("SELECT uri, text FROM documents").fetchall()) == texts
    assert dict(
        fresh.execute("SELECT d.uri, c.text FROM chunks AS c JOIN documents AS d ON d.id = c.source_id").fetchall()
    ) == {uri: text.strip() for uri, text in texts.items()}
    assert fresh.check() == []


WRONG = {
    "a number": (7, ["sources holds 7", "Document objects", "a list of paths"]),
    "a path": (Path("docs"), ["sources holds", "'docs'", "a list of paths"]),
    "a dict": ({"text": "a"}, ["sources holds {'text': 'a'}", "Document objects"]),
    "an empty uri": (document(uri=""), ["document ''", "uri is empty"]),
    "no title": (document(title=None), ["document 'note'", "title is None", "a text"]),
    "text that is bytes": (document(text=b"a", content_hash="h"), ["document 'note'", "text is b'a'", "a text"]),
    "an empty hash": (document(content_hash=""), ["document 'note'", "content_hash is empty"]),
    "a lone surrogate": (document(text="ab\ud800"), ["document 'note'", "text has a lone surrogate at character 2"]),
    "a surrogate in metadata": (document(metadata={"a": "\udfff"}), ["metadata has a lone surrogate", "replace it"]),
    "metadata that is a list": (document(metadata=[1]), ["document 'note'", "metadata is [1]", "a dict"]),
    "a date": (document(metadata={"day": dt.date(2020, 1, 1)}), ["metadata is not JSON", "date", "as text"]),
    "a NaN": (document(metadata={"x": float("nan")}), ["document 'note'", "metadata is not JSON"]),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("kind", [list, iter], ids=["list", "iterator"])
def test_what_is_no_document_is_named(fresh, name, kind):
    """What cannot be stored is an InputError that says which document, what in it, and what would be right."""
    wrong, words = WRONG[name]
    with pytest.raises(InputError) as raised:
        fresh.ingest(kind([document("good", "comet"), wrong]))
    assert [word for word in words if word not in str(raised.value)] == []
    assert "\n" not in str(raised.value)
    assert fresh.check() == []


def test_sources_that_are_nothing(fresh, tmp_path):
    """A number, no paths, a path that is missing: named; nothing is made, not even the index."""
    with pytest.raises(InputError, match=r"sources is 7: it takes a path, paths or documents"):
        fresh.ingest(7)
    with pytest.raises(InputError, match="name at least one file or folder"):
        fresh.ingest([])
    with pytest.raises(SourceError, match=r"no-such-folder' cannot be read: no such file or directory"):
        fresh.ingest([tmp_path / "no-such-folder"])
    assert fresh.indexes() == []


def test_an_empty_folder_gives_an_empty_index(fresh, tmp_path):
    """No documents is a result: all counts zero, searches find nothing, all is sound."""
    (tmp_path / "empty").mkdir()
    report = fresh.ingest(tmp_path / "empty")
    assert (report.added, report.changed, report.unchanged, report.removed, report.chunks) == (0, 0, 0, 0, 0)
    assert (report.unreadable, report.skipped) == ([], [])
    assert fresh.search("anything") == []
    assert fresh.compare("anything").candidates == []
    assert [(info.documents, info.chunks) for info in fresh.info()] == [(0, 0)]
    assert fresh.check() == []


def test_files_that_cannot_be_read_are_named_and_the_others_are_read(fresh, tmp_path):
    """Invalid UTF-8, a binary file and a suffix that nobody knows do not stop the rest."""
    docs = write_folder(tmp_path / "docs", 1, 2)
    (docs / "latin.txt").write_bytes("Zürich".encode("latin-1"))
    (docs / "binary.md").write_bytes(b"a\0b")
    (docs / "data.xyz").write_bytes(b"?")
    report = fresh.ingest(docs)
    assert report.added == 1
    reasons = {Path(skipped.uri).name: skipped.reason for skipped in report.unreadable}
    assert reasons["latin.txt"].startswith("not UTF-8: byte 0xfc at offset 1")
    assert "iconv" in reasons["latin.txt"]
    assert reasons["binary.md"] == "is binary, not text: there is a NUL at character 1"
    assert [Path(path).name for path in report.skipped] == ["data.xyz"]


INDEX_NAMES = {
    "documents": "keeps for itself",
    "sqlrag_x": "keeps for itself",
    "sqlite_x": "keeps for itself",
    "x_vec": "keeps for itself",
    "x_FTS": "keeps for itself",
    "x_embedding": "keeps for itself",
    "select": "keyword of SQL: take another name, such as 'select_chunks'",
    "a b": "take a letter",
    "": "take a letter",
    'x"; DROP TABLE y; --': "take a letter",
    "é": "take a letter",
    "1a": "take a letter",
    "a" * 49: "48 at most",
    "a\n": "take a letter",
    7: "the name of an index is a text",
    None: "the name of an index is a text",
}


@pytest.mark.parametrize("name", INDEX_NAMES, ids=repr)
def test_names_that_no_index_may_have(fresh, tmp_path, name):
    """The name is refused before anything is made; the error says what a name is."""
    with pytest.raises(InputError) as raised:
        fresh.ingest(tmp_path, name)
    assert INDEX_NAMES[name] in str(raised.value)
    assert repr(name)[:40] in str(raised.value)
    assert fresh.indexes() == []


@pytest.mark.parametrize("name", ["a", "Chunks2", "x" * 48, "notes_of_2024", "chunk"])
def test_names_that_an_index_may_have(fresh, tmp_path, name):
    """An index of such a name is made, found and sound, in any case of letters."""
    fresh.ingest([document("note", "The comet is back.")], name)
    assert fresh.indexes() == [name]
    assert [hit.text for hit in fresh.search("comet", name)] == ["The comet is back."]
    assert fresh.ingest([document("note", "The comet is back.")], name.upper()).unchanged == 1
    assert fresh.indexes() == [name]
    assert_holds(fresh, {"note": "The comet is back."}, name)


def test_several_indexes_keep_apart(fresh):
    """The same uri in two indexes is two documents; a search in one finds nothing of the other."""
    fresh.ingest([document("note", "The comet is back.")], "sky")
    fresh.ingest([document("note", "The bank is closed.")], "money")
    assert [hit.text for hit in fresh.search("comet", "money")] == ["The bank is closed."]
    assert_holds(fresh, {"note": "The comet is back."}, "sky")
    assert_holds(fresh, {"note": "The bank is closed."}, "money")


def test_chunking_is_the_index_s(fresh, tmp_path):
    """Sizes that cannot be are refused; so are others than the index was made with, by name and value."""
    for sizes, words in (
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"overlap": -1}, "overlap is -1"),
        ({"max_tokens": 20, "overlap": 20}, "overlap is 20 tokens and max_tokens 20"),
        ({"max_tokens": 2.5}, "max_tokens is 2.5"),
        ({"max_tokens": "many"}, "max_tokens is 'many'"),
    ):
        with pytest.raises(InputError, match=words):
            fresh.ingest([document()], **sizes)
    assert fresh.indexes() == []
    fresh.ingest([document()], max_tokens=50)
    with pytest.raises(InputError, match=r"max_tokens is 60, but index 'chunks' was made with 50: leave it out"):
        fresh.ingest([document()], max_tokens=60)
    assert fresh.ingest([document()]).unchanged == 1


@pytest.mark.parametrize("table", ["chunks", "Chunks_vec", "documents"])
def test_tables_of_the_user_are_left_alone(fresh, table):
    """A table of the user's that stands in the way is named, with the way out; nothing of it is touched."""
    fresh.execute(f"CREATE TABLE {table} (mine INTEGER)").fetchall()
    fresh.execute(f"INSERT INTO {table} VALUES (42)").fetchall()

    with pytest.raises(DatabaseError) as raised:
        fresh.ingest([document()])
    assert f"has a table {table} of its own" in str(raised.value)
    assert ("another database" if table == "documents" else "another name") in str(raised.value)
    assert fresh.execute(f"SELECT * FROM {table}").fetchall() == [(42,)]
    assert fresh.indexes() == []
    if table != "documents":
        assert fresh.ingest([document()], "notes").added == 1
