"""Run untrusted statements: read-only, with limits on their time and on the size of their answers.

`Database.confine` restricts what such a statement may do. The limits are here.
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
    "LimitedDatabase",
    "LimitedRows",
    "Watch",
    "open_confined",
    "open_limited",
    "too_slow",
]

SECONDS = 10.0
"""Seconds that one question may take."""

ROWS = 1_000
"""Rows of an answer."""

BYTES = 200_000
"""Bytes of an answer, as JSON: some 50,000 tokens, as many as fit into an agent's context."""

PAIRS = 1_000
"""`rerank_limit`: the pairs that two cores score within SECONDS."""

GRACE_SECONDS = 2.0
"""Seconds for a stopped statement to end, before its process is ended."""

_AGAIN = 0.05
"""Seconds between two interrupts: one has no effect if it falls between two statements of a question."""

T = TypeVar("T")


@dataclass(frozen=True)
class LimitedRows:
    """Rows as JSON objects. `note`: what was left out, and which rows an index lacks; None if all is there."""

    columns: list[str]
    rows: list[dict[str, Any]]
    note: str | None


def open_limited(
    path: str, *, models: Mapping[str, str] | None = None, seconds: float = SECONDS, ends_process: bool = False
) -> LimitedDatabase:
    """Open an existing database for untrusted questions. Raises what `connect` does."""
    return LimitedDatabase(open_confined(path, models), seconds, ends_process=ends_process)


def open_confined(path: str, models: Mapping[str, str] | None = None) -> Database:
    """Open an existing database for reading, and confine it. Raises what `connect` does.

    `models` are the arguments `embedder`, `reranker` and `backend` of `connect`, as far as the user has named any.
    """
    database = connect(path, read_only=True, rerank_limit=PAIRS, **models or {})  # type: ignore[arg-type]
    try:
        database.confine()
    except BaseException:
        database.close()
        raise
    return database


class Watch:
    """A context manager that interrupts its block after so many seconds, or when `stop` is called.

    `interrupt` is called to stop the running statement. After the time limit, the error that this causes becomes a
    TimeLimitError.
    """

    def __init__(self, interrupt: Callable[[], None], seconds: float) -> None:
        self._interrupt = interrupt
        self._seconds = seconds
        self._wake, self._finished = threading.Event(), threading.Event()
        self._expired = False
        self.asked = False
        self._watcher = threading.Thread(target=self._watch, name="sqlrag-watch", daemon=True)

    def stop(self) -> None:
        """Interrupt the block now, from any thread; `asked` is True from then on."""
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
        # An interrupted statement ends with one of several errors; KeyboardInterrupt is one of them.
        if error is not None and self._expired:
            raise too_slow(self._seconds) from error


def too_slow(seconds: float) -> TimeLimitError:
    """Return the error of a statement that was stopped by its time limit."""
    return TimeLimitError(
        f"stopped after {seconds:g} s: ask for less, with a smaller LIMIT or top_k or a narrower WHERE"
    )


@contextmanager
def _ended_after(seconds: float) -> Iterator[None]:
    """Let the system end this process by SIGALRM if the block takes longer; no Python code has to run for that."""
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


class LimitedDatabase:
    """A confined database with limits. Any thread may ask; it answers one question after the other.

    `ends_process`: a question that cannot be stopped ends the process, which should do nothing else then.
    """

    def __init__(self, database: Database, seconds: float = SECONDS, *, ends_process: bool = False) -> None:
        self.seconds = seconds
        self._ends_process = ends_process and hasattr(signal, "setitimer")  # not on Windows
        self._database = database
        self._lock = threading.Lock()

    def run(self, work: Callable[[Database], T], seconds: float | None = None) -> T:
        """Return what `work` does, called with the database. Raises TimeLimitError if it takes too long."""
        seconds = self.seconds if seconds is None else seconds
        last = _ended_after(seconds + GRACE_SECONDS) if self._ends_process else nullcontext()
        with self._lock, last, Watch(self._database.interrupt, seconds):
            return work(self._database)

    def rows(self, sql: str, params: Mapping[str, Any] | None = None) -> LimitedRows:
        """Return the rows of a statement, up to ROWS and BYTES; of several statements, those of the last."""
        return self.run(lambda database: _noted(database, sql, params or {}))

    def close(self) -> None:
        """Close the database when the running question has ended."""
        with self._lock:
            self._database.close()


def _noted(database: Database, sql: str, params: Mapping[str, Any]) -> LimitedRows:
    """Return the rows of a statement, with the warnings about its indexes in the note."""
    with told() as messages:
        rows = _limited(database, sql, params)
    notes = [rows.note, *messages]
    return replace(rows, note="; ".join(note for note in notes if note is not None) or None)


def _limited(database: Database, sql: str, params: Mapping[str, Any]) -> LimitedRows:
    with closing(database.execute(sql, params)) as result:
        columns = distinct(result.columns)
        rows: list[dict[str, Any]] = []
        left = BYTES
        for row in result:
            if len(rows) == ROWS:
                return LimitedRows(columns, rows, f"cut after {ROWS:,} rows: there are more")
            text = _json(dict(zip(columns, row, strict=True)), left)
            if text is None:
                cut = f"cut after {len(rows):,} rows" if rows else "nothing is shown"
                why = f"the next row does not fit into the {BYTES:,} bytes of an answer"
                return LimitedRows(columns, rows, f"{cut}: {why}; select fewer columns, or substr() of them")
            left -= len(text)
            rows.append(json.loads(text))
    return LimitedRows(columns, rows, None)


def _json(item: dict[str, Any], most: int) -> bytes | None:
    """Return a row as JSON, None if that is longer than `most` bytes."""
    if any(isinstance(value, (str, *BLOB)) and len(value) > most for value in item.values()):
        return None  # without making JSON of a gigabyte first
    text = json.dumps(json_value(item), ensure_ascii=False, default=str).encode(errors="replace")
    return text if len(text) <= most else None
