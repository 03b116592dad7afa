"""The tools in a process of their own, which is ended if a question cannot be stopped.

SQLite and DuckDB check between two rows whether a statement is to end, and some functions never do: a replace() over
megabytes or a regular expression over a long text runs for minutes. So the server asks another process, which the
system ends (setitimer(2)) soon after the time limit. A new process answers the next question.

A question is a line of JSON, and so is its answer.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, BinaryIO

from sqlrag.errors import Error, ServerError, SQLError, error_named
from sqlrag.serve.memory import give_back, limit_memory
from sqlrag.serve.page_tools import PageTools
from sqlrag.serve.untrusted import open_limited, too_slow

__all__ = ["ToolProcess", "main"]

_EXPIRED = -getattr(signal, "SIGALRM", 0)
"""The exit status of a process that the system has ended after its time limit."""

_LONG = 0.2
"""Seconds of a question after which free memory is returned to the system."""

_SHOWN = 200
"""Characters of a question that a line of the log shows."""


class ToolProcess:
    """A process that answers questions, one after the other; any thread may ask, through `tools`.

    `models`: those that the user has named, as arguments of `connect`. `seconds`: the time limit of a question. Raises
    what `connect` does.
    """

    def __init__(self, path: str, *, models: Mapping[str, str], seconds: float) -> None:
        self.tools: PageTools = _ToolsOf(self)
        self.path, self.models = path, dict(models)
        self._seconds = seconds
        options = json.dumps([path, self.models, seconds])
        # The new process finds the modules where this one does.
        code = f"import sys; sys.path[:] = {sys.path!r}; from sqlrag.serve.tool_process import main; main()"
        self._command = [sys.executable, "-c", code, options]
        self._lock, self._changing = threading.Lock(), threading.Lock()
        self._is_closed = False
        self._process = self._started()
        try:
            self._greet()
        except BaseException as error:
            self.close()
            if isinstance(error, EOFError):
                raise ServerError("the process that asks the database has ended at once") from error
            raise

    def ask(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return a tool's answer. Raises what the tool does, and TimeLimitError if its process had to be ended."""
        question = json.dumps([tool, arguments])
        with self._lock:
            if self._process.poll() is not None:
                self._begin_again()
            try:
                self._greet()
                self._say(question)
                answer: dict[str, Any] = self._hear()
            except EOFError:
                raise self._ended(question) from None
            return answer

    def close(self) -> None:
        """End the process, whatever it does. May be called from any thread."""
        with self._changing:
            self._is_closed = True
            _end(self._process)

    def _started(self) -> subprocess.Popen[bytes]:
        self._is_new = True
        return subprocess.Popen(  # noqa: S603 - this Python, with a module of ours
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in the terminal reaches the server alone, which ends it
        )

    def _begin_again(self) -> None:
        with self._changing:
            if self._is_closed:
                raise ServerError("the server ends")
            _end(self._process)
            self._process = self._started()

    def _greet(self) -> None:
        """Wait until a new process has opened the database."""
        if self._is_new:
            try:
                self._hear()
            except Error:
                self._process.wait()
                raise
            self._is_new = False

    def _say(self, question: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(question.encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise EOFError from error

    def _hear(self) -> Any:
        """Return the next answer of the process. Raises the error that it reports, and EOFError if it has ended."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        answer, name, message = json.loads(line)
        if name is not None:
            raise error_named(name, message)
        return answer

    def _ended(self, question: str) -> Error:
        """Start a new process, and return the error for the question at which the old one ended."""
        code = self._process.wait()
        self._begin_again()
        if code == _EXPIRED:
            why = f"could not be stopped after {self._seconds:g} s: its process was ended"
            error: Error = too_slow(self._seconds)
        else:
            why = f"has ended its process (status {code})"
            error = ServerError("the question has ended the process that it ran in")
        print(f"Note: a question {why}, a new one is there: {question[:_SHOWN]}", file=sys.stderr)  # noqa: T201
        return error


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            assert pipe is not None
            pipe.close()


def _asked(tool: Callable[..., dict[str, Any]]) -> Callable[..., Any]:
    @wraps(tool)
    def ask(self: _ToolsOf, **arguments: Any) -> dict[str, Any]:
        return self.process.ask(tool.__name__, arguments)

    return ask


class _ToolsOf(PageTools):
    """The tools of a process, with the signatures of `PageTools`."""

    search = _asked(PageTools.search)
    context = _asked(PageTools.context)
    read_chunk = _asked(PageTools.read_chunk)
    sql = _asked(PageTools.sql)
    describe = _asked(PageTools.describe)
    about = _asked(PageTools.about)
    two_stages = _asked(PageTools.two_stages)
    marks = _asked(PageTools.marks)

    def __init__(self, process: ToolProcess) -> None:
        self.process = process


def main() -> None:
    """Answer the questions of the process that has started this one, until that process ends."""
    path, models, seconds = json.loads(sys.argv[1])
    limit_memory(models)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # so that nothing a library prints is taken for an answer
    if _EXPIRED:
        signal.signal(-_EXPIRED, signal.SIG_DFL)  # the server may have been started with it ignored
    warnings.showwarning = _note  # type: ignore[assignment]  # it takes all further arguments
    questions: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(questions,), daemon=True).start()
    opened: list[PageTools] = []

    def begin() -> None:
        database = open_limited(path, models=models, seconds=seconds, ends_process=True)
        opened.append(PageTools(database, path))

    _answer(answers, begin)
    while opened:
        tool, arguments = json.loads(questions.get())
        begun = time.monotonic()
        _answer(answers, lambda: getattr(opened[0], tool)(**arguments))  # noqa: B023 - called at once
        if time.monotonic() - begun > _LONG:
            give_back()


def _answer(answers: BinaryIO, work: Callable[[], Any]) -> None:
    try:
        answer = [work(), None, None]
    except Error as error:
        answer = [None, type(error).__name__, str(error)]
    except MemoryError:
        answer = [
            None,
            SQLError.__name__,
            "out of memory: ask for less, with a smaller LIMIT, fewer columns or substr()",
        ]
    except Exception:  # noqa: BLE001 - the client gets an error, whatever it is
        traceback.print_exc()
        answer = [None, ServerError.__name__, "the server failed at this request: its log says why"]
    answers.write(json.dumps(answer, default=str).encode() + b"\n")
    answers.flush()


def _read(questions: queue.SimpleQueue[bytes]) -> None:
    """Read questions as they come. When the server ends, end this process, whatever runs."""
    rest = b""
    while piece := os.read(0, 1 << 16):  # sys.stdin has a lock that this thread would hold at the end of the process
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            questions.put(line)
    os._exit(0)


def _note(message: Warning | str, *_: Any) -> None:
    print(f"Note: {' '.join(str(message).split())}", file=sys.stderr)  # noqa: T201
