"""The folder of an index in shards: on a local or shared disk, HDFS or an object store, through fsspec."""

from __future__ import annotations

import errno
import os
import uuid
from contextlib import suppress
from typing import Any

from sqlrag.errors import DatabaseError, DiskFullError, InputError, MissingDependencyError
from sqlrag.values.arguments import shown

__all__ = ["Folder"]


class Folder:
    """A folder by its path, or by the URL of a file system that fsspec knows: `s3://bucket/index`, `hdfs://…`.

    Credentials come from where the file system's library looks for them: the environment, or the machine's role. They
    are in no plan of Spark's.

    Raises:
        InputError: `path` is not a path, or its protocol is unknown.
        MissingDependencyError: fsspec, or the library of the file system, is not installed.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
            raise InputError(f"path is {shown(path)}: it is the folder of an index in shards, as a path or a URL")
        self.path = os.fspath(path).rstrip("/") or "/"
        self.is_local = "://" not in self.path or self.path.startswith("file://")
        try:
            from fsspec.core import url_to_fs

            self._files, self._root = url_to_fs(self.path)
        except ImportError as error:
            raise MissingDependencyError(
                f'{error}: pip install "sqlrag[spark]", and the library that it names'
            ) from error
        except ValueError as error:
            raise InputError(f"path is {shown(path)}: {error}") from error
        if self.is_local:
            self.path = self._root = os.path.abspath(self._root)  # executors have another working directory

    def at(self, name: str) -> str:
        """Return where a file of the folder is, as the file system names it."""
        return f"{self._root}/{name}"

    def names(self, below: str) -> list[str]:
        """Return the names of the files in a folder below this one, sorted; none if it does not exist."""
        self._files.invalidate_cache()
        try:
            found = self._files.ls(self.at(below), detail=False)
        except FileNotFoundError:
            return []
        return sorted(f"{below}/{os.path.basename(str(path).rstrip('/'))}" for path in found)

    def read(self, name: str) -> bytes:
        """Return what a file holds. Raises FileNotFoundError."""
        content: bytes = self._files.cat_file(self.at(name))
        return content

    def put(self, name: str, content: bytes) -> None:
        """Write a file that nobody reads before it is complete. It may replace one of the same name."""
        with self._room():
            self._make_parent(name)
            if not self.is_local:
                self._files.pipe_file(self.at(name), content)
                return
            with self._beside(name) as begun:
                os.replace(begun(content), self.at(name))

    def put_if_absent(self, name: str, content: bytes) -> bool:
        """Write a file if there is none of this name; of several writers one succeeds. Tell whether it was this one.

        S3, GCS and Azure decide by a condition of the request, a disk by a hard link. Elsewhere fsspec first looks
        whether the file is there, and then writes.
        """
        with self._room():
            self._make_parent(name)
            try:
                if not self.is_local:
                    self._files.pipe_file(self.at(name), content, mode="create")
                    return True
                with self._beside(name) as begun:
                    os.link(begun(content), self.at(name))
            except FileExistsError:
                return False
            return True

    def upload(self, local: str, name: str) -> None:
        """Copy a local file into the folder: to a name of its own first, so that nobody sees half of it."""
        with self._room():
            self._make_parent(name)
            begun = f"{name}.{uuid.uuid4().hex}.begun"
            try:
                self._files.put_file(local, self.at(begun))
                self._files.mv(self.at(begun), self.at(name))
            except BaseException:
                self.remove([begun])
                raise

    def download(self, name: str, local: str) -> None:
        """Copy a file to a local one. Raises FileNotFoundError."""
        self._files.get_file(self.at(name), local)

    def size(self, name: str) -> int:
        """Return the number of bytes of a file. Raises FileNotFoundError."""
        return int(self._files.size(self.at(name)))

    def modified(self, name: str) -> float:
        """Return when a file was written, in seconds since 1970, by the clock of the file system."""
        return float(self._files.modified(self.at(name)).timestamp())

    def remove(self, names: list[str]) -> None:
        """Remove files, as far as they are there."""
        for name in names:
            with suppress(FileNotFoundError):
                self._files.rm_file(self.at(name))

    def _make_parent(self, name: str) -> None:
        self._files.makedirs(os.path.dirname(self.at(name)), exist_ok=True)

    def _beside(self, name: str) -> _Beside:
        return _Beside(f"{self.at(name)}.{uuid.uuid4().hex}.begun")

    def _room(self) -> _Room:
        return _Room(self.path)


class _Beside:
    """A local file that is written in full beside its later name, and gone afterwards."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> Any:
        return self._write

    def _write(self, content: bytes) -> str:
        with open(self._path, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return self._path

    def __exit__(self, *_: object) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self._path)


class _Room:
    """Turns what a disk refuses into errors of sqlrag's."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if not isinstance(error, OSError) or isinstance(error, FileExistsError):
            return
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(f"{self._path}: no space is left: make room, then run the same call again") from error
        raise DatabaseError(f"{self._path} cannot be written: {error.strerror or error}") from error
