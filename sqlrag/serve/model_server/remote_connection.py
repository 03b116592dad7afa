"""The database of an extension's client, as the server reads it: the client runs each statement."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqlrag.serve.model_server.protocol import Frame, ProtocolError, query_body, read_row, read_table
from sqlrag.store.driver.error_translation import apsw_error
from sqlrag.store.statements import statement

__all__ = ["RemoteConnection", "RemoteScores"]


class RemoteConnection:
    """An `sqlrag.store.registry.Connection` for reading. `ask` sends a QUERY and returns the frame that answers it."""

    def __init__(self, ask: Callable[[bytes], tuple[Frame, bytes]]) -> None:
        self._ask = ask

    def execute(self, statement: str, bindings: Any = None, /) -> list[tuple[Any, ...]]:
        """Run a statement on the client's connection and return its rows. Raises apsw.Error as APSW would."""
        kind, body = self._ask(query_body(statement, bindings))
        if kind == Frame.ROWS:
            return read_table(body)
        code, message, *_ = read_row(body, least=2)
        if not isinstance(code, int) or not isinstance(message, str):
            raise ProtocolError("FAILED takes a result code and a message")
        raise apsw_error(code, message)

    @staticmethod
    def getautocommit() -> bool:
        """Return False: the server does not know whether the client has a transaction open."""
        return False

    @staticmethod
    def txn_state() -> int:
        """Return apsw.SQLITE_TXN_READ: the statement that calls the function reads at least."""
        return 1


class RemoteScores:
    """A `sqlrag.store.scores.ScoreCache` that only counts the rows in the client's database: the server writes none."""

    is_on = False

    def __init__(self, connection: RemoteConnection) -> None:
        self._connection = connection

    def read(self, model: bytes, pairs: Iterable[bytes]) -> dict[bytes, float]:  # noqa: ARG002 - the protocol's
        """Return no scores."""
        return {}

    def keep(self, model: bytes, scores: Mapping[bytes, float]) -> None:
        """Keep nothing."""

    def flush(self) -> None:
        """Write nothing."""

    def counts(self) -> tuple[int, int] | None:
        """Return the number of rows and of hits; None if the database has no such table."""
        there = "SELECT 1 FROM main.sqlite_schema WHERE name = 'sqlrag_scores'"
        if not self._connection.execute(there):
            return None
        ((count, hits),) = self._connection.execute(statement("index/scores/counts"))
        return int(count), int(hits)
