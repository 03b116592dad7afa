"""The manifest of an index in shards: which files it consists of, and what is known of each without opening it.

`manifests/00000001.json` is the first version, and each change adds the next. A version is written once and never
changed, so whoever reads one keeps what it names. Of two writers that make the same version one succeeds.
"""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sqlrag.errors import InputError, LockedError, NotADatabaseError, SchemaVersionError
from sqlrag.spark.folder import Folder
from sqlrag.store.registry import SCHEMA_VERSION, IndexRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["IDS_OF_A_SHARD", "Manifest", "Range", "Shard", "packed", "unpacked"]

FORMAT = 1
"""Of the manifest itself. A newer one is refused."""

IDS_OF_A_SHARD = 1 << 32
"""A built shard numbers its chunks from its number times this, so a chunk's id says where it is."""


@dataclass(frozen=True)
class Range:
    """The values of a column in a shard."""

    low: int | float | str | None
    """The least value that is not NULL; None if all are NULL."""
    high: int | float | str | None
    nulls: int
    """How many rows have NULL."""


@dataclass(frozen=True)
class Shard:
    """A file of an index: a whole sqlrag database in SQLite, with some of the rows."""

    name: str
    """Below the folder. The file has this name in itself as well, so another one in its place is noticed."""
    number: int
    sha256: str
    size: int
    """In bytes."""
    rows: int
    """Of the source."""
    chunks: int
    tokens: int
    truncated: int
    low: int
    """The least id of a chunk; 0 if there is none."""
    high: int
    candidates: int
    recall: float | None
    ranges: Mapping[str, Range] = field(default_factory=dict)
    gone: str = ""
    """The rowids of the source that were deleted since, as `packed` writes them."""
    gone_rows: int = 0
    gone_chunks: int = 0
    gone_tokens: int = 0

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Shard:
        """Return a shard as a manifest or a task writes it."""
        ranges = {column: Range(**one) for column, one in values["ranges"].items()}
        return cls(**{**values, "ranges": ranges})


@dataclass(frozen=True)
class Manifest:
    """A version of an index in shards."""

    version: int
    record: IndexRecord
    """The index as each shard records it."""
    columns: Mapping[str, str]
    """The columns of the source, with the types that SQLite declares them with."""
    shards: tuple[Shard, ...]
    next_number: int
    """Of the next shard that is built."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What `build` was called with; empty for an index that was exported."""

    @classmethod
    def read(cls, folder: Folder, version: int | None = None) -> Manifest:
        """Return a version, by default the newest.

        Raises InputError if there is none, NotADatabaseError for a file that sqlrag did not write and
        SchemaVersionError for one of a newer version.
        """
        versions = cls.versions(folder)
        if not versions:
            raise InputError(
                f"path is {folder.path!r}: there is no index in shards: "
                "make one with sqlrag.spark.build, or with sqlrag export DB --shards"
            )
        version = versions[-1] if version is None else version
        if version not in versions:
            raise InputError(f"version is {version!r}: {folder.path} has {', '.join(map(str, versions))}")
        name = _name(version)
        try:
            values = json.loads(folder.read(name))
            if values["format"] > FORMAT or values["schema"] > SCHEMA_VERSION:
                raise SchemaVersionError(f"{folder.path} was made by a newer sqlrag: pip install -U sqlrag, everywhere")
            return cls(
                version,
                IndexRecord(**values["record"]),
                values["columns"],
                tuple(map(Shard.of, values["shards"])),
                values["next_number"],
                values["settings"],
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise NotADatabaseError(f"{folder.path}/{name} is not a manifest of sqlrag's: {error!r}") from error

    @staticmethod
    def versions(folder: Folder) -> list[int]:
        """Return the numbers of the versions, ascending."""
        stems = [name.removeprefix("manifests/").removesuffix(".json") for name in folder.names("manifests")]
        return sorted(int(stem) for stem in stems if stem.isdecimal())

    def write(self, folder: Folder) -> None:
        """Write this version. Raises LockedError if another writer has written it meanwhile."""
        values = asdict(self) | {"format": FORMAT, "schema": SCHEMA_VERSION}
        del values["version"]
        if not folder.put_if_absent(_name(self.version), json.dumps(values, indent=1).encode()):
            raise LockedError(
                f"{folder.path}: another writer has made version {self.version} meanwhile, so nothing was changed: "
                "run the same call again"
            )

    def after(self, shards: Iterable[Shard], next_number: int | None = None) -> Manifest:
        """Return the version after this one, with these shards."""
        number = self.next_number if next_number is None else next_number
        return replace(self, version=self.version + 1, shards=tuple(shards), next_number=number)


def packed(numbers: Iterable[int]) -> str:
    """Return whole numbers as a text: the gaps between them, compressed. Of every second row it takes a bit or two."""
    import numpy as np

    ordered = np.unique(np.fromiter(numbers, np.int64))
    if not len(ordered):
        return ""
    return base64.b64encode(zlib.compress(np.diff(ordered, prepend=0).astype("<i8").tobytes(), 9)).decode()


def unpacked(text: str) -> NDArray[np.int64]:
    """Return the numbers that `packed` was given, ascending."""
    import numpy as np

    if not text:
        return np.empty(0, np.int64)
    return np.cumsum(np.frombuffer(zlib.decompress(base64.b64decode(text)), "<i8"))


def _name(version: int) -> str:
    return f"manifests/{version:08}.json"
