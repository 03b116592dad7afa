"""What loading passes around: a source that was found, a document that was read, a file that was not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Document", "Json", "RowColumns", "Source", "Unreadable", "UnreadableError", "reason"]

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


@dataclass(frozen=True)
class Document:
    """A document as it goes into a database.

    `uri` is the file's absolute path with `/`, followed by `#<id>` where it is a row of a file. `text` is what
    offsets of chunks count in: of a text file exactly its characters, newlines as they are. `content_hash`
    (SHA-256, hex) changes when the content does and never otherwise.
    """

    uri: str
    title: str
    text: str
    metadata: dict[str, Json]
    content_hash: str


@dataclass(frozen=True)
class Unreadable:
    """A file, folder or row that could not be read, and why: one line that says what to do where it can."""

    uri: str
    reason: str


@dataclass(frozen=True)
class Source:
    """A file that was found and not read yet. `root` is the folder that it was found in, or that it is in."""

    uri: str
    path: Path
    root: Path

    @property
    def kind(self) -> str:
        """The suffix that says how to read the file, in small letters, `.gz` and the dots left out: `jsonl`."""
        return self.path.name.lower().removesuffix(".gz").rpartition(".")[2]


@dataclass(frozen=True)
class RowColumns:
    """Which columns of a file of rows make a document; None stands for the default.

    `text`: joined by a blank line (default `text`). `title`: default `title` where there is one. `id`: default
    `_id` or `id`, else rows are numbered from 1. `metadata`: default all the others.
    """

    text: Sequence[str] = ("text",)
    title: str | None = None
    id: str | None = None
    metadata: Sequence[str] | None = None


class UnreadableError(Exception):
    """What becomes an Unreadable: its message is the reason. It does not leave `sqlrag.text`."""


def reason(error: Exception) -> str:
    """Return what the system says about a file, in small letters: `no such file or directory`."""
    said = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return said[:1].lower() + said[1:]
