"""An evaluation that the page has asked for, in a process of its own: it takes minutes, and can be cancelled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlrag.errors import Error

__all__ = ["EvaluationProcess", "main"]

MOST_QUERIES = 1_000


class EvaluationProcess:
    """The evaluation that runs, or the last one that has ended. Any thread may call its methods."""

    def __init__(self, path: str, models: Mapping[str, str]) -> None:
        self._path, self._models = path, dict(models)
        self._process: subprocess.Popen[bytes] | None = None
        self._state: dict[str, Any] = {"state": "none"}
        self._lock = threading.Lock()

    def status(self) -> dict[str, Any]:
        """Return what the evaluation does, and the last result for this database, `sqlrag eval`'s included."""
        from sqlrag.evaluation.kept import last_evaluation

        with self._lock:
            state = dict(self._state)
        return {"run": state, "last": last_evaluation(self._path)}

    def start(self, index: str, queries: int) -> bool:
        """Begin an evaluation with queries made from the index's chunks; False if one runs already."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                return False
            options = json.dumps([self._path, self._models, index, queries])
            code = (
                f"import sys; sys.path[:] = {sys.path!r}; from sqlrag.serve.http.evaluation import main; "
                f"main({options!r})"
            )
            process = subprocess.Popen(  # noqa: S603 - this Python, with a module of ours
                [sys.executable, "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
            self._process = process
            self._state = {"state": "running", "done": 0, "total": None, "what": "reading the index"}
        threading.Thread(target=self._follow, args=(process,), name="sqlrag-evaluation", daemon=True).start()
        return True

    def cancel(self) -> None:
        """End the evaluation that runs, if one does."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                self._state = {"state": "cancelled"}
                self._process.kill()

    def _follow(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            with self._lock:
                if self._process is process and self._state["state"] == "running":
                    self._state = json.loads(line)
        process.wait()
        with self._lock:
            if self._process is process and self._state["state"] == "running":
                self._state = {"state": "failed", "error": "the evaluation has ended unexpectedly"}


def main(options: str) -> None:
    """Run an evaluation, and write a line of JSON for each step. It ends when the server does, which holds stdin."""
    import sqlrag
    from sqlrag.evaluation.kept import keep
    from sqlrag.evaluation.report import Progress
    from sqlrag.serve.memory import limit_memory

    path, models, index, queries = json.loads(options)
    limit_memory(models)
    threading.Thread(target=_end_with_the_server, daemon=True).start()

    def say(**state: Any) -> None:
        sys.stdout.write(json.dumps(state) + "\n")
        sys.stdout.flush()

    def progress(step: Progress) -> None:
        say(state="running", **asdict(step))

    try:
        with sqlrag.connect(path, read_only=True, **models) as database:
            keep(database.evaluate(index=index, synthetic=queries, progress=progress))
    except Error as error:
        say(state="failed", error=str(error))
    else:
        say(state="done")


def _end_with_the_server() -> None:
    while os.read(0, 1):
        pass
    os._exit(0)
