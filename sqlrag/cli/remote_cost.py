"""What an ingest, or an index that is made anew, sends to a remote endpoint, said before anything is sent."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import click

from sqlrag.models.named_models import is_remote
from sqlrag.store.names import quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlrag.database import Database

__all__ = ["tell_cost_of_files", "tell_cost_of_rows"]

# English in UTF-8; other languages have more tokens for a byte, and markup has fewer.
_BYTES_PER_TOKEN = 4


def tell_cost_of_files(embedder: str | None, paths: Iterable[str]) -> None:
    """Say on stderr how much of files a remote endpoint will read; nothing if none does."""
    if embedder is not None and is_remote(embedder):
        _tell(embedder, sum(_size(path) for path in paths), "files")


def tell_cost_of_rows(embedder: str | None, database: Database, table: str, columns: Sequence[str]) -> None:
    """Say on stderr how much of a table's columns a remote endpoint will read; nothing if none does."""
    if embedder is None or not is_remote(embedder):
        return
    lengths = " + ".join(f"coalesce(length(CAST({quote(column)} AS TEXT)), 0)" for column in columns)
    ((size,),) = database.execute(f"SELECT sum({lengths}) FROM {quote(table)}")
    _tell(embedder, size or 0, "text")


def _tell(embedder: str, size: int, what: str) -> None:
    """Say where the texts go, how many tokens they have, and for how many dollars if the name has a `price`."""
    tokens = size / _BYTES_PER_TOKEN
    name, _, settings = embedder.partition("?")
    price = parse_qs(settings).get("price", [""])[0]
    cost = f", {tokens / 1e6 * float(price):.2f} dollars" if price.replace(".", "", 1).isdigit() else ""
    click.echo(
        f"The texts are sent to {name}: {size / 1e6:,.1f} MB of {what}, about {tokens:,.0f} tokens{cost}. "
        "What is indexed already is not sent again.",
        err=True,
    )


def _size(path: str) -> int:
    """Return the bytes of a file, or of all files of a folder; 0 for what is not there."""
    try:
        if os.path.isdir(path):
            return sum(_size(entry.path) for entry in os.scandir(path) if not entry.is_symlink())
        return os.path.getsize(path)
    except OSError:
        return 0
