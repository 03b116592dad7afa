"""Finding files: folders with all they hold, each file once, nothing hidden, nothing opened that is no file."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from sqlrag.errors import InputError, SourceError
from sqlrag.text.file_search import find_sources


def make(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def relative(found, folder: Path) -> list[str]:
    return [source.path.relative_to(folder).as_posix() for source in found.sources]


def test_folders_are_searched_in_the_order_of_names(tmp_path):
    """All known kinds at any depth, sorted; the others are named as skipped; hidden ones are not there."""
    make(tmp_path, "b.md", "a/z.TXT", "a/b/c.html", "rows.jsonl.gz", "a.txt", "x.zip", "noext", "a/y.tar.gz", "d.md.gz")
    make(tmp_path, ".git/config.txt", ".hidden.md", "a/.cache/x.md")
    found = find_sources(tmp_path)
    assert relative(found, tmp_path) == ["a/b/c.html", "a/z.TXT", "a.txt", "b.md", "d.md.gz", "rows.jsonl.gz", "x.zip"]
    assert [Path(uri).name for uri in found.skipped] == ["y.tar.gz", "noext"]
    assert found.unreadable == []
    assert [source.kind for source in found.sources] == ["html", "txt", "txt", "md", "md", "jsonl", "zip"]


def test_uri_and_root(tmp_path, monkeypatch):
    """A URI is the absolute path whatever the current folder; the root is the folder that was named."""
    make(tmp_path, "docs/sub/a.md")
    monkeypatch.chdir(tmp_path)
    [source] = find_sources(["docs/../docs"]).sources
    assert (source.uri, source.root) == ((tmp_path / "docs/sub/a.md").as_posix(), tmp_path / "docs")
    [source] = find_sources("docs/sub/a.md").sources
    assert (source.uri, source.root) == ((tmp_path / "docs/sub/a.md").as_posix(), tmp_path / "docs/sub")


def test_a_file_named_outright_is_taken_even_if_hidden(tmp_path):
    """Whoever names `.notes.md` wants it; and it is there once, however often it is named."""
    make(tmp_path, ".notes.md")
    assert relative(find_sources([tmp_path / ".notes.md", tmp_path, tmp_path / ".notes.md"]), tmp_path) == [".notes.md"]


def test_a_file_of_an_unknown_kind_is_said_when_named(tmp_path):
    """Named outright it is not skipped in silence: the reason lists the kinds."""
    make(tmp_path, "a.png", "b")
    found = find_sources([tmp_path / "a.png", tmp_path / "b"])
    assert found.sources == []
    assert found.unreadable[0].uri == (tmp_path / "a.png").as_posix()
    assert found.unreadable[0].reason.startswith(".png is not a kind that can be read (images need OCR first): .adoc")
    assert found.unreadable[1].reason.startswith("no suffix is not a kind")


def test_links_are_followed_once(tmp_path):
    """Loops end, a linked folder is read once; links that are dead or lead out of the folder are named."""
    make(tmp_path, "docs/real/a.md", "outside/b.md")
    docs = tmp_path / "docs"
    (docs / "a_link").symlink_to("real")
    (docs / "real/loop").symlink_to(docs)
    (docs / "outside").symlink_to(tmp_path / "outside")
    (docs / "self.md").symlink_to("self.md")
    (docs / "dead.md").symlink_to("nowhere.md")
    found = find_sources(docs)
    assert relative(found, docs) == ["real/a.md"]
    assert [(Path(item.uri).name, item.reason) for item in found.unreadable] == [
        ("dead.md", "is a link to nothing"),
        ("outside", "is a link out of the folder: name it to read it"),
        ("self.md", "is a link to nothing"),
    ]
    assert relative(find_sources(docs / "outside"), docs) == ["outside/b.md"]


def test_a_link_to_a_folder_that_is_not_there_is_named(tmp_path):
    """A link leads to nothing while its disk is not mounted, and its name need not look like a file's."""
    make(tmp_path, "docs/a.md")
    (tmp_path / "docs/disk").symlink_to(tmp_path / "unmounted")
    (tmp_path / "docs/disk.2024").symlink_to(tmp_path / "unmounted")
    (tmp_path / "docs/through").symlink_to(tmp_path / "docs/a.md/below")
    found = find_sources(tmp_path / "docs")
    assert relative(found, tmp_path) == ["docs/a.md"]
    assert sorted((Path(item.uri).name, item.reason) for item in found.unreadable) == [
        ("disk", "is a link to nothing"),
        ("disk.2024", "is a link to nothing"),
        ("through", "is a link to nothing"),
    ]
    assert found.skipped == []


def test_a_file_that_cannot_be_examined_is_named(tmp_path, monkeypatch):
    """A folder that may be listed but not entered (mode 0444) has lost none of its files."""
    make(tmp_path, "closed/a.md", "closed/sub/b.md", "gone.md", "c.md")
    examine = os.stat

    def refusing(path, *args, **kwargs):  # root may examine every file: the refusal is acted
        if Path(path).parent == tmp_path / "closed":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if Path(path).name == "gone.md":  # removed since its folder was listed
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return examine(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", refusing)
    found = find_sources(tmp_path)
    assert relative(found, tmp_path) == ["c.md"]
    assert [(Path(item.uri).name, item.reason) for item in found.unreadable] == [
        ("a.md", "permission denied"),
        ("sub", "permission denied"),
    ]
    assert found.skipped == []


def test_no_device_is_opened(tmp_path, monkeypatch):
    """Reading a FIFO would wait for ever: it is named where its name is that of a file, or is named outright."""
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.txt")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)  # a socket's path must be short
        server.bind("s.md")
        found = find_sources(tmp_path)
    assert found.sources == []
    assert [Path(uri).name for uri in found.skipped] == ["pipe"]
    assert [Path(item.uri).name for item in found.unreadable] == ["pipe.txt", "s.md"]
    [unreadable] = find_sources(tmp_path / "pipe.txt").unreadable
    assert unreadable.reason == "is a device, socket or FIFO, and not a file"


def test_a_closed_folder_is_named(tmp_path, monkeypatch):
    """The rest is found, and the folder that could not be opened is said."""
    make(tmp_path, "closed/a.md", "b.md")
    closed, listdir = tmp_path / "closed", os.listdir

    def refusing(path: Path) -> list[str]:  # root may read every folder: the refusal is acted
        if path == closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refusing)
    found = find_sources(tmp_path)
    assert relative(found, tmp_path) == ["b.md"]
    assert [(Path(item.uri).name, item.reason) for item in found.unreadable] == [("closed", "permission denied")]


def test_a_name_that_is_not_utf_8_is_said(tmp_path):
    """It cannot go into a database as text."""
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt")).write_text("x")
    found = find_sources(tmp_path)
    assert found.sources == []
    assert [item.reason for item in found.unreadable] == ["its name is not UTF-8: rename it"]
    assert found.unreadable[0].uri.endswith("/\ufffd.txt")


def test_an_empty_folder_is_no_error(tmp_path):
    """There is nothing in it, which is for the caller to say."""
    found = find_sources(tmp_path)
    assert (found.sources, found.unreadable, found.skipped) == ([], [], [])


@pytest.mark.parametrize("path", ["nowhere", "", "a\0b"])
def test_a_path_that_does_not_exist_is_an_error(tmp_path, monkeypatch, path):
    """A typing mistake stops before anything is done."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=f"{path!r} cannot be read: ".replace("\\", "\\\\")):
        find_sources([path])


def test_no_paths_at_all_are_an_error():
    """An empty list is a mistake of the caller."""
    with pytest.raises(InputError, match="paths is empty: name at least one file or folder"):
        find_sources([])
