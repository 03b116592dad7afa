"""What a table function is, whoever binds it to SQLite (APSW or the standard library's module)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

SQLValue: TypeAlias = "int | float | str | bytes | None"
"""What SQLite stores; see https://www.sqlite.org/datatype3.html."""


@dataclass(frozen=True)
class TableFunction:
    """A table-valued function: `SELECT columns FROM name(parameters)`.

    `rows` is called with one value for each parameter, `None` for those that were left out, and returns
    the whole result, in order. `required` parameters must be given; the rest have defaults, for which NULL
    stands too.
    """

    name: str
    columns: tuple[str, ...]
    parameters: tuple[str, ...]
    required: int
    rows: Callable[..., Sequence[tuple[SQLValue, ...]]]

    def declaration(self) -> str:
        """Return the CREATE TABLE text that tells SQLite the columns, the parameters as HIDDEN ones.

        See https://www.sqlite.org/vtab.html#hidden_columns_in_virtual_tables.
        """
        visible = [f'"{column}"' for column in self.columns]
        hidden = [f'"{parameter}" HIDDEN' for parameter in self.parameters]
        return f"CREATE TABLE x({', '.join(visible + hidden)})"

    def complaint(self, given: set[int]) -> str:
        """Return the error for a call without a required parameter; `given` are the places of those that came."""
        wanted = ", ".join(self.parameters[: self.required])
        got = ", ".join(self.parameters[place] for place in sorted(given)) or "nothing"
        return f"{self.name}() needs {wanted}: got {got}"
