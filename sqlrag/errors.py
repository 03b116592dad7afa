"""All errors that sqlrag raises, as one tree, and its one warning.

    Error
    ├── InputError (ValueError)               an argument is wrong
    │   └── FilterError                       a filter is not an expression over the table's columns
    ├── UnknownIndexError (LookupError)       the database has no such index
    ├── UnknownChunkError (LookupError)       the index has no such chunk
    ├── UnknownModelError (LookupError)       no model of this name is bundled, pulled or given
    ├── ModelFileError                        a model's file is damaged, or an export is inaccurate
    ├── ModelMismatchError                    a vector or index belongs to another model
    ├── RerankLimitError                      a statement would score more pairs than `rerank_limit`
    ├── TimeLimitError                        a server stopped a statement that took too long
    ├── ServerError                           a server is missing, busy or broken
    ├── SQLError                              the engine cannot run the statement
    ├── SourceError                           a file or folder cannot be read
    ├── MissingDependencyError (ImportError)  something must be installed first
    └── DatabaseError                         the database file cannot be used
        ├── NotADatabaseError                 the file is damaged, or something else
        ├── SchemaVersionError                a newer sqlrag made the file
        ├── SourceGoneError                   an indexed table, or a column of it, is gone
        ├── ReadOnlyError                     a write to something that is read-only
        ├── LockedError                       another process holds the file
        └── DiskFullError                     no space is left

    BacklogWarning (UserWarning)              an index lacks rows of its table

Errors in parentheses are built-in ones that the error inherits from as well, so `except ValueError` works as usual.

Examples:
    >>> from sqlrag.errors import Error, UnknownIndexError
    >>> try:
    ...     db.search("why?", "letters")
    ... except UnknownIndexError as error:
    ...     print("no such index")
    ... except Error as error:
    ...     print("something else of sqlrag's:", error)
    no such index
"""

from __future__ import annotations

__all__ = [
    "BacklogWarning",
    "DatabaseError",
    "DiskFullError",
    "Error",
    "FilterError",
    "InputError",
    "LockedError",
    "MissingDependencyError",
    "ModelFileError",
    "ModelMismatchError",
    "NotADatabaseError",
    "ReadOnlyError",
    "RerankLimitError",
    "SQLError",
    "SchemaVersionError",
    "ServerError",
    "SourceError",
    "SourceGoneError",
    "TimeLimitError",
    "UnknownChunkError",
    "UnknownIndexError",
    "UnknownModelError",
]


class Error(Exception):
    """The base of all errors that sqlrag raises on purpose."""


class InputError(Error, ValueError):
    """An argument is wrong. The message names it, its value and what is accepted."""


class FilterError(InputError):
    """A filter is not a single boolean expression over the columns of the indexed table."""


class UnknownIndexError(Error, LookupError):
    """The database has no index of this name."""


class UnknownChunkError(Error, LookupError):
    """The index has no chunk with this id."""


class UnknownModelError(Error, LookupError):
    """No model of this name is bundled with sqlrag, pulled, or given to `connect`."""


class ModelFileError(Error):
    """A model's file is not the one that was exported, or an export computes something other than its original."""


class ModelMismatchError(Error):
    """An index, or a vector, was made with another model than the one in use."""


class RerankLimitError(Error):
    """One statement would score more pairs of query and text than `rerank_limit` allows."""


class TimeLimitError(Error):
    """A statement took longer than a server allows, and was stopped."""


class ServerError(Error):
    """A server is missing, overloaded or broken, or does not follow its protocol."""


class SQLError(Error):
    """The engine cannot run the statement. The message is the engine's own."""


class SourceError(Error):
    """A file or folder cannot be read as documents."""


class MissingDependencyError(Error, ImportError):
    """Something is not installed. The message says how to install it."""


class DatabaseError(Error):
    """The database file cannot be used in this way."""


class NotADatabaseError(DatabaseError):
    """The file is not a database of this engine, or it is damaged."""


class SchemaVersionError(DatabaseError):
    """A newer version of sqlrag made the database."""


class SourceGoneError(DatabaseError):
    """The table that an index is over, or a column that the index needs, is gone."""


class ReadOnlyError(DatabaseError):
    """A write to a database that is open read-only, or whose file cannot be written."""


class LockedError(DatabaseError):
    """Another process holds the database."""


class DiskFullError(DatabaseError):
    """The disk is full. Whatever was committed before is intact."""


def error_named(name: object, message: object) -> Error:
    """Return an error that another process reported: of the same class, or a ServerError if the class is unknown."""
    kind = globals().get(name) if isinstance(name, str) and name in __all__ else None
    if not (isinstance(kind, type) and issubclass(kind, Error)):
        kind = ServerError
    return kind(str(message))


class BacklogWarning(UserWarning):
    """An index over a table lacks rows of the table. The message says how many."""
