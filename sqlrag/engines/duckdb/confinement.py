"""A DuckDB database that is only read: no other file, no network, no setting can be reached from SQL.

https://duckdb.org/docs/stable/operations_manual/securing_duckdb/overview: what is locked here holds for every
connection of the process to this file, and cannot be undone. What the lock leaves open (temporary tables, transactions
that stay open, table functions with effects of their own) is refused by what DuckDB's own parser finds in a statement.
"""

from __future__ import annotations

import json
import re

import duckdb

from sqlrag.engines.duckdb.statement_depth import check_shape
from sqlrag.engines.duckdb.udfs import PREFIX
from sqlrag.errors import ReadOnlyError

__all__ = ["Confinement"]

# The last one makes the others final. Replacements would make a name that is no table a variable of this program; they
# are a setting of each connection, which those that come after the lock take over from the global one. So is the
# progress bar, which has no global one: each new connection begins with it and turns it off. The allocator's thread
# gives back what a large statement has left within a second or two.
_SETTINGS = """
SET GLOBAL python_enable_replacements = false;
SET temp_directory = '';
SET memory_limit = '1GB';
SET allocator_background_threads = true;
SET autoinstall_known_extensions = false;
SET autoload_known_extensions = false;
SET allow_community_extensions = false;
SET enable_external_access = false;
SET allowed_configs = ['enable_progress_bar'];
SET lock_configuration = true;
"""

# Whether a connection has all of them already.
_IS_LOCKED = """
SELECT count(*) = 3 FROM duckdb_settings()
WHERE  (name, value) IN (('lock_configuration', 'true'), ('enable_external_access', 'false'),
                         ('python_enable_replacements', 'false'))
"""

# DuckDB's own table functions that only make or tell something, and the beginnings of others of that kind.
_TELLING = frozenset(
    {"generate_series", "icu_calendar_names", "json_each", "json_tree", "pg_timezone_names", "query_table", "range",
     "repeat", "repeat_row", "summary", "unnest"}
)  # fmt: skip
_TELLING_PREFIXES = ("duckdb_", "pragma_")

# A function's name in a parsed statement, as JSON. Quotes inside of the statement's own texts have a backslash there;
# to read all of it costs a hundred times its memory, and the stack where it is deep.
_FUNCTION = re.compile(r'"function_name":("(?:[^"\\]|\\.)*")')


_MOST_KEPT = 256
_LONGEST_KEPT = 4_000
"""Statements, and characters of one, that are known to have passed."""


class Confinement:
    """Closes a database, opened read-only, to the outside, from now on.

    `beside`: that of the connection that this one is a cursor of; looking for the functions again would take 50 ms.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, beside: Confinement | None = None) -> None:
        # Another connection of this process may have done it.
        if connection.execute(_IS_LOCKED).fetchall() != [(True,)]:
            connection.execute(_SETTINGS)
        self._connection = connection
        self._passed: set[str] = set()
        self.refused: set[str]
        if beside is not None:
            self.refused = beside.refused
            return
        rows = connection.execute("SELECT function_name FROM duckdb_functions() WHERE function_type = 'table'")
        names = {str(name) for (name,) in rows.fetchall()}
        self.refused = {name for name in names - _TELLING if not name.startswith(_TELLING_PREFIXES)}

    def check(self, sql: str) -> None:
        """Raise ReadOnlyError unless every statement is a SELECT without a table function that does more than tell.

        Nor may it call a function of sqlrag under its internal name. A statement that has passed is not parsed again:
        json_serialize_sql() of DuckDB 2.0 leaves some bytes behind for each node of its tree.
        """
        if sql in self._passed:
            return
        self._look_through(sql)
        if len(sql) <= _LONGEST_KEPT:
            if len(self._passed) == _MOST_KEPT:
                self._passed.clear()
            self._passed.add(sql)

    def _look_through(self, sql: str) -> None:
        sql.encode()  # DuckDB would call what is not Unicode a TypeError
        check_shape(sql)
        for statement in duckdb.extract_statements(sql):
            if statement.type != duckdb.StatementType.SELECT:
                raise _refused(statement.type.name)
            ((tree,),) = self._connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [statement.query]).fetchall()
            if not tree.startswith('{"error":false'):
                raise _refused(f"what cannot be looked through ({json.loads(tree)['error_message']})")
            for quoted in _FUNCTION.findall(tree):
                name = json.loads(quoted).lower()
                if name in self.refused or name.startswith(PREFIX.rstrip("_")):
                    raise _refused(f"the function {json.loads(quoted)}()")


def _refused(what: str) -> ReadOnlyError:
    return ReadOnlyError(f"{what} is not allowed: this database is only read here, with SELECT")
