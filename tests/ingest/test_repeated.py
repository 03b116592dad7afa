"""Ingest twice is ingest once: what is searchable afterwards is what is in the folder, whatever was there before."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sqlrag
from sqlrag.models.tokenizer import ModelTokenizer
from sqlrag.store.encoders import chunker_of
from sqlrag.text.counting import TokenCounter
from tests.conftest import ENGINES, database_path
from tests.ingest.content import WORDS, assert_holds, read_texts, write_folder
from tests.sizes import examples

NAMES = st.sampled_from(["a.txt", "b.txt", "sub/c.txt", "Ü 1.txt"])
PARAGRAPHS = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)
TEXTS = st.lists(PARAGRAPHS | st.sampled_from(["", " \t", "# Head", "Zürich 🚋 e\u0301"]), max_size=6).map("\n\n".join)
FOLDERS = st.dictionaries(NAMES, TEXTS, max_size=4)
RUNS = st.lists(st.tuples(FOLDERS, st.booleans()), min_size=2, max_size=3)


def make(folder: Path, files: dict[str, str]) -> None:
    """Make the folder hold these text files and no others."""
    for path in list(folder.rglob("*.txt")):
        path.unlink()
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.sized
@settings(max_examples=examples(4, 10), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(runs=RUNS)
def test_what_is_searchable_is_what_is_in_the_folder(engine, runs):
    """After files are added, changed and removed, the index is that of the folder; once more changes nothing."""
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root, "docs")
        folder.mkdir()
        expected: dict[str, str] = {}
        with sqlrag.connect(database_path(Path(root), engine)) as db:
            for files, prune in runs:
                make(folder, files)
                present = {str(folder / name): text for name, text in files.items()}
                before, expected = expected, (present if prune else expected | present)
                report = db.ingest(folder, max_tokens=20, prune=prune)
                assert (report.added, report.changed, report.unchanged, report.removed) == (
                    len(present.keys() - before.keys()),
                    sum(uri in before and before[uri] != text for uri, text in present.items()),
                    sum(before.get(uri) == text for uri, text in present.items()),
                    len(before.keys() - expected.keys()),
                )
                assert_holds(db, expected)
                encoded = db.embedder.texts_encoded
                again = db.ingest(folder)
                assert (again.added, again.changed, again.removed, again.chunks) == (0, 0, 0, 0)
                assert db.embedder.texts_encoded == encoded


def test_an_unchanged_file_costs_nothing(fresh, tmp_path, monkeypatch):
    """A file of the same bytes is neither converted nor embedded again, also when its time is new."""
    page = tmp_path / "page.html"
    page.write_text("<html><title>Ferry</title><body><p>The ferry leaves at noon.</p></body></html>")
    assert fresh.ingest(page).added == 1
    encoded = fresh.embedder.texts_encoded

    def convert(*_):
        raise AssertionError

    monkeypatch.setattr("sqlrag.text.html.html_to_text", convert)
    page.touch()
    report = fresh.ingest(page)
    assert (report.unchanged, report.added, report.changed, report.chunks) == (1, 0, 0, 0)
    assert fresh.embedder.texts_encoded == encoded


@dataclass
class Work:
    """What an ingest has done with one file."""

    opened: int = 0
    hashed: int = 0
    tokenized: list[str] = field(default_factory=list)


@contextmanager
def counting(path: Path):
    """Count how often a file is opened and its content hashed, and note the texts that the tokenizer is given."""
    opened, hashed, tokenized = [], [], []
    open_, sha256, encode, tokenize = io.open, hashlib.sha256, ModelTokenizer._encode, TokenCounter._tokenized

    def open_noted(file, *args, **kwargs):
        opened.append(str(file))
        return open_(file, *args, **kwargs)

    def hash_noted(*args, **kwargs):
        hashed.append(1)
        return sha256(*args, **kwargs)

    def encode_noted(self, texts):
        tokenized.extend(texts)
        return encode(self, texts)

    def tokenize_noted(self, text):
        tokenized.append(text)
        return tokenize(self, text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("io.open", open_noted)
        patch.setattr("hashlib.sha256", hash_noted)
        patch.setattr(ModelTokenizer, "_encode", encode_noted)
        patch.setattr(TokenCounter, "_tokenized", tokenize_noted)
        work = Work()
        yield work
    work.opened, work.hashed = opened.count(str(path)), len(hashed)
    work.tokenized = [text for text in tokenized if text]  # a new index asks for the length of the model's empty prompt


@pytest.mark.usefixtures("real_models")
def test_a_file_is_read_hashed_and_tokenized_once(fresh, tmp_path):
    """Whether it is new or has changed; the chunker counts the words of a text from what it knows of them."""
    chunker_of.cache_clear()  # a chunker that is made anew knows no text
    note = tmp_path / "note.txt"
    for number in range(2):
        note.write_text(f"Edition {number}. " + "The comet was seen from the lighthouse at half past nine. " * 40)
        with counting(note) as work:
            fresh.ingest(note)
        chunks = [text for (text,) in fresh.execute("SELECT context || text FROM chunks ORDER BY id").fetchall()]
        assert len(chunks) > 1
        assert (work.opened, work.hashed) == (1, 1)
        texts = [text for text in work.tokenized if " " in text]  # a word of a context may be counted once more
        assert sorted(texts) == sorted(chunks)
    with counting(note) as work:
        fresh.ingest(note)
    assert (work.opened, work.hashed, work.tokenized) == (1, 1, [])


def test_a_changed_file_keeps_its_id(fresh, tmp_path):
    """Other content replaces the chunks, of which none keeps its id; the document keeps its own."""
    note = tmp_path / "note.txt"
    note.write_text("The comet was seen from the lighthouse.")
    fresh.ingest(note)
    before = fresh.execute("SELECT d.id, c.id FROM documents AS d JOIN chunks AS c ON c.source_id = d.id").fetchall()
    note.write_text("The walnut was eaten on the ferry.")
    report = fresh.ingest(note)
    after = fresh.execute("SELECT d.id, c.id FROM documents AS d JOIN chunks AS c ON c.source_id = d.id").fetchall()
    assert (report.changed, report.added) == (1, 0)
    assert [row[0] for row in before] == [row[0] for row in after]
    assert not {row[1] for row in before} & {row[1] for row in after}
    assert fresh.execute("SELECT * FROM text_top_k('chunks', 'comet', 5)").fetchall() == []
    assert_holds(fresh, read_texts(tmp_path))


def test_a_file_that_becomes_empty_has_no_chunks(fresh, tmp_path):
    """The document stays, its chunks go; with content it has chunks again."""
    note = tmp_path / "note.txt"
    for text in ("The comet is back.", "", " \n", "The comet is back."):
        note.write_text(text)
        fresh.ingest(note)
        assert_holds(fresh, {str(note): text})
    assert fresh.info()[0].documents == 1


def test_prune_keeps_to_the_paths_that_it_was_given(fresh, tmp_path):
    """Documents of other folders stay, also of one whose name begins alike; without prune, all do."""
    for name in ("one", "one-more", "other"):
        write_folder(tmp_path / name, 2, 2)
        fresh.ingest(tmp_path / name)
    gone = tmp_path / "one" / "note000.txt"
    gone.unlink()
    (tmp_path / "other" / "note000.txt").unlink()
    assert fresh.ingest(tmp_path / "one").removed == 0
    report = fresh.ingest(tmp_path / "one", prune=True)
    assert report.removed == 1
    uris = {row[0] for row in fresh.execute("SELECT uri FROM documents")}
    assert str(gone) not in uris
    assert len(uris) == 5
    assert fresh.check() == []


def test_prune_of_one_index_leaves_the_others(fresh, tmp_path):
    """Two indexes over the same folder are pruned each on its own."""
    write_folder(tmp_path / "docs", 2, 2)
    fresh.ingest(tmp_path / "docs", "first_notes")
    fresh.ingest(tmp_path / "docs", "second_notes")
    (tmp_path / "docs" / "note000.txt").unlink()
    assert fresh.ingest(tmp_path / "docs", "first_notes", prune=True).removed == 1
    assert_holds(fresh, read_texts(tmp_path / "docs"), "first_notes")
    assert fresh.execute("SELECT count(*) FROM documents WHERE index_name = 'second_notes'").fetchall() == [(2,)]


def test_prune_keeps_what_could_not_be_read(fresh, tmp_path):
    """A file or a folder that cannot be read now has lost nothing: what an earlier run took from it stays."""
    docs = write_folder(tmp_path / "C# notes", 3, 2)
    rows = docs / "rows.jsonl"
    rows.write_text("".join(json.dumps({"id": n, "text": f"row {n} of the ferry"}) + "\n" for n in range(3)))
    fresh.ingest(docs)
    (docs / "note000.txt").write_bytes(b"broken \xff\xfe")
    (docs / "note001.txt").unlink()
    rows.write_text('{"id": 0, "text": "row 0 of the ferry"}\nnot json\n')
    report = fresh.ingest(docs, prune=True)
    assert {Path(skipped.uri).name for skipped in report.unreadable} >= {"note000.txt", "rows.jsonl"}
    uris = {uri.removeprefix(f"{docs}/") for (uri,) in fresh.execute("SELECT uri FROM documents")}
    assert {"note000.txt", "note002.txt", "rows.jsonl#0", "rows.jsonl#1", "rows.jsonl#2"} <= uris
    assert "note001.txt" not in uris


def test_prune_keeps_a_folder_that_cannot_be_listed(fresh, tmp_path, monkeypatch):
    """A folder that fails to list (no permission, a disk error) is not an empty folder."""
    docs = write_folder(tmp_path / "docs", 1, 2)
    write_folder(docs / "sub", 2, 2)
    fresh.ingest(docs)
    listdir = os.listdir

    def failing(path):
        if str(path).endswith("/sub"):
            raise PermissionError(13, "Permission denied", str(path))
        return listdir(path)

    monkeypatch.setattr("os.listdir", failing)
    (docs / "note000.txt").unlink()
    report = fresh.ingest(docs, prune=True)
    assert [skipped.reason for skipped in report.unreadable] == ["permission denied"]
    assert report.removed == 1
    assert fresh.execute("SELECT count(*) FROM documents").fetchall() == [(2,)]


def test_prune_keeps_a_linked_folder_whose_disk_is_away(fresh, tmp_path):
    """A link to a folder that is not mounted is named; its documents stay, and are unchanged when the disk is back."""
    docs, disk = write_folder(tmp_path / "docs", 1, 2), write_folder(tmp_path / "disk", 2, 2)
    (docs / "disk").symlink_to(disk)
    assert fresh.ingest([docs, docs / "disk"]).added == 3
    disk.rename(tmp_path / "away")
    report = fresh.ingest(docs, prune=True)
    assert [(skipped.uri, skipped.reason) for skipped in report.unreadable] == [
        (str(docs / "disk"), "is a link to nothing")
    ]
    assert (report.unchanged, report.removed, report.skipped) == (1, 0, [])
    (tmp_path / "away").rename(disk)
    assert fresh.ingest([docs, docs / "disk"], prune=True).unchanged == 3


def test_rows_of_a_file_are_documents_of_their_own(fresh, tmp_path):
    """A row that is changed, added or gone touches that row only; the file's other rows cost nothing."""
    file = tmp_path / "rows.jsonl"

    def write(rows: dict[str, str]) -> dict[str, str]:
        file.write_text("".join(json.dumps({"id": key, "text": text}) + "\n" for key, text in rows.items()))
        return {f"{file}#{key}": text for key, text in rows.items()}

    expected = write({"a": "the comet", "b": "the walnut", "c": "the ferry"})
    assert fresh.ingest(file).added == 3
    assert_holds(fresh, expected)
    encoded = fresh.embedder.texts_encoded
    expected = write({"c": "the ferry", "a": "the lighthouse", "d": "the bank"})
    report = fresh.ingest(tmp_path, prune=True)
    assert (report.added, report.changed, report.unchanged, report.removed) == (1, 1, 1, 1)
    assert fresh.embedder.texts_encoded == encoded + 2
    assert_holds(fresh, expected)


def test_a_row_id_twice_is_told(fresh, tmp_path):
    """Of two rows with one id the first counts, the other is named; gone rows of the file are still pruned."""
    file = tmp_path / "rows.jsonl"
    file.write_text('{"id": 1, "text": "comet"}\n{"id": 2, "text": "ferry"}\n')
    fresh.ingest(file)
    file.write_text('{"id": 1, "text": "comet"}\n{"id": 1, "text": "walnut"}\n')
    report = fresh.ingest(file, prune=True)
    assert [(skipped.uri, skipped.reason) for skipped in report.unreadable] == [
        (f"{file}#1", "left out: another document of this run has the same uri")
    ]
    assert report.removed == 1
    assert_holds(fresh, {f"{file}#1": "comet"})
