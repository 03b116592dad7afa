"""Table-valued functions: what one is, how SQLite plans a call of it, and how its rows are read.

This is the same for APSW (`apsw_tables`) and for the standard library's module (`stdlib_tables`). SQLite passes the
arguments as equality constraints on hidden columns: see https://www.sqlite.org/vtab.html#tabfunc2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from sqlrag.errors import InputError

__all__ = ["Call", "Constraints", "SQLValue", "Scan", "TableFunction", "plan"]

SQLValue: TypeAlias = "int | float | str | bytes | None"
"""A value as SQLite stores it; see https://www.sqlite.org/datatype3.html."""

_COST = 10_000.0
"""The cost of one call, in the planner's unit (about one row read).

A model call and a search take as long as thousands of row reads. A high cost also keeps the call out of inner loops:
where the function comes first the planner pays it once, elsewhere once for each row.
"""

_ROWS = 25
"""The number of rows that the planner is told to expect: so few that it looks up their partners one by one."""


@dataclass(frozen=True)
class TableFunction:
    """A table-valued function: `SELECT columns FROM name(parameters)`.

    `rows` is called with one value for each parameter, `None` for those that were left out, and returns the whole
    result, in order. The first `required` parameters must be given; the rest have defaults, which NULL stands for too.
    """

    name: str
    columns: tuple[str, ...]
    parameters: tuple[str, ...]
    required: int
    rows: Callable[..., Sequence[tuple[SQLValue, ...]]]

    def declaration(self) -> str:
        """Return the CREATE TABLE text that tells SQLite the columns, and the parameters as hidden columns.

        See https://www.sqlite.org/vtab.html#hidden_columns_in_virtual_tables.
        """
        visible = [f'"{column}"' for column in self.columns]
        hidden = [f'"{parameter}" HIDDEN' for parameter in self.parameters]
        return f"CREATE TABLE x({', '.join(visible + hidden)})"

    def complaint(self, given: set[int]) -> str:
        """Return the error for a call without a required parameter; `given` are the numbers of those that came."""
        wanted = ", ".join(self.parameters[: self.required])
        got = ", ".join(self.parameters[number] for number in sorted(given)) or "nothing"
        return f"{self.name}() needs {wanted}: got {got}"


@dataclass(frozen=True)
class Call:
    """How SQLite may call a table function in one place of a statement."""

    given: int
    """Which parameters have a value: bit i stands for parameter i."""
    rows: int
    cost: float | None
    """None: SQLite's default, which is the highest."""


class Constraints(Protocol):
    """What SQLite's planner tells of one place of a statement, as each module has it."""

    def equalities(self) -> Iterable[tuple[int, int, bool]]:
        """Return `(number, column, is usable)` of each equality constraint."""

    def use(self, number: int, position: int) -> None:
        """Take the value of a constraint as the argument at a position, from 1.

        SQLite need not compare it with the hidden column itself: NULL would not equal NULL.
        """


def plan(function: TableFunction, constraints: Constraints) -> Call | None:
    """Choose the constraints that are arguments.

    Returns None when an argument depends on a table that has not been read yet: another order of the join may know it.
    """
    usable: dict[int, int] = {}
    waiting: set[int] = set()
    for number, column, is_usable in constraints.equalities():
        parameter = column - len(function.columns)
        if parameter < 0:
            continue
        if is_usable:
            usable.setdefault(parameter, number)
        else:
            waiting.add(parameter)
    if waiting - usable.keys():
        return None
    for position, parameter in enumerate(sorted(usable), start=1):
        constraints.use(usable[parameter], position)
    # A missing argument is not an error yet: the planner also asks about single terms of an OR, without the arguments.
    # At the highest cost such a plan wins only when there is no other.
    is_callable = all(parameter in usable for parameter in range(function.required))
    return Call(sum(1 << parameter for parameter in usable), _ROWS, _COST if is_callable else None)


class Scan:
    """A cursor over the rows of one call after another."""

    def __init__(self, function: TableFunction) -> None:
        self._function = function
        self._arguments: tuple[SQLValue, ...] = ()
        self._called_with: object = None
        self._rows: Sequence[tuple[SQLValue, ...]] = ()
        self._position = 0

    def start(self, given: int, values: Iterable[SQLValue]) -> None:
        """Go to the first row of the call with these values for the parameters in the bit mask `given`.

        Equal arguments twice in a row call the function once: a planner that makes it the inner loop of a join starts
        it again for every outer row. Raises InputError when a required argument is missing.
        """
        numbers = {number for number in range(len(self._function.parameters)) if given >> number & 1}
        if not numbers.issuperset(range(self._function.required)):
            raise InputError(self._function.complaint(numbers))
        remaining = iter(values)
        arguments = tuple(
            next(remaining) if number in numbers else None for number in range(len(self._function.parameters))
        )
        # 1 and 1.0 are equal in Python and different in SQL.
        called_with = (arguments, tuple(map(type, arguments)))
        if called_with != self._called_with:
            self._called_with = None
            self._rows = self._function.rows(*arguments)
            self._arguments, self._called_with = arguments, called_with
        self._position = 0

    def at_end(self) -> bool:
        """Return whether there is no current row."""
        return self._position >= len(self._rows)

    def advance(self) -> None:
        """Go to the next row."""
        self._position += 1

    def rowid(self) -> int:
        """Return the position of the current row, from 1."""
        return self._position + 1

    def value(self, column: int) -> SQLValue:
        """Return a column of the current row, or the argument behind a hidden one."""
        visible = len(self._function.columns)
        return self._rows[self._position][column] if column < visible else self._arguments[column - visible]
