"""Planning and reading a table function, the same for APSW and for the standard library's module.

See https://www.sqlite.org/vtab.html#tabfunc2: SQLite passes the arguments of a table function as equality
constraints on its hidden columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlrag.engines.sqlite.table_functions import SQLValue, TableFunction
from sqlrag.errors import InputError

__all__ = ["ESTIMATED_COST", "ESTIMATED_ROWS", "Plan", "Scan", "plan"]

ESTIMATED_COST = 10_000.0
"""What one call costs, in the planner's unit (about one row read).

A model call and a search take as long as thousands of row reads. A high price also keeps the call out of
inner loops: the planner pays it once where the function comes first, and once per row where it does not.
"""

ESTIMATED_ROWS = 25
"""How many rows the planner is told to expect: few, so that it looks up their partners one by one."""


@dataclass(frozen=True)
class Plan:
    """How SQLite may call a table function in one place of a statement."""

    given: int
    """Which parameters have a value: bit i stands for parameter i."""
    constraints: tuple[int, ...]
    """The number of the constraint that gives each of these values, in the order of the parameters."""
    callable: bool
    """Whether the required parameters are among them."""


def plan(function: TableFunction, equalities: Iterable[tuple[int, int, bool]]) -> Plan | None:
    """Choose the constraints that are arguments, among `(number, column, usable)` of all equalities.

    Returns None when an argument depends on a table that has not been read yet: another order of the join
    may know it.
    """
    usable: dict[int, int] = {}
    waiting: set[int] = set()
    for number, column, is_usable in equalities:
        parameter = column - len(function.columns)
        if parameter < 0:
            continue
        if is_usable:
            usable.setdefault(parameter, number)
        else:
            waiting.add(parameter)
    if waiting - usable.keys():
        return None
    parameters = sorted(usable)
    return Plan(
        given=sum(1 << parameter for parameter in parameters),
        constraints=tuple(usable[parameter] for parameter in parameters),
        # A missing argument is no error yet: the planner also asks about single terms of an OR, without the
        # arguments. Whoever leaves the price of such a plan at SQLite's default, the highest, lets it win
        # only when there is no other.
        callable=all(parameter in usable for parameter in range(function.required)),
    )


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

        Equal arguments twice in a row call the function once: a planner that makes it the inner loop of a
        join starts it again for every outer row. Raises InputError when a required argument is missing.
        """
        places = {place for place in range(len(self._function.parameters)) if given >> place & 1}
        if not places.issuperset(range(self._function.required)):
            raise InputError(self._function.complaint(places))
        remaining = iter(values)
        arguments = tuple(
            next(remaining) if place in places else None for place in range(len(self._function.parameters))
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
