"""Finding the files to read in the paths that a user names."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sqlrag.errors import InputError, SourceError
from sqlrag.text.documents import Source, Unreadable, reason

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["KINDS", "OFFICE_KINDS", "PAGE_KINDS", "ROW_KINDS", "TEXT_KINDS", "Found", "find_sources"]

TEXT_KINDS = frozenset({"txt", "text", "rst", "md", "markdown"})
PAGE_KINDS = frozenset({"html", "htm"})
ROW_KINDS = frozenset({"jsonl", "ndjson", "csv", "tsv", "parquet"})
OFFICE_KINDS = frozenset({"pdf", "docx", "pptx", "xlsx", "epub"})
KINDS = TEXT_KINDS | PAGE_KINDS | ROW_KINDS | OFFICE_KINDS
_GZIP_KINDS = frozenset({"jsonl", "ndjson", "csv", "tsv"})


@dataclass
class Found:
    """The result of `find_sources`.

    `sources` can be read. `unreadable` are broken, or were named by the user and cannot be read. `skipped` are paths
    inside folders of no known kind: files with other suffixes, sockets, devices. Hidden files are in none of the three.
    """

    sources: list[Source] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def find_sources(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> Found:
    """Return the files that `paths` name, and all files in the folders that they name, in the order of their names.

    Files and folders whose name starts with a dot are left out unless `paths` names them. Links to folders are
    followed, each folder once. Devices, sockets and FIFOs are not opened. A file that is found twice is returned once.
    Raises SourceError for a path that does not exist, InputError if there are no paths.
    """
    found = Found()
    names = [os.fspath(path) for path in ([paths] if isinstance(paths, (str, os.PathLike)) else paths)]
    if not names:
        raise InputError("paths is empty: name at least one file or folder")
    for name in names:
        path = Path(os.path.abspath(name)) if name else Path()  # resolve() would follow links
        try:
            mode = os.stat(name).st_mode  # not of Path(""), which is the current folder
        except (OSError, ValueError) as error:
            raise SourceError(f"{name!r} cannot be read: {reason(error)}") from error
        if stat.S_ISDIR(mode):
            _search_folder(path, found)
        elif stat.S_ISREG(mode):
            _add_named(path, found)
        else:
            found.unreadable.append(Unreadable(_uri(path), "is a device, socket or FIFO, and not a file"))
    found.sources = list({source.uri: source for source in found.sources}.values())
    return found


def _search_folder(root: Path, found: Found) -> None:
    """Add the files under `root`. Linked folders come last, so that a file keeps its own name."""
    sources: list[Source] = []
    seen: set[tuple[int, int]] = set()
    folders, linked = [root], list[Path]()
    while folders or linked:
        folder = folders.pop() if folders else linked.pop(0)
        try:
            status = folder.stat()
            names = sorted(os.listdir(folder))
        except OSError as error:
            found.unreadable.append(Unreadable(_uri(folder), reason(error)))
            continue
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        for path in (folder / name for name in names if not name.startswith(".")):
            try:
                mode = os.stat(path).st_mode
            except OSError as error:
                _add_missing(path, error, found)
                continue
            if stat.S_ISDIR(mode):
                (linked if os.path.islink(path) else folders).append(path)
            elif stat.S_ISREG(mode) and is_supported(path):
                _add(path, root, sources, found)
            else:
                found.skipped.append(_uri(path))
    found.sources += sorted(sources, key=lambda source: source.path.parts)
    found.skipped.sort()


def _add_missing(path: Path, error: OSError, found: Found) -> None:
    """Add a path of a folder that leads to no file or folder, or to one that cannot be examined.

    It is reported whatever its suffix, because it may be a link to a folder, such as one of a disk that is not mounted.
    """
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP) and os.path.islink(path):
        found.unreadable.append(Unreadable(_uri(path), "is a link to nothing"))
    elif not isinstance(error, FileNotFoundError):  # otherwise it was removed since the folder was listed
        found.unreadable.append(Unreadable(_uri(path), reason(error)))


def _add_named(path: Path, found: Found) -> None:
    """Add a file that the user named."""
    if is_supported(path):
        _add(path, path.parent, found.sources, found)
    else:
        suffix = "".join(path.suffixes[-2:]) or "no suffix"
        kinds = " ".join(f".{kind}" for kind in sorted(KINDS))
        found.unreadable.append(Unreadable(_uri(path), f"{suffix} is not a kind that can be read: {kinds}"))


def _add(path: Path, root: Path, sources: list[Source], found: Found) -> None:
    """Add a file of a known kind."""
    uri = _uri(path)
    if os.fsencode(path) != uri.encode():
        found.unreadable.append(Unreadable(uri, "its name is not UTF-8: rename it"))
    else:
        sources.append(Source(uri, path, root))


def is_supported(path: Path) -> bool:
    """Return whether the suffix of `path` is one that can be read."""
    kind = Source("", path, path).kind
    return kind in (_GZIP_KINDS if path.name.lower().endswith(".gz") else KINDS) and "." in path.name


def _uri(path: Path) -> str:
    """Return the path as Unicode text with `/`. Bytes that are not Unicode are replaced."""
    return os.fsencode(path.as_posix()).decode("utf-8", "replace")
