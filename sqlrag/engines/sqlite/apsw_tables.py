"""Table functions in an APSW connection, as eponymous virtual tables."""

from __future__ import annotations

from collections.abc import Callable

import apsw

from sqlrag.engines.sqlite.table_functions import SQLValue, TableFunction
from sqlrag.engines.sqlite.table_scans import ESTIMATED_COST, ESTIMATED_ROWS, Scan, plan

__all__ = ["create"]


def create(
    connection: apsw.Connection,
    function: TableFunction,
    on_error: Callable[[BaseException], None] | None = None,
    on_plan: Callable[[SQLValue], None] | None = None,
) -> None:
    """Make `SELECT * FROM name(arguments)` work in a connection.

    What `rows` raises propagates out of the statement as it is; `on_error` is called with it before. `on_plan` is
    called when a statement that calls the function is compiled, with the first argument, None where it is not known
    by then.
    """
    connection.create_module(
        function.name,
        _Module(function, on_error, on_plan),  # type: ignore[arg-type]  # the protocol also lists methods that are optional
        use_bestindex_object=True,
        eponymous_only=True,
        read_only=True,
    )


class _Module:
    """What SQLite asks for the table; methods are named as APSW calls them, here and below."""

    def __init__(
        self,
        function: TableFunction,
        on_error: Callable[[BaseException], None] | None,
        on_plan: Callable[[SQLValue], None] | None,
    ) -> None:
        self._function = function
        self._on_error = on_error
        self._on_plan = on_plan

    def Connect(self, *_: object) -> tuple[str, _Table]:  # noqa: N802
        return self._function.declaration(), _Table(self._function, self._on_error, self._on_plan)


class _Table:
    """The table: plans its calls and opens cursors."""

    def __init__(
        self,
        function: TableFunction,
        on_error: Callable[[BaseException], None] | None,
        on_plan: Callable[[SQLValue], None] | None,
    ) -> None:
        self._function = function
        self._on_error = on_error
        self._on_plan = on_plan

    def BestIndexObject(self, info: apsw.IndexInfo) -> bool:  # noqa: N802
        if self._on_plan is not None:
            self._on_plan(self._first_argument(info))
        equalities = (
            (number, info.get_aConstraint_iColumn(number), info.get_aConstraint_usable(number))
            for number in range(info.nConstraint)
            if info.get_aConstraint_op(number) == apsw.SQLITE_INDEX_CONSTRAINT_EQ
        )
        chosen = plan(self._function, equalities)
        if chosen is None:
            return False
        for position, number in enumerate(chosen.constraints, start=1):
            info.set_aConstraintUsage_argvIndex(number, position)
            # SQLite need not compare the argument with the hidden column: NULL would not equal NULL.
            info.set_aConstraintUsage_omit(number, True)
        info.idxNum = chosen.given
        info.estimatedRows = ESTIMATED_ROWS
        if chosen.callable:
            info.estimatedCost = ESTIMATED_COST
        return True

    def _first_argument(self, info: apsw.IndexInfo) -> SQLValue:
        """Return the first argument where the statement has it as a literal, else None."""
        for number in range(info.nConstraint):
            if info.get_aConstraint_iColumn(number) == len(self._function.columns):
                return info.get_aConstraint_rhs(number)
        return None

    def Open(self) -> _Cursor:  # noqa: N802
        return _Cursor(Scan(self._function), self._on_error)

    def Disconnect(self) -> None:  # noqa: N802
        """Do nothing: there is nothing to give back."""


class _Cursor:
    """One scan."""

    def __init__(self, scan: Scan, on_error: Callable[[BaseException], None] | None) -> None:
        self._scan = scan
        self._on_error = on_error
        self.Eof = scan.at_end
        self.Next = scan.advance
        self.Rowid = scan.rowid
        self.Column = scan.value

    def Filter(self, given: int, _name: str | None, values: tuple[SQLValue, ...]) -> None:  # noqa: N802
        try:
            self._scan.start(given, values)
        except BaseException as error:
            if self._on_error is not None:
                self._on_error(error)
            raise

    def Close(self) -> None:  # noqa: N802
        """Do nothing: the rows go with the cursor."""
