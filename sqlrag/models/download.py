"""Downloading a large file so that a download that broke off is continued by the next one."""

from __future__ import annotations

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from sqlrag.errors import ModelFileError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["download"]

_TRIES = 5
"""In a row in which no byte comes."""
_SECONDS = 30.0
"""Without a byte, after which a connection counts as broken."""
_BLOCK = 1 << 20


def download(
    url: str, path: Path, *, size: int, sha256: str, headers: Mapping[str, str], more: Callable[[int], None]
) -> None:
    """Download a file of a known size and SHA-256 to `path`, and call `more` with each number of bytes.

    The bytes are kept in `path` with the suffix `.part` until all are there, and a later call continues behind them.
    Raises urllib's HTTPError and URLError, OSError, and ModelFileError for a file with other bytes.
    """
    part = path.with_name(path.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    have = part.stat().st_size if part.is_file() else 0
    if have > size:
        part.unlink()
        have = 0
    more(have)
    left = _TRIES
    while have < size:
        before = have
        try:
            have = _continue(url, part, have, headers, more)
        except (http.client.HTTPException, TimeoutError, ConnectionError, urllib.error.URLError) as error:
            have = part.stat().st_size if part.is_file() else 0
            left = _TRIES if have > before else left - 1
            if left == 0 or (isinstance(error, urllib.error.HTTPError) and error.code < 500):
                raise
            time.sleep(min(2.0, 0.2 * 2 ** (_TRIES - left)))
        else:
            left = _TRIES if have > before else left - 1
            if left == 0:
                raise ConnectionError(f"the connection ends after {have:,} of {size:,} bytes")
    if have != size or _hash(part) != sha256:
        part.unlink()
        raise ModelFileError(
            f"what was downloaded of {url} does not have the SHA-256 {sha256[:12]}… that the repository names: "
            "it was thrown away; pull the model again, and if that does not help, through another network"
        )
    part.replace(path)


def _continue(url: str, part: Path, have: int, headers: Mapping[str, str], more: Callable[[int], None]) -> int:
    """Append to the file what comes, and return how long it is then."""
    request = urllib.request.Request(url)  # noqa: S310 - the address is the hub's
    for name, value in headers.items():
        # Not sent on to another host: the hub redirects to its storage.
        request.add_unredirected_header(name, value)
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
        continued = have and answer.status == 206
        if have and not continued:
            more(-have)
            have = 0
        with part.open("ab" if continued else "wb") as file:
            while block := answer.read1(_BLOCK):
                file.write(block)
                have += len(block)
                more(len(block))
    return have


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
