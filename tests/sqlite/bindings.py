"""The two bindings of table functions, APSW's and the standard library's, and a function whose calls are seen."""

from __future__ import annotations

import sqlite3

import apsw

from sqlrag.engines.sqlite import apsw_tables, stdlib_tables
from sqlrag.engines.sqlite.table_functions import TableFunction


class APSW:
    """The binding to apsw."""

    create = staticmethod(apsw_tables.create)
    Connection = apsw.Connection
    error = apsw.Error
    tells_the_original = True


class Stdlib:
    """The binding to sqlite3."""

    create = staticmethod(stdlib_tables.create)
    Connection = sqlite3.Connection
    error = sqlite3.Error
    tells_the_original = False


class Calls(list):
    """`vector_top_k` with rows that can be told: ids from 1, halves as distances; remembers its arguments."""

    def rows(self, index, query, k, expression):
        self.append((index, query, k, expression))
        return [(place, place / 2, place) for place in range(1, k + 1)]

    def function(self):
        return TableFunction(
            "vector_top_k", ("id", "distance", "rank"), ("index", "query", "k", "filter"), 3, self.rows
        )


def table(rows, name="f", columns=("a",), parameters=("x",), required=0):
    return TableFunction(name, columns, parameters, required, rows)


def fetch(connection, sql, parameters=()):
    return connection.execute(sql, parameters).fetchall()
