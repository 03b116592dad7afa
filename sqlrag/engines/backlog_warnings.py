"""Warnings about rows that an index lacks, issued, or collected for the client of a server."""

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
    """Return sentences about what an index lacks.

    `gap`: why there may be more changes than the backlog. `hindrance`: why the backlog cannot be indexed now.
    """
    found = []
    if gap is not None:
        found.append(f"index {record.name!r} may lack changes of {record.source_table}, as {gap}")
    if backlog:
        rows = f"{backlog:,} changed row{'s' if backlog > 1 else ''}"
        why = f" ({hindrance})" if hindrance else ""
        found.append(f"index {record.name!r} does not have {rows} of {record.source_table} yet{why}")
    return found


def warn_of_backlog(record: IndexRecord, backlog: int, why: str, remedy: str) -> None:
    """Warn of the rows that an index lacks, with the reason `why` they were not indexed, and the remedy."""
    for lack in lacks(record, backlog, None, why):
        warn(f"{lack}: {remedy}")


@contextmanager
def told() -> Iterator[list[str]]:
    """Collect the warnings of the body, in this thread, so that a server can pass them to its client."""
    outer = getattr(_listening, "messages", None)
    messages: list[str] = []
    _listening.messages = messages
    try:
        yield messages
    finally:
        _listening.messages = outer


def warn(message: str) -> None:
    """Issue a BacklogWarning that points to the line that called sqlrag."""
    messages = getattr(_listening, "messages", None)
    if messages is not None:
        messages.append(message)
        return
    level, frame = 1, inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith("sqlrag."):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, BacklogWarning, stacklevel=level)
