"""The session of a client that has signed in: it answers one message after the other."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

from sqlrag.engines.backlog_warnings import told
from sqlrag.serve.memory import give_back
from sqlrag.serve.postgres.commands import NO_ROWS, Reply, Transaction, command, unquoted
from sqlrag.serve.postgres.execution import Source
from sqlrag.serve.postgres.extended import Extended, Portal, Prepared
from sqlrag.serve.postgres.messages import Body, Closed, Wire, error_response, int16, message, notice, text
from sqlrag.serve.postgres.rows import Rows, formats_of
from sqlrag.serve.postgres.settings import REPORTED, Settings
from sqlrag.serve.postgres.sqlstate import ClientError, FatalError, sqlstate
from sqlrag.serve.postgres.statements import Statement, split
from sqlrag.serve.postgres.types import TEXT, PgType
from sqlrag.serve.untrusted import Watch

__all__ = ["Session"]

_MOST_COLUMNS = 1_664
"""PostgreSQL has the same limit, which clients may rely on."""

_MOMENT = 0.2
"""Seconds that a client is silent before the rows that it has not fetched are read into memory."""

_LONG = 0.2
"""Seconds after which a statement counts as long: then unused memory is returned to the system."""

_HOLDING = 0.5
"""Seconds that reading them into memory may delay the client's next message."""


class Session:
    """One connection, from the end of its start-up until the client goes."""

    def __init__(self, wire: Wire, source: Source, settings: Settings, seconds: float) -> None:
        self._wire = wire
        self._source = source
        self._settings = settings
        self._seconds = seconds
        self._transaction = Transaction()
        self._extended = Extended()
        self._skipping = False
        self._lock = threading.Lock()
        self._watch: Watch | None = None
        self._sent: Rows | None = None
        self._was_long = False
        wire.while_silent, wire.while_sending = self._while_silent, self._while_sending
        self._handlers = {
            b"Q": self._query, b"P": self._parse, b"B": self._bind, b"D": self._describe, b"E": self._execute,
            b"C": self._close, b"H": self._flush, b"S": self._sync, b"F": self._function_call,
            b"d": self._ignore, b"c": self._ignore, b"f": self._ignore,
        }  # fmt: skip

    def run(self) -> None:
        """Answer messages until the client goes. Raises Closed, or FatalError for a malformed message."""
        for name, shown in REPORTED.items():
            self._report(shown, self._settings.show(name))
        self._ready()
        while True:
            kind, body = self._wire.read()
            if kind == b"X":
                return
            if kind not in self._handlers:
                raise FatalError("08P01", f"a message of the kind {kind!r} came: there is none")
            self._while_sending()
            if self._skipping and kind != b"S":
                continue  # after an error, messages are skipped until the next Sync
            try:
                self._handlers[kind](body)
            except (Closed, FatalError):
                raise
            except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the client gets every error
                self._fail(error)
                if kind in (b"Q", b"F"):
                    self._ready()
                else:
                    self._skipping = True

    def cancel(self) -> None:
        """Stop the statement that runs, if any; may be called from another thread."""
        with self._lock:
            if self._watch is not None:
                self._watch.stop()

    # The simple protocol

    def _query(self, body: Body) -> None:
        sql = body.text()
        body.end()
        statements = split(sql)
        if not statements:
            self._wire.send(message(b"I"))
        for statement in statements:
            self._extended.close_portal("")
            if statement.parameters:
                raise ClientError("42P02", "there is no parameter $1: the simple protocol has none")
            seconds = self._limit()
            with self._watched(seconds):
                reply = self._run(statement, Prepared(statement, []), [])
                rows = Rows(reply, [], seconds)
                try:
                    self._describe_columns(reply.columns, [])
                    self._send_rows(reply, rows, 0)
                finally:
                    rows.end()
            if not self._transaction.is_open:
                self._extended.close_portals()
        self._ready()

    # The extended protocol

    def _parse(self, body: Body) -> None:
        self._extended.parse(body)
        self._wire.send(message(b"1"))

    def _bind(self, body: Body) -> None:
        self._extended.bind(body)
        self._wire.send(message(b"2"))

    def _describe(self, body: Body) -> None:
        kind, name = body.take(1), body.text()
        body.end()
        if kind == b"P":
            portal = self._extended.portal(name)
            statement = portal.prepared.statement
            if statement is None or statement.first in NO_ROWS:  # a Describe must not run it
                self._wire.send(message(b"n"))
                return
            with self._watched(self._left(portal)):
                self._describe_columns(self._begun(portal)[0].columns, portal.formats, says_none=True)
            return
        if kind != b"S":
            raise ClientError("08P01", f"{kind!r} is neither a statement nor a portal")
        prepared = self._extended.statement(name)
        types = [oid or TEXT.oid for oid in prepared.types]
        self._wire.send(message(b"t", int16(len(types)), *(struct.pack("!I", oid & 0xFFFFFFFF) for oid in types)))
        if prepared.columns is None:
            with self._watched(self._limit()):
                prepared.columns = self._columns(prepared)
        self._describe_columns(prepared.columns, [], says_none=True)

    def _columns(self, prepared: Prepared) -> list[tuple[str, PgType]]:
        statement = prepared.statement
        if statement is None:
            return []
        word = statement.first
        if word == "SHOW":  # it changes nothing
            reply = command(statement, self._transaction, self._settings)
            return reply.columns if reply else []
        if word not in ("SELECT", "WITH", "VALUES", "FROM", "(", "TABLE", "EXPLAIN", "PRAGMA", "DESCRIBE", "SUMMARIZE"):
            return []
        if self._source.holds_one_result:
            self._extended.hold_others(None)
        return self._source.columns(statement, [None] * len(prepared.types))

    def _execute(self, body: Body) -> None:
        portal, limit = self._extended.portal(body.text()), body.int32()
        body.end()
        if portal.prepared.statement is None:
            self._wire.send(message(b"I"))
            return
        with self._watched(self._left(portal)):
            self._send_rows(*self._begun(portal), max(limit, 0))

    def _begun(self, portal: Portal) -> tuple[Reply, Rows]:
        """Return the reply of a portal and its rows; run its statement if it has not begun."""
        if portal.reply is None or portal.rows is None:
            self._extended.check_running()
            statement = portal.prepared.statement
            reply = Reply("") if statement is None else self._run(statement, portal.prepared, portal.params, portal)
            try:
                rows = Rows(reply, portal.formats, self._limit())
            except ClientError:
                reply.close()
                raise
            portal.reply, portal.rows = reply, rows
        return portal.reply, portal.rows

    def _close(self, body: Body) -> None:
        kind, name = body.take(1), body.text()
        body.end()
        if kind not in (b"S", b"P"):
            raise ClientError("08P01", f"{kind!r} is neither a statement nor a portal")
        (self._extended.close_statement if kind == b"S" else self._extended.close_portal)(name)
        self._wire.send(message(b"3"))

    def _flush(self, body: Body) -> None:
        body.end()
        self._wire.flush()

    def _sync(self, body: Body) -> None:
        del body
        self._skipping = False
        if not self._transaction.is_open:
            self._extended.close_portals()
        self._ready()

    def _function_call(self, body: Body) -> None:
        del body
        raise ClientError("0A000", "function calls are not offered here: SELECT the function")

    def _ignore(self, body: Body) -> None:
        """Ignore data of a COPY: the client may send it before it gets the error."""

    # What both do

    def _run(
        self, statement: Statement, prepared: Prepared, params: list[object], portal: Portal | None = None
    ) -> Reply:
        reply = command(statement, self._transaction, self._settings)
        if reply is not None:
            if reply.tag in ("COMMIT", "ROLLBACK"):
                self._extended.close_portals()
            if reply.tag == "DISCARD ALL":
                self._extended.close_statements()
            if reply.tag == "DEALLOCATE":
                self._deallocate(statement)
            if reply.status is not None and reply.status[0] in REPORTED:
                self._report(REPORTED[reply.status[0]], reply.status[1])
            return reply
        if self._source.holds_one_result:
            self._extended.hold_others(portal)
        with told() as warnings:
            reply = self._source.run(statement, params, prepared.columns)
        if self._settings.show("client_min_messages").lower() not in ("error", "fatal", "panic"):
            for warning in warnings:
                self._wire.send(notice(warning))
        if len(reply.columns) > _MOST_COLUMNS:
            reply.close()
            raise ClientError("54011", f"the rows have {len(reply.columns):,} columns: the most are {_MOST_COLUMNS:,}")
        return reply

    def _deallocate(self, statement: Statement) -> None:
        """Forget a prepared statement: psycopg deallocates in SQL."""
        *_, last = statement.lexemes()
        if last.text.upper() == "ALL":
            self._extended.close_statements()
        else:
            self._extended.close_statement(unquoted(last) if last.kind == "name" else last.text.lower())

    def _describe_columns(
        self, columns: list[tuple[str, PgType]], formats: list[int], *, says_none: bool = False
    ) -> None:
        if not columns:
            self._wire.send(message(b"n") if says_none else b"")
            return
        parts = [int16(len(columns))]
        for (name, kind), form in zip(columns, formats_of(formats, len(columns)), strict=True):
            parts.append(text(name) + struct.pack("!ihihih", 0, 0, kind.oid, kind.size, -1, form))
        self._wire.send(message(b"T", *parts))

    def _send_rows(self, reply: Reply, rows: Rows, limit: int) -> None:
        """Send up to `limit` rows (0: all), and then whether there may be more."""
        if not reply.columns:
            self._wire.send(message(b"C", text(reply.tag)))
            return
        count = 0
        rows.was_held = False
        self._sent = rows
        try:
            for row in islice(rows, limit or None):
                self._wire.send(row)
                count += 1
        finally:
            self._sent = None
        if limit and count == limit:
            self._wire.send(message(b"s"))
            return
        self._wire.send(message(b"C", text(reply.tag if reply.tag == "SHOW" else f"{reply.tag} {count}")))

    # How long the engine is kept busy

    def _limit(self) -> float:
        """Return the seconds that a statement may take, including the time to send its rows."""
        return self._settings.seconds(self._seconds)

    def _left(self, portal: Portal) -> float:
        """Return the seconds that a portal has left; those of a new statement if it is not running."""
        if portal.rows is None or not portal.rows.is_running:
            return self._limit()
        return max(round(portal.rows.ends - time.monotonic(), 1), 0.1)

    def _while_sending(self) -> float | None:
        """End the statements whose time is over; return the seconds until the next one ends."""
        running = self._extended.suspended() + ([] if self._sent is None else [self._sent])
        for rows in running:
            rows.end_late()
        return min((rows.ends - time.monotonic() for rows in running if rows.is_running), default=None)

    def _while_silent(self, seconds: float) -> float | None:
        """Read rows that the client does not fetch into memory, so that the file is free for others."""
        left = self._while_sending()
        for rows in self._extended.suspended():
            if rows.was_held:
                continue
            if seconds < _MOMENT:
                return _MOMENT - seconds if left is None else min(_MOMENT - seconds, left)
            try:
                with self._watched(max(rows.ends - time.monotonic(), 0.0)):
                    self._extended.hold(rows, _HOLDING)
            except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the client gets it with the next rows
                rows.fail(error)
        return self._while_sending()

    @contextmanager
    def _watched(self, seconds: float) -> Iterator[None]:
        """Let the client, or the end of the time, stop what runs in the body."""
        watch, begun = Watch(self._source.interrupt, seconds), time.monotonic()
        try:
            with watch:
                with self._lock:
                    self._watch = watch
                try:
                    yield
                finally:
                    with self._lock:
                        self._watch = None
        except (Exception, KeyboardInterrupt) as error:
            if watch.asked and not isinstance(error, (Closed, FatalError)):
                raise ClientError("57014", "canceling statement due to user request") from error
            raise
        finally:
            self._was_long = self._was_long or time.monotonic() - begun > _LONG

    def _fail(self, error: BaseException) -> None:
        self._transaction.fail()
        self._wire.send(error_response(error, sqlstate(error)))
        self._wire.flush()  # asyncpg sends Flush, and waits for the error before it sends Sync
        if not self._transaction.is_open:
            self._extended.close_portals()

    def _report(self, name: str, value: str) -> None:
        self._wire.send(message(b"S", text(name), text(value)))

    def _ready(self) -> None:
        if self._was_long:
            self._was_long = False
            give_back()
        self._wire.send(message(b"Z", self._transaction.status))
        self._wire.flush()
