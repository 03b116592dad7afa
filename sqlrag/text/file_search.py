"""Finding the files to read in the paths that a user names."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sqlrag.errors import InputError, SourceError
from sqlrag.text.decoding import check_encoding
from sqlrag.text.documents import Source, Unreadable, reason
from sqlrag.text.kinds import KINDS, kind_of, remedy

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

__all__ = ["Choice", "Found", "find_sources"]

_NO_FILE = "is a device, socket or FIFO, and not a file"

# Folders that tools fill. Reading them would drown a project's own files.
_TOOL_FOLDERS = frozenset({"node_modules", "bower_components", "__pycache__", "site-packages", "venv", "__MACOSX"})


@dataclass(frozen=True)
class Choice:
    """Which files of a folder are read, and how.

    `include` and `exclude` are patterns as in .gitignore, relative to the folder that was named. With `include`, other
    files are left out, and files of no known kind that match are read as text. Unless `gitignored`, files that a
    .gitignore names are left out. `encoding` is that of text files without a byte order mark.
    """

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    gitignored: bool = False
    encoding: str | None = None

    def __post_init__(self) -> None:
        for name in ("include", "exclude"):
            if isinstance(getattr(self, name), str):
                raise InputError(f"{name} is {getattr(self, name)!r}, and should be a list of patterns")
        object.__setattr__(self, "encoding", check_encoding(self.encoding))


@dataclass
class Found:
    """The result of `find_sources`.

    `sources` can be read. `unreadable` are broken, or were named by the user and cannot be read. `skipped` are paths
    inside folders of no known kind: files with other suffixes, sockets, devices. `ignored` are files and folders that
    patterns, a .gitignore or their names leave out. Hidden files are in none of the four.
    """

    sources: list[Source] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


def find_sources(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], choice: Choice | None = None
) -> Found:
    """Return the files that `paths` name, and all files in the folders that they name, in the order of their names.

    Files and folders whose name starts with a dot are left out unless `paths` names them. Links to folders are
    followed, each folder once, but links do not lead out of the folder that was named. Devices, sockets and FIFOs are
    not opened. A file that is found twice is returned once. Raises SourceError for a path that does not exist,
    InputError if there are no paths.
    """
    choice = choice or Choice()
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
            _Folder(path, found, choice).search()
        elif stat.S_ISREG(mode):
            _add_named(path, found, choice)
        else:
            found.unreadable.append(Unreadable(_uri(path), _NO_FILE))
    found.sources = list({source.uri: source for source in found.sources}.values())
    return found


class _Folder:
    """The search of one folder that the user named."""

    def __init__(self, root: Path, found: Found, choice: Choice) -> None:
        self._root = root
        self._real_root = os.path.realpath(root)
        self._found = found
        self._choice = choice
        self._sources: list[Source] = []
        self._include = _patterns(choice.include or ["*"])
        self._is_chosen = bool(choice.include)
        self._exclude = _patterns(choice.exclude)
        # Folders that a pattern names are read although tools fill them.
        self._named = {part for pattern in choice.include for part in pattern.split("/")}
        self._ignoring: dict[Path, GitIgnoreSpec] = {}

    def search(self) -> None:
        """Add the files under the folder. Linked folders come last, so that a file keeps its own name."""
        found = self._found
        seen: set[tuple[int, int]] = set()
        folders, linked = [self._root], list[Path]()
        if not self._choice.gitignored:
            for above in _repository(self._root):
                self._read_gitignore(above)
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
            if ".gitignore" in names and not self._choice.gitignored:
                self._read_gitignore(folder)
            for path in (folder / name for name in names if not name.startswith(".")):
                if self._entry(path):
                    (linked if os.path.islink(path) else folders).append(path)
        found.sources += sorted(self._sources, key=lambda source: source.path.parts)
        found.skipped.sort()
        found.ignored.sort()

    def _entry(self, path: Path) -> bool:
        """Add a file of a folder. Return whether the path is a folder that is to be searched."""
        found = self._found
        try:
            mode = os.stat(path).st_mode
        except OSError as error:
            _add_missing(path, error, found)
            return False
        if os.path.islink(path) and not self._is_inside(path):
            found.unreadable.append(Unreadable(_uri(path), "is a link out of the folder: name it to read it"))
            return False
        if not stat.S_ISDIR(mode):
            self._file(path, is_file=stat.S_ISREG(mode))
            return False
        if self._is_left_out(path, is_folder=True):
            found.ignored.append(_uri(path) + "/")
            return False
        return True

    def _file(self, path: Path, *, is_file: bool) -> None:
        relative = path.relative_to(self._root).as_posix()
        if self._is_left_out(path, is_folder=False) or not self._include.match_file(relative):
            self._found.ignored.append(_uri(path))
        elif is_file and (kind_of(path.name) is not None or self._is_chosen):
            _add(path, self._root, self._sources, self._found, self._choice)
        elif not is_file and kind_of(path.name) is not None:
            self._found.unreadable.append(Unreadable(_uri(path), _NO_FILE))
        else:
            self._found.skipped.append(_uri(path))

    def _is_left_out(self, path: Path, *, is_folder: bool) -> bool:
        """Return whether a pattern, a .gitignore or its name leaves a file or folder out."""
        name = path.relative_to(self._root).as_posix() + ("/" if is_folder else "")
        if self._exclude.match_file(name):
            return True
        if path.name in self._named:
            return False
        if is_folder and (path.name in _TOOL_FOLDERS or os.path.exists(path / "pyvenv.cfg")):
            return True
        for above in path.parents:
            if above in self._ignoring:
                relative = path.relative_to(above).as_posix() + ("/" if is_folder else "")
                if (is_ignored := self._ignoring[above].check_file(relative).include) is not None:
                    return is_ignored
        return False

    def _is_inside(self, path: Path) -> bool:
        real = os.path.realpath(path)
        return real == self._real_root or real.startswith(self._real_root.rstrip(os.sep) + os.sep)

    def _read_gitignore(self, folder: Path) -> None:
        try:
            lines = (folder / ".gitignore").read_text("utf-8", "replace").splitlines()
        except OSError:
            return
        self._ignoring[folder] = _patterns(lines, lenient=True)


def _patterns(lines: Sequence[str], *, lenient: bool = False) -> GitIgnoreSpec:
    """Return patterns as in .gitignore. Raises InputError for one that is not such a pattern, unless `lenient`."""
    from pathspec import GitIgnoreSpec

    try:
        return GitIgnoreSpec.from_lines(lines)
    except ValueError as error:
        if not lenient:
            raise InputError(f"{', '.join(map(repr, lines))}: not a pattern as in .gitignore: {error}") from error
    return GitIgnoreSpec.from_lines(line for line in lines if line.strip() not in ("!", "\\", "/"))


def _repository(folder: Path) -> Iterator[Path]:
    """Yield the folders above `folder` in the same Git repository; none if it is in none."""
    if (folder / ".git").exists():
        return
    above = list[Path]()
    for parent in folder.parents:
        above.append(parent)
        if (parent / ".git").exists():
            yield from above
            return


def _add_missing(path: Path, error: OSError, found: Found) -> None:
    """Add a path of a folder that leads to no file or folder, or to one that cannot be examined.

    It is reported whatever its suffix, because it may be a link to a folder, such as one of a disk that is not mounted.
    """
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP) and os.path.islink(path):
        found.unreadable.append(Unreadable(_uri(path), "is a link to nothing"))
    elif not isinstance(error, FileNotFoundError):  # otherwise it was removed since the folder was listed
        found.unreadable.append(Unreadable(_uri(path), reason(error)))


def _add_named(path: Path, found: Found, choice: Choice) -> None:
    """Add a file that the user named."""
    if kind_of(path.name) is not None or choice.include:
        _add(path, path.parent, found.sources, found, choice)
        return
    suffix, how = remedy(path.name)
    kinds = " ".join(f".{kind}" for kind in sorted(KINDS))
    found.unreadable.append(Unreadable(_uri(path), f"{suffix} is not a kind that can be read ({how}): {kinds}"))


def _add(path: Path, root: Path, sources: list[Source], found: Found, choice: Choice) -> None:
    """Add a file of a known kind, or one that is to be read as text."""
    uri = _uri(path)
    if os.fsencode(path) != uri.encode():
        found.unreadable.append(Unreadable(uri, "its name is not UTF-8: rename it"))
    else:
        source = Source(uri, path, root, choice.encoding)
        kind = kind_of(path.name) or "text"
        sources.append(source if source.kind == kind else replace(source, read_as=kind))


def _uri(path: Path) -> str:
    """Return the path as Unicode text with `/`. Bytes that are not Unicode are replaced."""
    return os.fsencode(path.as_posix()).decode("utf-8", "replace")
