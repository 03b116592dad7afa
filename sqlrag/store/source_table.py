"""The table or view that an index is over: its key, and how the text of a row is made of its columns."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlrag.errors import InputError, SourceGoneError
from sqlrag.store.names import NEXT, quote
from sqlrag.text.documents import PARTIAL

if TYPE_CHECKING:
    from sqlrag.store.registry import IndexRecord

__all__ = [
    "ROWID",
    "TRACKING",
    "Source",
    "SourceTable",
    "check_is_table",
    "check_source",
    "check_template",
    "content_hash",
    "joined_key",
    "key_columns",
    "key_condition",
    "key_expression",
    "key_text",
    "made_template",
    "queued_key",
    "renamed",
    "source_of",
    "template_columns",
    "unknown_table",
]

TRACKING = ("triggers", "compare", "view", "documents")
"""How changes of a source are noticed: by triggers; by comparing every row's text, which is called "view" for a view in
DuckDB; or, for an index over documents that is being rebuilt, by comparing the documents."""

ROWID = ("rowid", "_rowid_", "oid")
"""The names of a rowid (https://www.sqlite.org/rowidtable.html)."""

MOST_TIMES = 10
"""How often a template may name one column, so that a short template cannot multiply a long text."""

_FIELD = re.compile(r"\{([^{}]+)\}")
_HASH_BYTES = 16


@dataclass(frozen=True)
class SourceTable:
    """A table or view as the engine describes it."""

    name: str
    kind: str
    """`"table"`, `"view"` or `"virtual"`: only the first can have triggers."""
    columns: tuple[str, ...]
    key: tuple[str, ...]
    """The columns of its primary key; empty if it has none that can be named."""
    types: Mapping[str, str]
    """The declared type of each column."""


@dataclass(frozen=True)
class Source:
    """Where an index's texts come from."""

    table: str
    key: tuple[str, ...]
    template: str
    where: str = "true"
    """The condition that chooses rows of the table, as SQL."""
    null_is_key: bool = False
    """Whether NULL is a value of the key: in a view's stated key it is. A UNIQUE constraint allows several NULLs."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the text, in the order of their first use."""
        return template_columns(self.template)

    @property
    def is_composite(self) -> bool:
        """Whether the key has several columns. Then `source_id` is their JSON array."""
        return len(self.key) > 1

    def parts(self, source_id: Any) -> tuple[Any, ...]:
        """Return the values of the key's columns."""
        return tuple(json.loads(source_id, strict=False)) if self.is_composite else (source_id,)

    def key_problem(self, source_id: Any) -> str | None:
        """Return why a row cannot be found again by its key, None if it can."""
        if source_id is None:
            return "its key is NULL"
        if isinstance(source_id, str) and any("\ud800" <= character <= "\udfff" for character in source_id):
            return "its key is not valid UTF-8"
        if self.is_composite:
            try:
                parts = dict(zip(self.key, self.parts(source_id), strict=True))
            except (RecursionError, TypeError, ValueError):  # something else than our triggers wrote it to the queue
                return f"its key is not a list of {len(self.key)} values"
            return next(filter(None, (self._part_problem(name, part) for name, part in parts.items())), None)
        return None

    def _part_problem(self, name: str, part: Any) -> str | None:
        if part is None and not self.null_is_key:
            return f"its key is NULL ({name})"
        if isinstance(part, dict):
            return f"its key has a BLOB ({name}) in one of several columns: index a view that has hex({name})"
        if isinstance(part, list) or (isinstance(part, int) and not -(2**63) <= part < 2**63):
            return f"its key is no value of SQLite's ({name})"
        return None

    def render(self, values: Sequence[Any]) -> str | None:
        """Return a row's text, given the values of `columns`; None if all of them are NULL.

        Raises InputError for bytes.
        """
        if all(value is None for value in values):
            return None
        texts = {name: _as_text(name, value) for name, value in zip(self.columns, values, strict=True)}
        return _FIELD.sub(lambda field: texts[field.group(1)], self.template)


def source_of(record: IndexRecord) -> Source:
    """Return the source of an index."""
    where = "true"
    if record.tracking == "documents":
        name = record.name.removesuffix(NEXT)
        where = f"index_name = '{name}' AND substr(content_hash, 1, {len(PARTIAL)}) <> '{PARTIAL}'"
    key = key_columns(record.source_key)
    return Source(record.source_table, key, record.template, where, null_is_key=record.tracking in ("compare", "view"))


def check_source(record: IndexRecord, columns: Sequence[str]) -> None:
    """Raise SourceGoneError if the source of an index is gone or lacks a column, given its present columns."""
    name, table, source = record.name, record.source_table, source_of(record)
    if not columns:
        raise SourceGoneError(
            f"index {name!r} is over {table}, which is gone: "
            f"drop the index (sqlrag index --drop {name}, or drop_index({name!r})), or bring the table back"
        )
    alter = f"give it other columns with alter_index({name!r}, {{}}=...)"
    needed = [
        ("takes its text from", source.columns, alter.format("text")),
        ("knows rows by", [column for column in source.key if column not in ROWID], "drop the index and make it again"),
        ("has as a filter", json.loads(record.filters), alter.format("filters")),
    ]
    for what, names, remedy in needed:
        for column in names:
            if column not in columns:
                raise SourceGoneError(
                    f"index {name!r} {what} column {column!r}, which {table} does not have any more "
                    f"(it has {', '.join(columns)}): {remedy}"
                )


def unknown_table(table: object, known: Sequence[str], elsewhere: str) -> InputError:
    """Return the error for an unknown table; `elsewhere`: where there is a table of this name, or nothing."""
    names = ", ".join(known) or "none"
    return InputError(f"table is {table!r}: this database has no such table or view (it has {names}){elsewhere}")


def check_is_table(record: IndexRecord, kind: str) -> None:
    """Raise SourceGoneError if the source of an index over a table has become a "view", or is "virtual" now.

    Reading a view or a virtual table runs what its author wrote, perhaps a stranger. It is only read if the user has
    made an index over it.
    """
    if kind != "table":
        name, now = record.name, {"virtual": "virtual table"}.get(kind, kind)
        raise SourceGoneError(
            f"index {name!r} is over the table {record.source_table}, which is a {now} now and is not read: "
            f"bring the table back, or drop the index (drop_index({name!r})) and make it again"
        )


def renamed(record: IndexRecord, table: str, names: Mapping[str, str]) -> IndexRecord:
    """Return the record of an index whose source, or whose columns (old name to new), were renamed.

    A new name with braces cannot stand in a record. The old one stays, and `check_source` says that it is gone.
    """
    names = {old: new for old, new in names.items() if not any(sign in new for sign in "{}[")}
    return replace(
        record,
        source_table=table,
        source_key=key_text([names.get(column, column) for column in key_columns(record.source_key)]),
        template=_FIELD.sub(lambda field: "{" + names.get(field.group(1), field.group(1)) + "}", record.template),
        filters=json.dumps([names.get(column, column) for column in json.loads(record.filters)]),
    )


def key_columns(source_key: str) -> tuple[str, ...]:
    """Return the columns of a recorded key: one name, or a JSON array of several."""
    return tuple(json.loads(source_key)) if source_key.startswith("[") else (source_key,)


def key_text(columns: Sequence[str]) -> str:
    """Return the columns of a key as they are recorded: the inverse of `key_columns`."""
    return columns[0] if len(columns) == 1 else json.dumps(list(columns), ensure_ascii=False)


def template_columns(template: str) -> tuple[str, ...]:
    """Return the columns that a template names, in the order of their first use."""
    return tuple(dict.fromkeys(_FIELD.findall(template)))


def check_template(template: str) -> None:
    """Raise InputError for a template that names a column more than ten times."""
    for name, times in Counter(_FIELD.findall(template)).items():
        if times > MOST_TIMES:
            raise InputError(
                f"text names the column {name!r} {times:,} times: a template takes each {MOST_TIMES} at most"
            )


def made_template(text: object, columns: Sequence[str], table: str) -> str:
    """Return the template of a row's text, with columns spelled as the table spells them.

    `text`: a column, several columns (joined by an empty line), or a template such as "{title}: {body}". Raises
    InputError for unknown columns.
    """
    known = {column.lower(): column for column in columns}
    names = [text] if isinstance(text, str) else text
    if not isinstance(names, Sequence) or not names or not all(isinstance(name, str) and name for name in names):
        raise _no_text(text)
    for name in names:
        if name.lower() in known and ("{" in name or "}" in name):
            raise InputError(f"text is the column {name!r}: rename it, or index a view, braces stand for columns")
    if isinstance(text, str) and text.lower() not in known and "{" in text:
        template = text
    else:
        template = "\n\n".join("{" + name + "}" for name in names)
    fields = template_columns(template)
    if not fields:
        raise _no_text(text)
    check_template(template)
    for name in fields:
        if name.lower() not in known:
            raise InputError(f"text names a column {name!r} that {table} does not have: it has {', '.join(columns)}")
    return _FIELD.sub(lambda field: "{" + known[field.group(1).lower()] + "}", template)


def _no_text(text: object) -> InputError:
    return InputError(
        f"text is {text!r}: it is a column, a list of columns, or a template of columns such as '{{title}}: {{body}}'"
    )


def content_hash(text: str | None) -> bytes:
    """Return the hash of a text, 16 bytes of BLAKE2 (RFC 7693); no bytes for a row without text."""
    return b"" if text is None else hashlib.blake2b(text.encode(), digest_size=_HASH_BYTES).digest()


def key_expression(source: Source) -> str:
    """Return SQLite's expression for a row's key."""
    columns = [quote(name) for name in source.key]
    return joined_key(columns) if source.is_composite else columns[0]


def joined_key(columns: Sequence[str]) -> str:
    """Return SQLite's expression for a key of several columns: a JSON array of them.

    JSON has no BLOBs: a BLOB becomes an object, and its row is left out (`Source.key_problem`). Fractional numbers are
    written with all digits (SQLite's own JSON has 15 before 3.42), and infinity as a number too large for JSON.
    """
    parts = (
        f"CASE typeof({column}) WHEN 'blob' THEN json_object('blob', hex({column})) "
        f"WHEN 'real' THEN json({_digits(column)}) ELSE {column} END"
        for column in columns
    )
    return f"json_array({', '.join(parts)})"


def queued_key(source: Source, prefix: str = "") -> str:
    """Return SQLite's expression for a key in a trigger; `prefix` is "new." or "old.".

    If a trigger failed, the writer's own statement would fail, and SQLite's JSON functions fail in triggers if a client
    does not trust the schema (https://www.sqlite.org/pragma.html#pragma_trusted_schema). So this writes JSON without
    them. It differs in characters that JSON escapes, and in the digits of fractional numbers.
    """
    columns = [prefix + quote(name) for name in source.key]
    if not source.is_composite:
        return columns[0]
    parts = (
        f"CASE typeof({column}) WHEN 'null' THEN 'null' WHEN 'blob' THEN '{{\"blob\":\"' || hex({column}) || '\"}}' "
        f"WHEN 'real' THEN {_digits(column)} WHEN 'integer' THEN {column} "
        f"ELSE '\"' || replace(replace({column}, '\\', '\\\\'), '\"', '\\\"') || '\"' END"
        for column in columns
    )
    return "'[' || " + " || ',' || ".join(parts) + " || ']'"


def _digits(column: str) -> str:
    return f"replace(printf('%!.17g', {column}), 'Inf', '9e999')"


def key_condition(source: Source, source_id: str, prefix: str = "") -> str:
    """Return SQLite's condition that a row has a key, given as an expression, in a form that uses the table's index."""
    if not source.is_composite:
        return f"{prefix}{quote(source.key[0])} = {source_id}"
    return " AND ".join(
        f"{prefix}{quote(column)} IS json_extract({source_id}, '$[{place}]')" for place, column in enumerate(source.key)
    )


def _as_text(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise InputError(f"column {name} holds bytes (a BLOB), not text")
    return value if isinstance(value, str) else str(value)
