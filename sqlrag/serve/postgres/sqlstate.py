"""Errors for PostgreSQL's clients, and SQLSTATE: the five characters by which a program tells them apart.

https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from __future__ import annotations

import re

from sqlrag import errors

__all__ = ["ClientError", "FatalError", "sqlstate"]


class ClientError(errors.Error):
    """A statement or message that the server refuses; the session goes on."""

    severity = "ERROR"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class FatalError(ClientError):
    """An error that ends the connection."""

    severity = "FATAL"


# The first class that fits; a subclass stands before its base.
_CODES: tuple[tuple[type[BaseException], str], ...] = (
    (errors.FilterError, "42601"),  # syntax_error
    (errors.InputError, "22023"),  # invalid_parameter_value
    (errors.UnknownIndexError, "42704"),  # undefined_object
    (errors.UnknownModelError, "42704"),
    (errors.UnknownChunkError, "P0002"),  # no_data_found
    (errors.ModelFileError, "58030"),  # io_error
    (errors.ModelMismatchError, "55000"),  # object_not_in_prerequisite_state
    (errors.RerankLimitError, "54000"),  # program_limit_exceeded
    (errors.TimeLimitError, "57014"),  # query_canceled
    (errors.SourceError, "58030"),
    (errors.MissingDependencyError, "0A000"),  # feature_not_supported
    (errors.NotADatabaseError, "XX001"),  # data_corrupted
    (errors.SchemaVersionError, "0A000"),
    (errors.SourceGoneError, "42P01"),  # undefined_table
    (errors.ReadOnlyError, "25006"),  # read_only_sql_transaction
    (errors.LockedError, "55P03"),  # lock_not_available
    (errors.DiskFullError, "53100"),  # disk_full
    (errors.DatabaseError, "58000"),  # system_error
    (errors.ServerError, "58000"),
    (MemoryError, "53200"),  # out_of_memory
    (OSError, "53000"),  # insufficient_resources: only files of the database and the models are opened here
)

# Patterns of the engines' messages in a SQLError; any other message is 42000.
_WORDS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), code)
    for pattern, code in (
        (r"no such table|table with name .* does not exist", "42P01"),
        (r"no such column|referenced (?:column|table) .* not found|does not have a column", "42703"),
        (r"no such function|function with name .* does not exist|no function matches", "42883"),
        (r"ambiguous", "42702"),
        (r"division by zero|divide by zero", "22012"),
        (r"syntax error|parser error|incomplete input|unrecognized token", "42601"),
        (r"conversion error|mismatch type|could not convert", "22P02"),
        (r"out of range|integer overflow", "22003"),
        (r"out of memory", "53200"),
        (r"too big|too deeply|the statement has|statements in one", "54000"),
    )
)


def sqlstate(error: BaseException) -> str:
    """Return the code of an error; XX000 (internal_error) for an unexpected one."""
    if isinstance(error, ClientError):
        return error.code
    if isinstance(error, errors.SQLError):
        return next((code for pattern, code in _WORDS if pattern.search(str(error))), "42000")
    return next((code for kind, code in _CODES if isinstance(error, kind)), "XX000")
