"""What an ingest sends to a remote endpoint, said before anything is sent."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import click

from sqlrag.models.named_models import is_remote

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["tell_cost"]

# English in UTF-8; other languages have more tokens for a byte, and markup has fewer.
_BYTES_PER_TOKEN = 4


def tell_cost(embedder: str | None, paths: Iterable[str]) -> None:
    """Say on stderr how much a remote endpoint will read, and for how many dollars if the name has a `price`."""
    if embedder is None or not is_remote(embedder):
        return
    size = sum(_size(path) for path in paths)
    tokens = size / _BYTES_PER_TOKEN
    name, _, settings = embedder.partition("?")
    price = parse_qs(settings).get("price", [""])[0]
    cost = f", {tokens / 1e6 * float(price):.2f} dollars" if price.replace(".", "", 1).isdigit() else ""
    click.echo(
        f"The texts are sent to {name}: {size / 1e6:,.1f} MB of files, about {tokens:,.0f} tokens{cost}. "
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
