"""The table or view that an index is over: its key, and how the text of a row is made of its columns."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlrag.errors import InputError
from sqlrag.index.names import NEXT, quote
from sqlrag.parts import PARTIAL

if TYPE_CHECKING:
    from sqlrag.index.registry import IndexRecord

__all__ = [
    "TRACKING",
    "Source",
    "SourceTable",
    "check_template",
    "content_hash",
    "key_columns",
    "key_condition",
    "key_expression",
    "key_text",
    "made_template",
    "source_of",
    "template_columns",
]

TRACKING = ("triggers", "compare", "documents")
"""How changes of a source are noticed: triggers in the database; a comparison of every row's text; the same over the
ingested documents of an index that is made anew."""

MOST_TIMES = 10
"""How often a template may name one column: a short one over a long text must not make an endless one."""

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
    """The columns of its primary key; empty where it has none that could be named."""
    types: Mapping[str, str]
    """What each column is declared as."""


@dataclass(frozen=True)
class Source:
    """Where an index's texts come from."""

    table: str
    key: tuple[str, ...]
    template: str
    where: str = "true"
    """Which rows of the table, as SQL."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the text, in the order of their first use."""
        return template_columns(self.template)

    @property
    def is_composite(self) -> bool:
        """Whether the key has several columns; `source_id` is then their JSON array."""
        return len(self.key) > 1

    def parts(self, source_id: Any) -> tuple[Any, ...]:
        """Return the values of the key's columns."""
        return tuple(json.loads(source_id)) if self.is_composite else (source_id,)

    def render(self, values: Sequence[Any]) -> str | None:
        """Return a row's text, given the values of `columns`; None where all of them are NULL.

        Raises InputError for a value that is no text: bytes.
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
        where = f"index_name = '{name}' AND content_hash NOT LIKE '{PARTIAL}%'"
    return Source(record.source_table, key_columns(record.source_key), record.template, where)


def key_columns(source_key: str) -> tuple[str, ...]:
    """Return the columns of a recorded key: one name, or a JSON array of several."""
    return tuple(json.loads(source_key)) if source_key.startswith("[") else (source_key,)


def key_text(columns: Sequence[str]) -> str:
    """Return how the columns of a key are recorded; the inverse of `key_columns`."""
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
    """Return the template of a row's text, its columns spelled as the table has them.

    `text`: a column, several of them (joined by an empty line), or a template such as "{title}: {body}". Raises
    InputError for columns that the table does not have.
    """
    known = {column.lower(): column for column in columns}
    if isinstance(text, str) and text.lower() in known:
        template = "{" + text + "}"
    elif isinstance(text, str) and template_columns(text):
        template = text
    elif isinstance(text, str):
        template = "{" + text + "}"
    elif isinstance(text, Sequence) and text and all(isinstance(name, str) for name in text):
        template = "\n\n".join("{" + name + "}" for name in text)
    else:
        raise InputError(
            f"text is {text!r}: it is a column, a list of columns, "
            "or a template of columns such as '{title}: {body}'"
        )
    check_template(template)
    for name in template_columns(template):
        if name.lower() not in known:
            raise InputError(f"text names a column {name!r} that {table} does not have: it has {', '.join(columns)}")
    for name in {column for column in known.values() if "{" in column or "}" in column}:
        if isinstance(text, str) and name.lower() == text.lower():
            raise InputError(f"text is the column {name!r}: rename it, or index a view, braces stand for columns")
    return _FIELD.sub(lambda field: "{" + known[field.group(1).lower()] + "}", template)


def content_hash(text: str | None) -> bytes:
    """Return what tells one text from another, 16 bytes of BLAKE2 (RFC 7693); none for a row without text."""
    return b"" if text is None else hashlib.blake2b(text.encode(), digest_size=_HASH_BYTES).digest()


def key_expression(source: Source, prefix: str = "") -> str:
    """Return SQLite's expression for a row's key; `prefix` is "new." or "old." in a trigger.

    JSON has no BLOBs, and a trigger that fails would fail the writer's own statement: in a key of several columns one
    is replaced by its digits, and the row is left out.
    """
    columns = [prefix + quote(name) for name in source.key]
    if not source.is_composite:
        return columns[0]
    parts = ", ".join(f"CASE typeof({column}) WHEN 'blob' THEN hex({column}) ELSE {column} END" for column in columns)
    return f"json_array({parts})"


def key_condition(source: Source, source_id: str, prefix: str = "") -> str:
    """Return SQLite's condition that a row has a key, given as an expression; it finds the row by the table's index."""
    if not source.is_composite:
        return f"{prefix}{quote(source.key[0])} = {source_id}"
    return " AND ".join(
        f"{prefix}{quote(column)} = json_extract({source_id}, '$[{place}]')" for place, column in enumerate(source.key)
    )


def _as_text(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise InputError(f"column {name} holds bytes (a BLOB), not text")
    return value if isinstance(value, str) else str(value)
