"""The rows of a statement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from sqlrag.values.arguments import check_count

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["Result", "Rows", "columns_of"]


class Rows(Protocol):
    """The rows of one statement, as an engine holds them."""

    columns: list[str]

    @property
    def types(self) -> list[str | None]:
        """The type of each column in the engine's own words."""

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Iterate over the rows that have not been read."""

    def arrow(self) -> pa.Table:
        """Return the rows that have not been read as an Arrow table."""

    def close(self) -> None:
        """Discard the rows that have not been read."""


class Result:
    """The rows of a statement. They can be read once: by iterating, fetching, or as an Arrow table or a DataFrame.

    Examples:
        >>> result = db.execute("SELECT title FROM documents ORDER BY title")
        >>> result.columns, result.fetchone(), result.fetchall()
        (['title'], ('Backups',), [('Migrations',), ('Tea',)])
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._iterator: Iterator[tuple[Any, ...]] | None = None

    @property
    def columns(self) -> list[str]:
        """The names of the columns; empty for a statement that returns none."""
        return self._rows.columns

    @property
    def types(self) -> list[str | None]:
        """The type of each column in the engine's own words; None where SQLite declares none, as for an expression."""
        return self._rows.types

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        if self._iterator is None:
            self._iterator = iter(self._rows)
        return self._iterator

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the next row, or None after the last one."""
        return next(iter(self), None)

    def fetchmany(self, size: int = 1) -> list[tuple[Any, ...]]:
        """Return the next rows, at most `size` of them. Raises InputError if `size` is not a count."""
        size = check_count("fetchmany", "size", size)
        return [row for _, row in zip(range(size), self, strict=False)]

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return all rows that have not been read."""
        return list(self)

    def close(self) -> None:
        """Discard the rows that have not been read, so that the statement ends."""
        self._rows.close()

    def arrow(self) -> pa.Table:
        """Return all rows that have not been read as a `pyarrow.Table`."""
        return self._rows.arrow()

    def df(self) -> pd.DataFrame:
        """Return all rows that have not been read as a `pandas.DataFrame`.

        Raises MissingDependencyError without pandas: pip install "sqlrag[pandas]".
        """
        try:
            import pandas as pd  # noqa: F401 - pyarrow's error would not say what to install
        except ImportError as error:
            from sqlrag.errors import MissingDependencyError

            raise MissingDependencyError('df() needs pandas: pip install "sqlrag[pandas]"') from error
        return self.arrow().to_pandas()


def columns_of(description: Sequence[Any] | None) -> list[str]:
    """Return the column names of a DB-API cursor description."""
    return [str(column[0]) for column in description or ()]
