"""Files as documents: one each, with title, metadata and a hash that says whether it changed."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from sqlrag.errors import InputError
from sqlrag.text.loading import (
    Document,
    Unreadable,
    find_sources,
    read_documents,
    read_file,
    row_columns,
)

SQLITE_DOC = Path("/usr/share/doc/sqlite3")


def refuse(*_: object, **__: object) -> None:
    """Stand in for a call that the system refuses."""
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def read_one(path: Path) -> Document | Unreadable:
    [source] = find_sources(path).sources
    [item] = read_documents(source)
    return item


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_text_file_is_its_characters(tmp_path):
    """Nothing is normalised: offsets of chunks are offsets into the file."""
    text = "  First\r\nsecond\rthird\n\n\u00e9 e\u0301 \ufb01 \t\n"
    document = read_one(write(tmp_path, "notes.txt", text))
    assert document.text == text
    assert document.title == "notes.txt"
    assert document.uri == (tmp_path / "notes.txt").as_posix()


def test_metadata_says_where_a_file_is(tmp_path):
    """It is relative to the folder that was named, and has nothing in it that changes without the content."""
    (tmp_path / "a/b").mkdir(parents=True)
    write(tmp_path, "a/b/c.MD", "x")
    [source] = find_sources(tmp_path).sources
    [document] = read_documents(source)
    assert document.metadata == {"path": "a/b/c.MD", "name": "c.MD", "folder": "a/b", "type": "md"}
    assert read_one(tmp_path / "a/b/c.MD").metadata == {"path": "c.MD", "name": "c.MD", "folder": "", "type": "md"}


@pytest.mark.parametrize(
    ("name", "text", "title"),
    [
        ("a.md", "intro\n\n## Usage ##\n\n# The *title* #", "The *title*"),
        ("a.md", "```\n# a comment\n```\n\n# Title\n", "Title"),
        ("a.md", "~~~ sh\n```\n# no\n~~~\n# Title\n", "Title"),
        ("a.md", "Set below\n=========\n", "Set below"),
        ("a.markdown", "---\ntags: x\n---\n\n# Title\n", "Title"),
        ("a.md", "no heading\n\n----\n\n#hashtag\n", "a.md"),
        ("a.md", "", "a.md"),
        ("a.rst", "=====\nTitle\n=====\n\nText\n", "Title"),
        ("a.rst", ".. note::\n\nTitle\n~~~~~\n", "Title"),
        ("a.txt", "# not Markdown\n", "a.txt"),
        ("a.html", "<title>Page</title><p>x", "Page"),
        ("a.htm", "<p>no title", "a.htm"),
    ],
)
def test_titles(tmp_path, name, text, title):
    """The title is the first heading of level 1 or `<title>`, else the file's name."""
    assert read_one(write(tmp_path, name, text)).title == title


def test_html_is_converted(tmp_path):
    """A page goes in as text in the charset that it declares."""
    page = '<meta charset="windows-1252"><title>Caf\xe9</title><h1>Men\xfc</h1><p>a<script>b</script>'
    document = read_one(write(tmp_path, "a.html", page.encode("cp1252")))
    assert (document.title, document.text) == ("Café", "# Menü\n\na")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (
            "a.txt",
            b"caf\xe9",
            "not UTF-8: byte 0xe9 at offset 3 (it may be cp1252); ingest it with its encoding, e.g. --encoding cp1252, "
            "or convert it: iconv -f CP1252 -t UTF-8",
        ),
        ("a.txt", b"\x89PNG\r\n\x1a\n\0", "not UTF-8: byte 0x89 at offset 0"),
        ("a.md", b"GIF89a\0\0", "is binary, not text: there is a NUL at character 6"),
        ("a.html", b"<meta charset=nope>\xe9", "declares the unknown charset nope"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path, name, content, reason):
    """A broken file is an Unreadable with its path, and no exception."""
    unreadable = read_one(write(tmp_path, name, content))
    assert isinstance(unreadable, Unreadable)
    assert unreadable.uri == (tmp_path / name).as_posix()
    assert unreadable.reason.startswith(reason)


def test_a_file_that_went_away_is_unreadable(tmp_path):
    """Between finding and reading a file can be removed."""
    path = write(tmp_path, "a.txt", "x")
    [source] = find_sources(path).sources
    path.unlink()
    assert list(read_documents(source)) == [Unreadable(source.uri, "no such file or directory")]


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl", "a.parquet"])
def test_a_closed_file_is_unreadable(tmp_path, monkeypatch, name):
    """The system's reason is passed on."""
    path = write(tmp_path, name, "x")
    path.chmod(0)
    if os.geteuid() == 0:  # root may read every file
        monkeypatch.setattr("io.open", refuse)
        monkeypatch.setattr("pyarrow.parquet.ParquetFile", refuse)
    assert read_one(path) == Unreadable(path.as_posix(), "permission denied")


def test_an_enormous_file_is_refused_before_it_is_read(tmp_path):
    """A document of a gigabyte is a mistake; the reason names both sizes and a way out."""
    path = tmp_path / "a.txt"
    with path.open("wb") as file:
        file.truncate(2**30)
    assert read_one(path).reason == "has 1024 MiB, and a document at most 512 MiB: split it"


def test_a_large_text_is_read_whole(tmp_path):
    """A hundred megabytes are no trouble."""
    line = "All work and no play makes Jack a dull boy. " * 25 + "\n"
    path = write(tmp_path, "a.txt", line * 90_000)
    document = read_one(path)
    assert len(document.text) == path.stat().st_size > 99_000_000


def test_the_hash_is_the_contents(tmp_path):
    """It is known without a conversion, is the document's, follows the bytes, and ignores name and time."""
    first, second = write(tmp_path, "a.html", "<p>x"), write(tmp_path, "b.html", "<p>x")
    os.utime(second, (0, 0))
    other = write(tmp_path, "c.html", "<p>y")
    sources = find_sources(tmp_path).sources
    hashes = [read_file(source).content_hash for source in sources]
    assert hashes == [read_one(path).content_hash for path in (first, second, other)]
    assert hashes[0] == hashes[1] != hashes[2]
    assert all(len(value) == 64 for value in hashes)
    assert hashes[0] != hashlib.sha256(b"<p>x").hexdigest(), "the version of the conversion is not in it"


def test_columns_are_checked():
    """A string where a list belongs, and no text column at all, are errors of the caller."""
    with pytest.raises(InputError, match=r"metadata is 'year', and should be a list of columns: \['year'\]"):
        row_columns(metadata="year")
    with pytest.raises(InputError, match="text names no column"):
        row_columns(text=[])


@pytest.mark.skipif(
    not (SQLITE_DOC / "lang_vacuum.html").exists(),  # the folder itself is there with the shell: its changelog
    reason=f"SQLite's pages are not in {SQLITE_DOC}: apt-get install sqlite3-doc",
)
def test_a_real_folder_of_pages():
    """Every page of SQLite's documentation becomes a document with a text, without the site's menu."""
    found = find_sources(SQLITE_DOC)
    pages = [source for source in found.sources if source.kind == "html"]
    assert len(pages) > 700
    documents = [item for source in pages for item in read_documents(source)]
    assert [item for item in documents if isinstance(item, Unreadable) or not item.text] == []
    assert not any("Small. Fast. Reliable." in document.text for document in documents)
    [vacuum] = [document for document in documents if document.uri.endswith("/lang_vacuum.html")]
    assert vacuum.title == "VACUUM"
    assert "\n## 2.1. VACUUM with an INTO clause\n\nIf the INTO clause is included, then" in vacuum.text
