"""The processes of the crash tests: they run an operation, and are killed or find that a write fails."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import sqlrag
from sqlrag.errors import Error
from tests.live.company import within
from tests.live.faults import PAGE, Faults
from tests.live.operations import OPERATIONS, SMALL

BY_NAME = {operation.name: operation for operation in OPERATIONS}


def torn(index: str, kept: str, key: str) -> str:
    """Return the statement that counts chunks without a vector, and vectors without a chunk."""
    return (
        f"SELECT (SELECT count(*) FROM {index} WHERE id NOT IN (SELECT {key} FROM {kept})), "
        f"(SELECT count(*) FROM {kept} WHERE {key} NOT IN (SELECT id FROM {index}))"
    )


def torn_codes(index: str) -> str:
    """Return the statement that counts chunks without a code, less codes without a chunk, in a SQLite file."""
    return (
        f"SELECT (SELECT count(*) FROM {index}) + (SELECT count(*) FROM {index}_gone) "
        f"- (SELECT coalesce(sum(length(ids) / 8), 0) FROM {index}_codes)"
    )


def make_small() -> None:
    """Let this process commit often, write small blocks of codes and measure candidates early."""
    for (module, name), value in SMALL.items():
        setattr(module, name, value)


def run_in_child(
    pipe: Any, path: Path, name: str, variant: int, *, reading: bool = False, company: str = "alone"
) -> float:
    """Run an operation; return its seconds. `reading`: in DuckDB, with a reader in another thread."""
    make_small()
    operation = BY_NAME[name]
    with sqlrag.connect(path, sync_rows=0) as db, _reader(db, operation.index(variant), path, reading):
        db.embedder.encode_document(["the model is loaded"])
        pipe.send("ready")
        started = time.monotonic()
        with within(company, path, db):
            operation.run(db, variant)
        return time.monotonic() - started


@contextmanager
def _reader(db: sqlrag.Database, index: str, path: Path, reading: bool) -> Iterator[None]:
    """Look at DuckDB's tables from another thread, which only a process that has them open can; a file tells."""
    if not reading or db.engine != "duckdb":
        yield
        return
    cursor, stop = db._engine._connection.cursor(), Event()

    def read() -> None:
        while not stop.wait(0.005):
            counts = cursor.execute(torn(index, f"{index}_embedding", "id")).fetchone()
            if any(counts):
                path.with_name("torn").write_text(str(counts))

    thread = Thread(target=read)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        cursor.close()


def run_on_a_disk(_pipe: Any, path: Path, name: str, variant: int, kind: str, nth: int) -> dict[str, Any]:
    """Run an operation on a disk without much room, or with a limit on the size of files, of so many pages."""
    make_small()
    errors = []
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with sqlrag.connect(path, sync_rows=0) as db:  # this may ask for room already
            db.embedder.encode_document(["the model is loaded"])
            if kind == "limit":
                resource.setrlimit(resource.RLIMIT_FSIZE, (nth * PAGE, most))
            BY_NAME[name].run(db, variant)
    except Exception as error:  # noqa: BLE001 - the parent judges it
        errors.append((type(error).__name__, isinstance(error, Error), str(error)))
    return {"errors": errors, "writes": 0, "failed": bool(errors)}


def run_with_faults(_pipe: Any, path: Path, name: str, variant: int, kind: str, nth: int) -> dict[str, Any]:
    """Run an operation whose n-th write fails; then, if n is odd, with room again on the same connection."""
    make_small()
    faults, operation, errors = Faults(kind), BY_NAME[name], []
    db = sqlrag.connect(path, sync_rows=0)
    db.embedder.encode_document(["the model is loaded"])
    faults.begin(nth)
    for attempt in range(2 if nth % 2 else 1):
        if attempt:
            faults.end()
        try:
            operation.run(db, variant)
        except Exception as error:  # noqa: BLE001 - the parent judges it
            errors.append((type(error).__name__, isinstance(error, Error), str(error)))
            if attempt:
                errors.append(("on the same connection", False, str(error)))
    answer = {"errors": errors, "writes": faults.writes, "failed": faults.failed}
    with suppress(Error):  # SQLite itself lets the checkpoint of a close fail in silence; APSW hands on what we raised
        db.close()
    return answer
