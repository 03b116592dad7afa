"""Whether the tables that sqlrag reads and writes without being asked are those that it made.

A file may come from a stranger. A view in the place of a table would run whatever it says as soon as the file is
opened, a computed column or a trigger likewise, and a full text over another table would read that one. (SQLite's
own switch, `PRAGMA trusted_schema = OFF`, is no way: it forbids vec0 in the index's own triggers, too.)
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlrag.errors import NotADatabaseError
from sqlrag.store.statements import statement

if TYPE_CHECKING:
    from sqlrag.store.registry import Connection, IndexRecord

__all__ = ["SHADOWS", "OwnTables"]

REGISTRY = ("sqlrag_meta", "sqlrag_indexes", "sqlrag_ivf", "sqlrag_nprobe")

SHADOWS = {"vec0": ("chunks", "rowids", "vector_chunks00", "info"), "fts5": ("data", "idx", "docsize", "config")}
"""What the tables behind a virtual one are called, after its name and a `_`."""

_VIRTUAL = {
    "vec": r"vec0\s*\(\s*embedding FLOAT\[\d+\]\s*(,\s*chunk_size\s*=\s*\d+\s*)?\)",
    "cells": r"vec0\s*\(\s*centroid FLOAT\[\d+\]\s*\)",
    "codes": r"vec0\s*\(\s*cell INTEGER PARTITION KEY\s*,\s*code INT8\[\d+\][\w\s=,]*\)",
    "fts": r"fts5\s*\(\s*text\s*,\s*content\s*=\s*'{name}'\s*,\s*content_rowid\s*=\s*'id'\s*,\s*"
    r"tokenize\s*=\s*'[\w ]+'\s*\)",
}
"""The virtual tables of an index as they stand in the file, in whichever schema they were made."""

_TRIGGER = (
    r"CREATE TRIGGER \w+ AFTER (INSERT|DELETE|UPDATE OF [\w, ]+) ON {name} BEGIN\s+("
    r"INSERT INTO {name}_fts \(rowid, text\) VALUES \(new\.id, new\.text\);\s+"
    r"|INSERT INTO {name}_fts \({name}_fts, rowid, text\) VALUES \('delete', old\.id, old\.text\);\s+"
    r"|DELETE FROM {name}_(vec|codes) WHERE rowid = old\.id;\s+)+END"
)
"""A trigger of sqlrag's own on a chunk table: it does nothing but these."""


class OwnTables:
    """The tables of one connection that are sqlrag's own; each is looked at once, until the schema changes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._schema: object = None
        self._seen: dict[str, list[str]] = {}

    def check_registry(self) -> None:
        """Raise NotADatabaseError for registry tables that sqlrag did not make."""
        self._look("", REGISTRY)

    def other_triggers(self, record: IndexRecord) -> list[str]:
        """Return the triggers on an index's chunk table that are not sqlrag's: they run whenever it is written.

        Raises NotADatabaseError for tables of the index that sqlrag did not make.
        """
        name = record.name
        names = [name, f"{name}_rows", f"{name}_queue", *([] if record.is_over_table else ["documents"])]
        for part, made in _VIRTUAL.items():
            names += [f"{name}_{part}", *(f"{name}_{part}_{shadow}" for shadow in SHADOWS[made[:4]])]
        return self._look(name, names)

    def _look(self, index: str, names: Sequence[str]) -> list[str]:
        ((version,),) = self._connection.execute("PRAGMA main.schema_version")
        if version != self._schema:
            self._schema, self._seen = version, {}
        if index not in self._seen:
            found = self._connection.execute(statement("index/own_tables"), {"names": json.dumps(list(names))})
            others = []
            for kind, name, table, sql, stores in list(found):
                if kind == "trigger" and table.lower() in (index.lower(), "documents"):
                    others += [name] if not _matches(_TRIGGER, index, sql) and table != "documents" else []
                elif not _is_as_made(kind, name.lower(), index.lower(), sql, stores):
                    raise NotADatabaseError(
                        "this database is damaged, or somebody has changed it: "
                        f"its {kind} {name} is not as sqlrag makes it"
                    )
            self._seen[index] = others
        return self._seen[index]


def _is_as_made(kind: str, name: str, index: str, sql: str, stores: int) -> bool:
    """Tell whether a table is as sqlrag makes it."""
    virtual = _VIRTUAL.get(name.removeprefix(f"{index}_")) if index else None
    if virtual is not None:
        return kind == "table" and _matches(rf"CREATE VIRTUAL TABLE \w+ USING {virtual}", index, sql)
    return kind == "table" and bool(stores)


def _matches(pattern: str, index: str, sql: str) -> bool:
    return re.fullmatch(pattern.replace("{name}", index), sql, re.IGNORECASE) is not None
