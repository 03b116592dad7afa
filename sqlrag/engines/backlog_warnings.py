"""Warnings of rows that an index lacks: worded, then issued or collected for the client of a server."""

from __future__ import annotations

import inspect
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlrag.errors import BacklogWarning

if TYPE_CHECKING:
    from sqlrag.store.registry import IndexRecord

__all__ = ["lacks", "told", "warn", "warn_of_backlog"]

_listening = threading.local()


def lacks(record: IndexRecord, backlog: int, gap: str | None, hindrance: str | None) -> list[str]:
    """Return what an index lacks, in words. `gap`: why the backlog may not be all; `hindrance`: why it is not gone."""
    found = []
    if gap is not None:
        found.append(f"index {record.name!r} may lack changes of {record.source_table}, as {gap}")
    if backlog:
        rows = f"{backlog:,} changed row{'s' if backlog > 1 else ''}"
        why = f" ({hindrance})" if hindrance else ""
        found.append(f"index {record.name!r} does not have {rows} of {record.source_table} yet{why}")
    return found


def warn_of_backlog(record: IndexRecord, backlog: int, why: str, remedy: str) -> None:
    """Warn of the rows that an index lacks, `why` they were not brought in, and what brings them in."""
    for lack in lacks(record, backlog, None, why):
        warn(f"{lack}: {remedy}")


@contextmanager
def told() -> Iterator[list[str]]:
    """Collect what is warned of in the body, in this thread, for a server to tell its client; no warning is issued."""
    outer = getattr(_listening, "messages", None)
    messages: list[str] = []
    _listening.messages = messages
    try:
        yield messages
    finally:
        _listening.messages = outer


def warn(message: str) -> None:
    """Warn, at the line of the caller of sqlrag."""
    messages = getattr(_listening, "messages", None)
    if messages is not None:
        messages.append(message)
        return
    level, frame = 1, inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith("sqlrag."):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, BacklogWarning, stacklevel=level)
