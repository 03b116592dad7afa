"""Every error that sqlrag raises, one tree.

    Error
    ├── InputError (ValueError)          an argument is wrong: which, its value, what would be right
    │   └── FilterError                  a `filter` that is not an expression over the table's columns
    ├── UnknownIndexError (LookupError)  no such index in this database
    ├── UnknownChunkError (LookupError)  the index has no chunk of this id
    ├── UnknownModelError (LookupError)  no such model, bundled, pulled or given to `connect`
    ├── ModelFileError                   a model's file is not what was exported, or an export is not what it should be
    ├── ModelMismatchError               the index was made with another model, or a vector with another one
    ├── RerankLimitError                 one statement would score more pairs than `rerank_limit`
    ├── TimeLimitError                   a statement ran longer than a server allows
    ├── ServerError                      `sqlrag serve` is not there, busy, fails, or does not keep to its protocol
    ├── SQLError                         a statement that the engine cannot run: its own words
    ├── SourceError                      a file or folder cannot be read as documents
    ├── MissingDependencyError (ImportError)  an extra is not installed, or this Python can't load extensions
    └── DatabaseError                    the database file itself
        ├── NotADatabaseError            the file is something else, or damaged
        ├── SchemaVersionError           made by a newer sqlrag
        ├── SourceGoneError              the table that an index is over has gone, or has lost a column
        ├── ReadOnlyError                a write, and the file or the connection is read-only
        ├── LockedError                  another process holds the file
        └── DiskFullError                no space left; what was committed stays

And one warning, BacklogWarning: an index does not have all rows of its table yet.

Those that stand for a built-in error inherit from it too, so `except ValueError` works as people expect.
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
    """Base of every error that sqlrag raises on purpose."""


class InputError(Error, ValueError):
    """An argument is wrong: the message names it, its value and what would be right."""


class FilterError(InputError):
    """A `filter` that is not one boolean expression over the columns of the indexed table."""


class UnknownIndexError(Error, LookupError):
    """There is no index of this name in the database."""


class UnknownChunkError(Error, LookupError):
    """The index has no chunk of this id."""


class UnknownModelError(Error, LookupError):
    """There is no model of this name among the bundled ones, the pulled ones and those given to `connect`."""


class ModelFileError(Error):
    """A model's file is not the one that was exported, or an export does not compute what the original does."""


class ModelMismatchError(Error):
    """The index, or a vector, was made with another model than the one that is asked for."""


class RerankLimitError(Error):
    """One statement would score more (query, text) pairs than `rerank_limit` allows."""


class TimeLimitError(Error):
    """A statement took longer than whoever offers the database allows; it was stopped."""


class ServerError(Error):
    """A server is not there, has too much to do, has failed, or does not keep to its protocol."""


class SQLError(Error):
    """A statement that the engine cannot run; the message is the engine's own."""


class SourceError(Error):
    """A file or folder cannot be read as documents."""


class MissingDependencyError(Error, ImportError):
    """Something that is not installed is needed; the message says how to install it."""


class DatabaseError(Error):
    """The database file cannot be used as asked."""


class NotADatabaseError(DatabaseError):
    """The file is not a database of this engine, or it is damaged."""


class SchemaVersionError(DatabaseError):
    """The database was made by a newer sqlrag than this one."""


class SourceGoneError(DatabaseError):
    """The table that an index is over has gone, or does not have a column any more that the index needs."""


class ReadOnlyError(DatabaseError):
    """A write was asked of a database that is open read-only, or whose file cannot be written."""


class LockedError(DatabaseError):
    """Another process holds the database."""


class DiskFullError(DatabaseError):
    """There is no space left; everything that was committed before is intact."""


def error_named(name: object, message: object) -> Error:
    """Return the error of another process, of its class where this version knows it."""
    kind = globals().get(name) if isinstance(name, str) and name in __all__ else None
    if not (isinstance(kind, type) and issubclass(kind, Error)):
        kind = ServerError
    return kind(str(message))


class BacklogWarning(UserWarning):
    """An index over a table does not have all rows of the table yet; the message says how many it lacks."""
