"""A database for statements of people, or programs, that one does not know: read-only, each with an end.

What such a statement may do, `Database.confine` says; here is how long it may run and how much it may answer.
"""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from sqlrag.database import Database, connect
from sqlrag.engines.backlog_warnings import told
from sqlrag.errors import TimeLimitError
from sqlrag.values.json_values import BLOB, distinct, json_value

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

__all__ = [
    "BYTES",
    "PAIRS",
    "ROWS",
    "SECONDS",
    "Answer",
    "Guarded",
    "Watch",
    "open_confined",
    "open_guarded",
    "too_slow",
]

SECONDS = 10.0
"""How long one question may take."""

ROWS = 1_000
"""Rows of one answer."""

BYTES = 200_000
"""Of one answer, as JSON: some 50,000 tokens, as much as an agent's window can bear."""

PAIRS = 1_000
"""`rerank_limit`: what two cores score in the time that there is."""

GRACE_SECONDS = 2.0
"""For a statement that is to be stopped to end, before the process that runs it is ended."""

_AGAIN = 0.05
"""Seconds between two attempts to stop: one can fall between the statements that a question is made of."""

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """Rows as JSON objects; `note` says what was left out of them, None where nothing was."""

    rows: list[dict[str, Any]]
    note: str | None


def open_guarded(
    path: str, *, reranker: str | None = None, seconds: float = SECONDS, ends_process: bool = False
) -> Guarded:
    """Open a database that exists, for reading, and guard it. Raises what `connect` does."""
    return Guarded(open_confined(path, reranker=reranker), seconds, ends_process=ends_process)


def open_confined(path: str, *, reranker: str | None = None) -> Database:
    """Open a database that exists, for reading, and confine it. Raises what `connect` does."""
    database = connect(path, read_only=True, reranker=reranker, rerank_limit=PAIRS)
    try:
        database.confine()
    except BaseException:
        database.close()
        raise
    return database


class Watch:
    """Stops what runs in its block after some seconds, or when it is asked to, whichever thread asks.

    `interrupt` stops the statement that runs. Raises TimeLimitError in the place of the error that it caused.
    """

    def __init__(self, interrupt: Callable[[], None], seconds: float) -> None:
        self._interrupt = interrupt
        self._seconds = seconds
        self._wake, self._finished = threading.Event(), threading.Event()
        self._expired = False
        self.asked = False
        self._watcher = threading.Thread(target=self._watch, name="sqlrag-watch", daemon=True)

    def stop(self) -> None:
        """Stop it now; `asked` tells of it."""
        self.asked = True
        self._wake.set()

    def _watch(self) -> None:
        self._wake.wait(self._seconds)
        while not self._finished.is_set():
            self._expired = not self.asked
            self._interrupt()
            self._finished.wait(_AGAIN)

    def __enter__(self) -> Self:
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._finished.set()
        self._wake.set()
        self._watcher.join()
        # An interrupted statement ends with one of several errors, KeyboardInterrupt among them.
        if error is not None and self._expired:
            raise too_slow(self._seconds) from error


def too_slow(seconds: float) -> TimeLimitError:
    """Return the error for a statement that was stopped."""
    return TimeLimitError(
        f"stopped after {seconds:g} s: ask for less, with a smaller LIMIT or top_k or a narrower WHERE"
    )


@contextmanager
def _ended_after(seconds: float) -> Iterator[None]:
    """Have the system end this process by SIGALRM if the block takes longer; no code of ours needs to run for that."""
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


class Guarded:
    """A confined database that answers one question after the other, whichever thread asks.

    `ends_process`: a question that cannot be stopped ends the process, which then has to be nobody else's.
    """

    def __init__(self, database: Database, seconds: float = SECONDS, *, ends_process: bool = False) -> None:
        self.seconds = seconds
        self._ends_process = ends_process and hasattr(signal, "setitimer")  # Windows has none
        self._database = database
        self._lock = threading.Lock()

    def run(self, work: Callable[[Database], T], seconds: float | None = None) -> T:
        """Return what `work` makes of the database. Raises TimeLimitError when it was stopped."""
        seconds = self.seconds if seconds is None else seconds
        last = _ended_after(seconds + GRACE_SECONDS) if self._ends_process else nullcontext()
        with self._lock, last, Watch(self._database.interrupt, seconds):
            return work(self._database)

    def rows(self, sql: str, params: Mapping[str, Any] | None = None) -> Answer:
        """Return the rows of a statement, up to ROWS and BYTES; of several statements, those of the last."""
        return self.run(lambda database: _told(database, sql, params or {}))

    def close(self) -> None:
        """Close the database, once the question that is being answered has ended."""
        with self._lock:
            self._database.close()


def _told(database: Database, sql: str, params: Mapping[str, Any]) -> Answer:
    """Return the answer, with what is warned of in its note."""
    with told() as messages:
        answer = _answer(database, sql, params)
    notes = [answer.note, *messages]
    return replace(answer, note="; ".join(note for note in notes if note is not None) or None)


def _answer(database: Database, sql: str, params: Mapping[str, Any]) -> Answer:
    with closing(database.execute(sql, params)) as result:
        columns = distinct(result.columns)
        rows: list[dict[str, Any]] = []
        left = BYTES
        for row in result:
            if len(rows) == ROWS:
                return Answer(rows, f"cut after {ROWS:,} rows: there are more")
            text = _json(dict(zip(columns, row, strict=True)), left)
            if text is None:
                cut = f"cut after {len(rows):,} rows" if rows else "nothing is shown"
                why = f"the next row does not fit into the {BYTES:,} bytes of an answer"
                return Answer(rows, f"{cut}: {why}; select fewer columns, or substr() of them")
            left -= len(text)
            rows.append(json.loads(text))
    return Answer(rows, None)


def _json(item: dict[str, Any], most: int) -> bytes | None:
    """Return a row as JSON, None where that is longer than `most` bytes."""
    if any(isinstance(value, (str, *BLOB)) and len(value) > most for value in item.values()):
        return None  # a gigabyte need not become JSON first
    text = json.dumps(json_value(item), ensure_ascii=False, default=str).encode(errors="replace")
    return text if len(text) <= most else None
