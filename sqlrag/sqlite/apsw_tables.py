"""Table functions in an APSW connection (https://rogerbinns.github.io/apsw/vtable.html)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import apsw

from sqlrag.errors import InputError

if TYPE_CHECKING:
    from sqlrag.sqlite.table_functions import SQLValue, TableFunction

__all__ = ["create"]

_ROWS = 25
"""How many rows the planner is told to expect: few, so that the joins start from them."""


def create(connection: apsw.Connection, function: TableFunction) -> None:
    """Make `function` callable in FROM: `SELECT ... FROM name(argument, ...)`."""
    connection.create_module(
        function.name, _Module(function), use_bestindex_object=True, eponymous_only=True, read_only=True
    )


class _Module:
    def __init__(self, function: TableFunction) -> None:
        self._function = function

    def Connect(self, *_: Any) -> tuple[str, _Table]:
        return self._function.declaration(), _Table(self._function)

    Create = Connect


class _Table:
    def __init__(self, function: TableFunction) -> None:
        self._function = function

    def BestIndexObject(self, info: apsw.IndexInfo) -> bool:
        """Take the equalities on hidden columns as arguments; `idxStr` lists which they are, in order."""
        function = self._function
        given: dict[int, int] = {}
        named: set[int] = set()
        for constraint in range(info.nConstraint):
            parameter = info.get_aConstraint_iColumn(constraint) - len(function.columns)
            if parameter >= 0 and info.get_aConstraint_op(constraint) == apsw.SQLITE_INDEX_CONSTRAINT_EQ:
                named.add(parameter)
                if info.get_aConstraint_usable(constraint):
                    given.setdefault(parameter, constraint)
        missing = set(range(function.required)) - named
        if missing:
            raise InputError(function.complaint(named))
        if named - given.keys():
            return False  # an argument comes from a table that this plan reads later: another plan, please
        for place, parameter in enumerate(sorted(given), start=1):
            info.set_aConstraintUsage_argvIndex(given[parameter], place)
            info.set_aConstraintUsage_omit(given[parameter], True)
        info.idxStr = ",".join(map(str, sorted(given)))
        info.estimatedRows = _ROWS
        info.estimatedCost = float(_ROWS)
        return True

    def Open(self) -> _Cursor:
        return _Cursor(self._function)

    def Disconnect(self) -> None:
        pass

    Destroy = Disconnect


class _Cursor:
    def __init__(self, function: TableFunction) -> None:
        self._function = function
        self._arguments: list[SQLValue] | None = None
        self._rows: Sequence[tuple[SQLValue, ...]] = ()
        self._place = 0

    def Filter(self, _number: int, parameters: str, values: tuple[SQLValue, ...]) -> None:
        arguments: list[SQLValue] = [None] * len(self._function.parameters)
        for parameter, value in zip(filter(None, parameters.split(",")), values, strict=True):
            arguments[int(parameter)] = value
        # An inner loop filters the same cursor again and again.
        if arguments != self._arguments:
            self._arguments = None
            self._rows = self._function.rows(*arguments)
            self._arguments = arguments
        self._place = 0

    def Eof(self) -> bool:
        return self._place >= len(self._rows)

    def Rowid(self) -> int:
        return self._place + 1

    def Column(self, number: int) -> SQLValue:
        if number < 0:
            return self._place + 1
        row = self._rows[self._place]
        if number < len(row):
            return row[number]
        return (self._arguments or [])[number - len(row)]

    def Next(self) -> None:
        self._place += 1

    def Close(self) -> None:
        self._rows = ()
