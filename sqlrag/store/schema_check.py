"""Checks that the tables which sqlrag reads and writes on its own are the ones that it made.

A file may come from a stranger. A view in place of a table would run whatever it says as soon as the file is opened,
and so would a computed column or a trigger; a full-text table over another table would read that one. SQLite's own
switch, `PRAGMA trusted_schema = OFF`, does not help: it also forbids vec0 in the index's own triggers.
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

__all__ = ["SHADOWS", "check_index_tables", "check_registry"]

REGISTRY = ("sqlrag_meta", "sqlrag_indexes", "sqlrag_candidates", "sqlrag_ivf", "sqlrag_nprobe")

SHADOWS = {"vec0": ("chunks", "rowids", "vector_chunks00", "info"), "fts5": ("data", "idx", "docsize", "config")}
"""The names of the tables behind a virtual table, after its own name and a `_`."""

_VIRTUAL = {
    "vec": r"vec0\s*\(\s*embedding {numbers}\[\d+\]\s*(,\s*chunk_size\s*=\s*\d+\s*)?\)",
    "cells": r"vec0\s*\(\s*centroid FLOAT\[\d+\]\s*\)",
    "codes": r"vec0\s*\(\s*cell INTEGER PARTITION KEY\s*,\s*code INT8\[\d+\][\w\s=,]*\)",
    "fts": r"fts5\s*\(\s*(context\s*,\s*text\s*,\s*words|text)\s*,\s*"
    r"(content\s*=\s*'{name}'\s*,\s*content_rowid\s*=\s*'id'|content = '', contentless_delete = 1)\s*,\s*"
    r"tokenize\s*=\s*'[\w ]+'\s*\)",
}
"""How each virtual table of an index is declared in the file, in any version of the schema.

Since schema 4 the codes are in a table that is not virtual, and there are no cells.
"""

_TRIGGER = (
    r"CREATE TRIGGER \w+ AFTER (INSERT|DELETE|UPDATE OF [\w, ]+) ON {name} BEGIN\s+("
    r"INSERT INTO {name}_fts \(rowid, text\) VALUES \(new\.id, new\.text\);\s+"
    r"|INSERT INTO {name}_fts \({name}_fts, rowid, text\) VALUES \('delete', old\.id, old\.text\);\s+"
    r"|INSERT INTO {name}_fts \(rowid, context, text, words\) "
    r"VALUES \(new\.id, new\.context, new\.text, new\.words\);\s+"
    r"|INSERT INTO {name}_fts \({name}_fts, rowid, context, text, words\)\s+"
    r"VALUES \('delete', old\.id, old\.context, old\.text, old\.words\);\s+"
    r"|DELETE FROM {name}_(vec|codes) WHERE rowid = old\.id;\s+"
    r"|INSERT OR IGNORE INTO {name}_gone \(id\) VALUES \(old\.id\);\s+)+END"
)
"""A trigger of sqlrag's own on a chunk table: it does these things and nothing else."""


def check_registry(connection: Connection) -> set[str]:
    """Return which registry tables there are, in lower case. Raises NotADatabaseError for one that sqlrag did not make.

    The answer holds until the schema changes.
    """
    tables, _ = _own_tables(connection, "", REGISTRY)
    return tables


def check_index_tables(connection: Connection, record: IndexRecord) -> list[str]:
    """Return the triggers on an index's chunk table that are not sqlrag's: they run whenever it is written.

    Raises NotADatabaseError for tables of the index that sqlrag did not make. The answer holds until the schema
    changes.
    """
    name = record.name
    names = [name, *(f"{name}_{part}" for part in ("rows", "queue", "gone", "states"))]
    names += [] if record.is_over_table else ["documents"]
    for part, made in _VIRTUAL.items():
        names += [f"{name}_{part}", *(f"{name}_{part}_{shadow}" for shadow in SHADOWS[made[:4]])]
    numbers = "FLOAT" if record.vectors == "float32" else "INT8"
    _, others = _own_tables(connection, name, names, numbers)
    return others


def _own_tables(
    connection: Connection, index: str, names: Sequence[str], numbers: str = ""
) -> tuple[set[str], list[str]]:
    """Return which of these tables there are, and the triggers on an index's chunk table that are not sqlrag's.

    `numbers`: vec0's word for the numbers of its vectors.
    """
    found = connection.execute(statement("index/own_tables"), {"names": json.dumps(list(names))})
    tables, others = set(), []
    for kind, name, table, sql, stores in list(found):
        if kind == "trigger" and table.lower() in (index.lower(), "documents"):
            others += [name] if not _matches(_TRIGGER, index, sql) and table != "documents" else []
        elif _is_as_made(kind, name.lower(), index.lower(), sql, stores, numbers):
            tables.add(name.lower())
        else:
            raise NotADatabaseError(
                f"this database is damaged, or somebody has changed it: its {kind} {name} is not as sqlrag makes it"
            )
    return tables, others


def _is_as_made(kind: str, name: str, index: str, sql: str, stores: int, numbers: str) -> bool:  # noqa: PLR0917
    """Tell whether a table is as sqlrag makes it."""
    virtual = _VIRTUAL.get(name.removeprefix(f"{index}_")) if index else None
    if virtual is not None and not (name == f"{index}_codes" and stores):
        made = virtual.replace("{numbers}", numbers)
        return kind == "table" and _matches(rf"CREATE VIRTUAL TABLE \w+ USING {made}", index, sql)
    return kind == "table" and bool(stores)


def _matches(pattern: str, index: str, sql: str) -> bool:
    return re.fullmatch(pattern.replace("{name}", index), sql, re.IGNORECASE) is not None
