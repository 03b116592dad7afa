"""The statements of one text, which SQLite compiles and runs one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlrag.values.sql_lexer import BLANK, SQLITE, lexemes

if TYPE_CHECKING:
    import apsw

    from sqlrag.engines.open_rows import Row
    from sqlrag.engines.sqlite.rows import Columns

__all__ = ["Script"]


class Script:
    """Knows which statement of a text a cursor has begun.

    A cursor returns the rows of every statement. The rows of a text are those of its last one, as on DuckDB.
    """

    def __init__(self, sql: str) -> None:
        self._sql = sql
        self._end = 0
        """The index of the first character after the statements that have begun."""
        self._has_begun_last = False
        self.columns: Columns = []
        """The columns of the statement that began last."""

    def begin(self, cursor: apsw.Cursor, statement: str) -> bool:
        """Note that a statement begins; return False for the comments after the last one, which SQLite runs too.

        SQLite cuts a text into statements that follow each other without a gap.
        """
        if self._has_begun_last:
            return False
        self._end += len(statement)
        rest = lexemes(self._sql, SQLITE, self._end)
        self._has_begun_last = all(one.kind in BLANK or one.text == ";" for one in rest)
        self.columns = [(str(column[0]), column[1]) for column in cursor.get_description()]
        return True

    def run_to_last(self, cursor: apsw.Cursor) -> list[Row]:
        """Run the statements before the last one; return the rows of the last one that were read for it, one at most.

        A cursor begins the next statement when it is asked for a row and has none left.
        """
        rows: list[Row] = []
        while not self._has_begun_last:
            rows = [row] if (row := next(cursor, None)) is not None else []
            if not rows:
                break
        return rows
