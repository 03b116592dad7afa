"""One client of the server: its functions run here, and their SQL in the client."""

from __future__ import annotations

import select
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import apsw

from sqlrag.engines.backlog_warnings import lacks
from sqlrag.engines.functions import DEFAULT_RERANK_LIMIT, Functions
from sqlrag.engines.sqlite.changes import Changes
from sqlrag.engines.sqlite.functions import SQLiteIndexes
from sqlrag.errors import Error, InputError, ServerError, TimeLimitError
from sqlrag.serve.model_server.channel import Channel, Gone
from sqlrag.serve.model_server.protocol import LONGEST_TEXT, VERSION, Frame, ProtocolError, as_row, as_table, read_row
from sqlrag.serve.model_server.queued_models import current_client
from sqlrag.serve.model_server.remote_connection import RemoteConnection, RemoteScores
from sqlrag.serve.model_server.served_functions import ModelFunctions, sql_functions
from sqlrag.store.driver.error_translation import translated
from sqlrag.store.encoders import Encoders
from sqlrag.values.arguments import check_candidates, check_k

if TYPE_CHECKING:
    from sqlrag.serve.model_server.queue import Job
    from sqlrag.serve.model_server.server import ModelServer
    from sqlrag.store.registry import IndexRecord

__all__ = ["ANSWER_SECONDS", "DEEPEST", "HELLO_SECONDS", "MODEL_SECONDS", "Session"]

HELLO_SECONDS = 10.0
"""Seconds for a new client to send HELLO."""

ANSWER_SECONDS = 30.0
"""Seconds for a client to answer a QUERY."""

MODEL_SECONDS = 60.0
"""Seconds that one CALL may wait for the models."""

DEEPEST = 8
"""CALLs within the statements of other CALLs, such as those of a filter that calls token_count()."""

DATABASE = "this database"
"""The name of the client's file in errors: the server does not know its path."""


class Cancelled(Exception):  # noqa: N818 - the client wants it
    """The client has given up its CALL."""


class Session:
    """The connection of one client, in a thread of its own; a `sqlrag.serve.model_server.queue.Waiter`."""

    def __init__(self, channel: Channel, server: ModelServer) -> None:
        self.name = ""
        self.calls = 0
        self.in_call = 0
        self.is_known = False
        """Whether the client has sent HELLO, with the token if the server has one."""
        self.is_ended = False
        self._channel = channel
        self._server = server
        self._recorded = False
        self._model_seconds = 0.0
        self._begun = False
        self._ending = self._asked = False
        self._woken, self._waker = socket.socketpair()
        self._waker.setblocking(False)

    def run(self) -> None:
        """Serve the client until it leaves, breaks the protocol, or the server ends."""
        current_client.set(self)
        try:
            self._hello()
            while not self._ending:
                kind, body = self._channel.receive()
                self._server.touch()
                self._answer(kind, body)
        except (Gone, TimeoutError):
            pass
        except (ProtocolError, ServerError) as error:
            self._server.log(f"{self.name or 'a client'}: {error}")
            self._refuse(str(error))
        finally:
            self._woken.close()
            self._waker.close()

    def end_if_idle(self) -> None:
        """End the connection: at once, or after the CALL that runs. Called from another thread."""
        self._ending = True
        if not self.in_call and not self._asked:
            self._channel.shut()

    def end(self) -> None:
        """End the connection, from another thread."""
        self.is_ended = True
        if not self._asked:
            self._channel.shut()

    def working(self) -> None:
        """Send WORKING if the client waits for an answer. Called every second, from another thread."""
        if self._begun and time.monotonic() - self._channel.last_sent >= 1:
            self._channel.send_if_free(Frame.WORKING)

    # Frames of the client

    def _hello(self) -> None:
        kind, body = self._channel.receive(HELLO_SECONDS)
        try:
            values = read_row(body, least=2) if kind == Frame.HELLO else []
        except UnicodeDecodeError:
            values = []
        if not values:
            raise ProtocolError("the first frame is HELLO")
        version, name, token, candidates, limit = (*values, None, None, None)[:5]
        if version != VERSION:
            raise ServerError(f"version {version!r:.40} of the protocol: this server speaks version {VERSION}")
        if not isinstance(name, str):
            raise ProtocolError("HELLO needs the client's name")
        self._server.check_token(token)
        self.name = name[:80]
        try:
            candidates = None if candidates is None else check_candidates("HELLO", candidates)
            limit = DEFAULT_RERANK_LIMIT if limit is None else check_k("HELLO", "rerank_limit", limit)
        except InputError as error:
            raise ServerError(str(error)) from error
        self._prepare(candidates, limit)
        self.is_known = True
        self._channel.send(Frame.WELCOME, as_row(self._server.welcome()))

    def _prepare(self, candidates: int | None, rerank_limit: int) -> None:
        self._connection = RemoteConnection(self._ask)
        self._indexes = SQLiteIndexes(self._connection)
        self._encoders = Encoders(None, self._server.reranker)
        scores = RemoteScores(self._connection)
        self._functions = Functions(self._indexes, self._encoders, rerank_limit, scores, candidates)
        self._functions.longest_text = LONGEST_TEXT
        self._functions.on_asked = self._log_lacks
        self._changes = Changes(self._connection, self._indexes)
        self._models = ModelFunctions(self._server.reranker)
        self._sql_functions = {one.name: one for one in sql_functions(self._functions)}

    def _log_lacks(self, record: IndexRecord) -> bool:
        """Write to the client's SQLite log which rows an index lacks: Python's warnings do not reach the client.

        Returns False: nothing was brought in.
        """
        if not record.is_over_table:
            return False
        with suppress(apsw.Error, Error):  # the client may forbid it, and the search itself reports what is wrong
            backlog = self._changes.rows(record, None)
            for lack in lacks(record, backlog, self._changes.gap(record), "the extension only reads"):
                message = f"sqlrag: {lack}: run sqlrag sync"
                self._connection.execute("SELECT sqlite_log(?, ?)", (apsw.SQLITE_WARNING, message))
        return False

    def _answer(self, kind: Frame, body: bytes) -> None:
        if kind == Frame.BEGIN:
            self._functions.begin_statement()
        elif kind == Frame.CALL:
            self._call(body)
        elif kind == Frame.STATUS:
            self._channel.send(Frame.RESULT, as_table(2, self._server.status()))
        elif kind == Frame.STOP:
            self._channel.send(Frame.RESULT, as_table(1, [("stopping",)]))
            self._asked = True
            self._server.stop(self._channel)
            raise Gone("the server stops")
        elif kind != Frame.CANCEL:  # a CANCEL may be for a call that has just ended
            raise ProtocolError(f"a frame of type {kind.name} that nobody asked for")

    def _call(self, body: bytes) -> None:
        """Run a function, and answer with its rows or its error."""
        self.in_call += 1
        outer, self._model_seconds = self._model_seconds, 0.0
        self._begun = True
        try:
            answer = self._run(body)
            self._begun = False
            self._channel.send(Frame.RESULT, answer)
        except (Gone, ProtocolError):
            raise
        except Cancelled:
            self._fail("Error", "interrupted")
        except Error as error:
            self._fail(type(error).__name__, str(error))
        except Exception as error:  # noqa: BLE001 - the client gets an ERROR, whatever it is
            self._server.log(f"{type(error).__name__}: {error}")
            self._fail("ServerError", f"the model server failed: {type(error).__name__}: {error}")
        finally:
            self.in_call -= 1
            self._model_seconds = outer
            self._begun = self.in_call > 0
            self._server.touch()

    def _run(self, body: bytes) -> bytes:
        with translated(DATABASE):
            name, *arguments = read_row(body, least=1)
            if name in self._models.names:
                self.calls += 1
                return self._models.answer(str(name), arguments)
            function = self._sql_functions.get(name) if isinstance(name, str) else None
            if function is None:
                raise InputError(f"no function {name!r:.80}: there are {', '.join(self._sql_functions)}")
            if self.in_call > DEEPEST:
                raise InputError(f"{function.name}() is called inside of {DEEPEST} other calls")
            if not self._recorded and function.name != "functions":
                self._indexes.look().check_version(DATABASE)
                self._encoders.use_recorded(self._indexes.default_embedder())
                self._recorded = True
            self.calls += 1
            return function.answer(arguments)

    def _fail(self, name: str, message: str) -> None:
        self._begun = False
        self._channel.send(Frame.ERROR, as_row([name, message.encode(errors="replace").decode()]))

    def _refuse(self, message: str) -> None:
        with suppress(Gone):
            self._fail("ServerError", message)

    # Queries to the client

    def _ask(self, query: bytes) -> tuple[Frame, bytes]:
        """Send a QUERY and return the ROWS or FAILED that answers it. A CALL that comes before is answered first."""
        self._begun = False
        self._channel.send(Frame.QUERY, query)
        while True:
            try:
                kind, body = self._channel.receive(ANSWER_SECONDS)
            except TimeoutError:
                raise ProtocolError(f"a statement was not answered in {ANSWER_SECONDS:g} s") from None
            if kind in (Frame.ROWS, Frame.FAILED):
                self._begun = True
                return kind, body
            if kind == Frame.CANCEL:
                raise Cancelled
            if kind == Frame.CALL:
                self._call(body)
                self._begun = False
            elif kind != Frame.BEGIN:  # the statement of the QUERY begins
                raise ProtocolError(f"a frame of type {kind.name} in answer to QUERY")

    # Waiting for the models

    def wake(self) -> None:
        """End `wait`, as a job is done. Called from the model's thread."""
        with suppress(OSError):  # the buffer is full, or the session has ended
            self._waker.send(b"\0")

    def wait(self, job: Job) -> None:
        """Return when the job is done. Raises Cancelled, Gone, TimeLimitError."""
        started = time.monotonic()
        until = started + MODEL_SECONDS - self._model_seconds
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        poll.register(self._channel.socket, select.POLLIN)
        while not job.done:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeLimitError(
                    f"stopped after {MODEL_SECONDS:g} s of waiting for the models: rerank fewer candidates, "
                    "or give search() a budget_ms"
                )
            for descriptor, _ in poll.poll(left * 1000):
                if descriptor == self._woken.fileno():
                    self._woken.recv(4096)
                else:
                    self._interrupted()
        self._model_seconds += time.monotonic() - started

    def _interrupted(self) -> None:
        """Receive a frame of the client while it waits: CANCEL is the only one that may come."""
        kind, _ = self._channel.receive(ANSWER_SECONDS)
        if kind == Frame.CANCEL:
            raise Cancelled
        raise ProtocolError(f"a frame of type {kind.name} while a CALL runs")


def refuse(channel: Channel, error: ServerError) -> None:
    """Send a client the reason why it is not served, and end the connection."""
    with suppress(Gone):
        channel.send(Frame.ERROR, as_row(["ServerError", str(error)]))
    channel.close()
