"""Statements that the server answers itself: transactions, settings, and what it does not offer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import dropwhile
from typing import Any

from sqlrag.serve.postgres.settings import Settings
from sqlrag.serve.postgres.sqlstate import ClientError
from sqlrag.serve.postgres.statements import Statement
from sqlrag.serve.postgres.types import TEXT, PgType
from sqlrag.values.sql_lexer import Lexeme

__all__ = ["NO_ROWS", "Reply", "Transaction", "command", "unquoted"]


@dataclass
class Reply:
    """The answer to a statement: its command tag, and its columns and rows; without columns it has no rows."""

    tag: str
    columns: list[tuple[str, PgType]] = field(default_factory=list)
    rows: Iterator[tuple[Any, ...]] = field(default_factory=lambda: iter(()))
    close: Callable[[], None] = lambda: None
    status: tuple[str, str] | None = None
    """A setting that changed, and its value: the client gets them as ParameterStatus."""


class Transaction:
    """A transaction as the client sees it. The database is only read, so nothing begins or ends there."""

    def __init__(self) -> None:
        self.is_open = False
        self.has_failed = False

    @property
    def status(self) -> bytes:
        """The status in ReadyForQuery."""
        return b"E" if self.is_open and self.has_failed else b"T" if self.is_open else b"I"

    def fail(self) -> None:
        """Note an error: until the transaction ends, further statements are refused."""
        self.has_failed = self.is_open

    def check(self, word: str) -> None:
        """Raise ClientError for a statement after one that failed, unless it ends the transaction."""
        if self.has_failed and word not in ("ROLLBACK", "ABORT", "COMMIT", "END"):
            raise ClientError(
                "25P02", "current transaction is aborted, commands ignored until end of transaction block"
            )

    def begin(self) -> Reply:
        """Begin a transaction."""
        self.is_open = True
        return Reply("BEGIN")

    def end(self, tag: str) -> Reply:
        """End the transaction; after an error COMMIT is a ROLLBACK, as in PostgreSQL."""
        tag = "ROLLBACK" if self.has_failed else tag
        self.is_open = self.has_failed = False
        return Reply(tag)


_NOT_HERE = {
    "COPY": "COPY is not offered here: SELECT the rows instead",
    "DECLARE": "cursors of SQL are not offered here: a driver's fetch size gives the rows in parts",
    "FETCH": "cursors of SQL are not offered here: a driver's fetch size gives the rows in parts",
    "MOVE": "cursors of SQL are not offered here: a driver's fetch size gives the rows in parts",
    "PREPARE": "PREPARE is not offered here: a driver prepares statements by the protocol",
    "EXECUTE": "EXECUTE is not offered here: a driver prepares statements by the protocol",
    "LISTEN": "LISTEN is not offered here: nothing changes that could be told",
    "NOTIFY": "NOTIFY is not offered here: nothing changes that could be told",
    "LOCK": "LOCK is not offered here: this database is only read",
}


NO_ROWS = frozenset(
    {"ABORT", "BEGIN", "CLOSE", "COMMIT", "DEALLOCATE", "DISCARD", "END", "RELEASE", "RESET", "ROLLBACK", "SAVEPOINT",
     "SET", "START", "UNLISTEN"}
)  # fmt: skip
"""The first words of the statements that are accepted and give no rows."""


def command(  # noqa: PLR0911 - one return for each kind of statement
    statement: Statement, transaction: Transaction, settings: Settings
) -> Reply | None:
    """Return the reply to a statement that the server answers itself, None for one that the engine runs.

    Raises ClientError for a statement that this server does not offer.
    """
    first = statement.first
    transaction.check(first)
    if first in _NOT_HERE:
        raise ClientError("0A000", _NOT_HERE[first])
    if first in ("BEGIN", "START"):
        _check_mode(statement.words())
        return transaction.begin()
    if first in ("COMMIT", "END"):
        return transaction.end("COMMIT")
    if first == "ABORT" or (first == "ROLLBACK" and "TO" not in statement.words()):
        return transaction.end("ROLLBACK")
    if first in ("SAVEPOINT", "RELEASE", "ROLLBACK"):
        transaction.has_failed = False  # ROLLBACK TO: nothing was written, so it is as before
        return Reply(first)
    if first in ("SET", "RESET", "SHOW"):
        return {"SET": _set, "RESET": _reset, "SHOW": _show}[first](statement, settings)
    if first == "DISCARD":
        settings.reset()
        return Reply("DISCARD ALL")
    return Reply(first) if first in ("DEALLOCATE", "CLOSE", "UNLISTEN") else None


def _check_mode(words: Iterable[str]) -> None:
    if "WRITE" in words:
        raise ClientError("25006", "cannot set transaction read-write mode: this database is only read here")


def _set(statement: Statement, settings: Settings) -> Reply:
    said = dropwhile(lambda text: text.upper() in ("SET", "SESSION", "LOCAL"), map(unquoted, statement.lexemes()))
    texts = list(said)
    words = [text.upper() for text in texts]
    if words[:1] in (["TRANSACTION"], ["CHARACTERISTICS"]):
        _check_mode(words)
        return Reply("SET")
    if words[:1] in (["ROLE"], ["AUTHORIZATION"]):
        raise ClientError("0A000", "there is one role here: sqlrag")
    if words[:2] == ["TIME", "ZONE"]:
        texts = ["timezone", "=", *texts[2:]]
    elif words[:1] == ["NAMES"]:
        texts = ["client_encoding", "=", *texts[1:]]
    place = next((at for at, text in enumerate(texts) if text == "=" or text.upper() == "TO"), 0)
    if not 0 < place < len(texts) - 1:
        raise ClientError("42601", "SET takes a name, = and a value")
    name = settings.set("".join(texts[:place]), " ".join(texts[place + 1 :]).replace(" ,", ","))
    return Reply("SET", status=(name, settings.show(name)))


def _reset(statement: Statement, settings: Settings) -> Reply:
    name = "".join(map(unquoted, statement.lexemes()))[len("RESET") :]
    settings.reset(None if name.upper() in ("", "ALL") else name)
    return Reply("RESET")


def _show(statement: Statement, settings: Settings) -> Reply:
    words = [unquoted(one).lower() for one in statement.lexemes()][1:]
    name = {("transaction", "isolation", "level"): "transaction_isolation", ("time", "zone"): "timezone"}.get(
        tuple(words), "".join(words)
    )
    if name == "all":
        columns = [("name", TEXT), ("setting", TEXT), ("description", TEXT)]
        return Reply("SHOW", columns, iter([(*item, "") for item in sorted(settings.all().items())]))
    return Reply("SHOW", [(name, TEXT)], iter([(settings.show(name),)]))


def unquoted(one: Lexeme) -> str:
    """Return a lexeme's text, of a name or plain string without its quotes."""
    return one.value if one.kind == "name" or (one.kind == "string" and one.text[0] == "'") else one.text
