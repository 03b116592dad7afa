"""Prepared statements and portals of the extended protocol.

https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-EXT-QUERY
"""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass
from typing import Any

from sqlrag.serve.postgres.commands import Reply
from sqlrag.serve.postgres.encoding import decode
from sqlrag.serve.postgres.messages import Body
from sqlrag.serve.postgres.rows import Rows, formats_of
from sqlrag.serve.postgres.sqlstate import ClientError
from sqlrag.serve.postgres.statements import Statement, split
from sqlrag.serve.postgres.types import PgType

__all__ = ["Extended", "Portal", "Prepared"]

_MOST = 1_000
"""The most prepared statements and portals of a session, together."""

_MOST_RUNNING = 32
"""The most portals of a session whose statements have begun and not ended."""

_MOST_BYTES = 8 << 20
"""The most bytes of all statements and parameters that a session keeps."""

_HELD_BYTES = 8 << 20
"""The most bytes of the rows of suspended portals that a session keeps in memory."""

_PART = 100
"""Bytes that a column, a parameter or an element of an array takes in addition to its value."""


@dataclass
class Prepared:
    """A prepared statement, None for an empty one; its `columns` are known once it was described."""

    statement: Statement | None
    types: list[int]
    name: str = ""
    columns: list[tuple[str, PgType]] | None = None

    @property
    def size(self) -> int:
        """Bytes in memory."""
        text = self.statement.text if self.statement else ""
        return sys.getsizeof(self.name) + sys.getsizeof(text) + _PART * (len(self.types) + len(self.columns or ()))


@dataclass
class Portal:
    """A statement with its parameters, and its rows once it runs; `formats` are those of its columns, 1 is binary."""

    prepared: Prepared
    params: list[Any]
    formats: list[int]
    size: int
    reply: Reply | None = None
    rows: Rows | None = None

    def close(self) -> None:
        """End the statement."""
        if self.rows is not None:
            self.rows.end()


class Extended:
    """The prepared statements and portals of a session."""

    def __init__(self) -> None:
        self._statements: dict[str, Prepared] = {}
        self._portals: dict[str, Portal] = {}

    def parse(self, body: Body) -> None:
        """Keep a statement (Parse). Raises ClientError for several statements in one, or a name that is taken."""
        name, sql = body.text(), body.text()
        oids = [body.int32() for _ in range(body.count())]
        body.end()
        if name and name in self._statements:
            raise ClientError("42P05", f'prepared statement "{name}" already exists')
        found = split(sql)
        if len(found) > 1:
            raise ClientError("42601", "cannot insert multiple commands into a prepared statement")
        statement = found[0] if found else None
        types = statement.parameters if statement else []
        types = [*types, *[0] * (len(oids) - len(types))]
        types = [given or cast for given, cast in zip([*oids, *[0] * (len(types) - len(oids))], types, strict=True)]
        prepared = Prepared(statement, types, name)
        if not name:
            self._statements.pop("", None)
        self._check_room(prepared.size)
        self._statements[name] = prepared

    def bind(self, body: Body) -> None:
        """Keep a portal (Bind). Raises ClientError for parameters that do not fit the statement."""
        name, prepared = body.text(), self.statement(body.text())
        size = body.left + sys.getsizeof(name)
        formats = [body.int16() for _ in range(body.count())]
        count = body.count()
        if count != len(prepared.types):
            raise ClientError("08P01", f"the statement takes {len(prepared.types)} parameters, and {count} came")
        formats = formats_of(formats, count, "parameters")
        params = []
        for number, (oid, form) in enumerate(zip(prepared.types, formats, strict=True), 1):
            length = body.int32()
            # NULL has the length -1.
            params.append(None if length == -1 else decode(body.take(length), oid, binary=form == 1, number=number))
        result_formats = [body.int16() for _ in range(body.count())]
        body.end()
        if any(form not in (0, 1) for form in result_formats):
            raise ClientError("08P01", "a format is neither 0 (text) nor 1 (binary)")
        if name and name in self._portals:
            raise ClientError("42P03", f'portal "{name}" already exists')
        size += _PART * sum(1 + (len(one) if isinstance(one, list) else 0) for one in params)
        self.close_portal(name)
        self._check_room(size)
        self._portals[name] = Portal(prepared, params, result_formats, size)

    def statement(self, name: str) -> Prepared:
        """Return a prepared statement. Raises ClientError for an unknown name."""
        if name not in self._statements:
            raise ClientError("26000", f'prepared statement "{name}" does not exist')
        return self._statements[name]

    def portal(self, name: str) -> Portal:
        """Return a portal. Raises ClientError for an unknown name."""
        if name not in self._portals:
            raise ClientError("34000", f'portal "{name}" does not exist')
        return self._portals[name]

    def close_statement(self, name: str) -> None:
        """Forget a statement, and its portals."""
        gone = self._statements.pop(name, None)
        for portal in [portal for portal, one in self._portals.items() if one.prepared is gone]:
            self.close_portal(portal)

    def close_portal(self, name: str) -> None:
        """Forget a portal, if it exists."""
        portal = self._portals.pop(name, None)
        if portal is not None:
            portal.close()

    def close_portals(self) -> None:
        """Forget all portals: a transaction has ended."""
        for name in list(self._portals):
            self.close_portal(name)

    def close_statements(self) -> None:
        """Forget all statements."""
        for name in list(self._statements):
            self.close_statement(name)

    def suspended(self) -> list[Rows]:
        """Return the rows of the portals whose statements are open in the engine."""
        rows = (portal.rows for portal in self._portals.values())
        return [one for one in rows if one is not None and one.is_running]

    def check_running(self) -> None:
        """Raise ClientError if no further portal may begin."""
        if len(self.suspended()) >= _MOST_RUNNING:
            raise ClientError(
                "54000", f"{_MOST_RUNNING} portals have rows left, the most of a session: fetch or close them"
            )

    def hold(self, rows: Rows, seconds: float = math.inf) -> None:
        """Read the remaining rows of a portal into memory, as far as there is room and time."""
        others = (portal.rows for portal in self._portals.values())
        room = _HELD_BYTES - sum(one.held for one in others if one is not None and one is not rows)
        rows.hold(room, time.monotonic() + seconds)

    def hold_others(self, running: Portal | None) -> None:
        """Read what other portals have left into memory, so that another statement can use the connection."""
        for rows in self.suspended():
            if running is not None and rows is running.rows:
                continue
            self.hold(rows)
            if rows.is_running:
                left = f"more than {_HELD_BYTES >> 20} MB of rows were left when another statement came"
                rows.end(ClientError("54000", f"{left}: read them first, or ask for fewer with LIMIT"))

    def _check_room(self, size: int) -> None:
        kept: list[Prepared | Portal] = [*self._statements.values(), *self._portals.values()]
        if len(kept) >= _MOST or size + sum(one.size for one in kept) > _MOST_BYTES:
            raise ClientError(
                "54000",
                f"a session keeps {_MOST:,} statements and portals of {_MOST_BYTES >> 20} MB at most: close some",
            )
