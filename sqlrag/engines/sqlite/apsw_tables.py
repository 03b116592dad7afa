"""Table functions in an APSW connection, as eponymous virtual tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import apsw

from sqlrag.engines.sqlite.table_functions import Scan, plan

if TYPE_CHECKING:
    from sqlrag.engines.sqlite.table_functions import SQLValue, TableFunction

__all__ = ["create"]


def create(
    connection: apsw.Connection, function: TableFunction, on_plan: Callable[[SQLValue], None] | None = None
) -> None:
    """Make `SELECT * FROM name(arguments)` work in a connection.

    What `rows` raises propagates out of the statement as it is. `on_plan` is called when a statement that calls the
    function is compiled, with the first argument, or None where it is not known by then.
    """
    connection.create_module(
        function.name,
        _Table(function, on_plan),  # type: ignore[arg-type]  # the protocol also lists methods that are optional
        use_bestindex_object=True,
        eponymous_only=True,
        read_only=True,
    )


class _Table:
    """The module and its one table, which plans calls and opens cursors; APSW gives the methods their names."""

    def __init__(self, function: TableFunction, on_plan: Callable[[SQLValue], None] | None) -> None:
        self._function = function
        self._on_plan = on_plan

    def Connect(self, *_: object) -> tuple[str, _Table]:  # noqa: N802
        return self._function.declaration(), self

    def BestIndexObject(self, info: apsw.IndexInfo) -> bool:  # noqa: N802
        if self._on_plan is not None:
            self._on_plan(self._first_argument(info))
        call = plan(self._function, _Constraints(info))
        if call is None:
            return False
        info.idxNum, info.estimatedRows = call.given, call.rows
        if call.cost is not None:
            info.estimatedCost = call.cost
        return True

    def _first_argument(self, info: apsw.IndexInfo) -> SQLValue:
        """Return the first argument where the statement has it as a literal, else None."""
        for number in range(info.nConstraint):
            if info.get_aConstraint_iColumn(number) == len(self._function.columns):
                return info.get_aConstraint_rhs(number)
        return None

    def Open(self) -> _Cursor:  # noqa: N802
        return _Cursor(Scan(self._function))

    def Disconnect(self) -> None:  # noqa: N802
        """Do nothing: there is nothing to give back."""


class _Constraints:
    """APSW's `IndexInfo` as `plan` sees it."""

    def __init__(self, info: apsw.IndexInfo) -> None:
        self._info = info

    def equalities(self) -> Iterator[tuple[int, int, bool]]:
        for number in range(self._info.nConstraint):
            if self._info.get_aConstraint_op(number) == apsw.SQLITE_INDEX_CONSTRAINT_EQ:
                yield number, self._info.get_aConstraint_iColumn(number), self._info.get_aConstraint_usable(number)

    def use(self, number: int, position: int) -> None:
        self._info.set_aConstraintUsage_argvIndex(number, position)
        self._info.set_aConstraintUsage_omit(number, True)


class _Cursor:
    """One scan."""

    def __init__(self, scan: Scan) -> None:
        self._scan = scan
        self.Eof = scan.at_end
        self.Next = scan.advance
        self.Rowid = scan.rowid
        self.Column = scan.value

    def Filter(self, given: int, _name: str | None, values: tuple[SQLValue, ...]) -> None:  # noqa: N802
        self._scan.start(given, values)

    def Close(self) -> None:  # noqa: N802
        """Do nothing: the rows go with the cursor."""
