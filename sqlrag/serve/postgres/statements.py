"""What the server needs to know of a statement: where it ends, its first word, its parameters, and what it names.

Only the text of a statement is kept: a client may prepare a thousand, and lexemes take far more memory than text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from sqlrag.serve.postgres.sqlstate import ClientError
from sqlrag.serve.postgres.types import BY_NAME
from sqlrag.values.sql_lexer import DUCKDB, Lexeme, Splitter, lexemes, significant

__all__ = ["LONGEST", "Statement", "replaced", "split"]

LONGEST = 250_000
"""The most characters of a message."""

_MOST_STATEMENTS = 1_000
"""The most statements of a message."""

# A cast of a parameter, such as `$1::double precision` or `$1::varchar(10)[]`: SQLite takes it for part of the name.
_CAST = re.compile(
    r"\$(\d+)\s*::\s*(double\s+precision|character\s+varying|timestamp\s+with(?:out)?\s+time\s+zone|[A-Za-z_]\w*)"
    r"(?:\s*\(\s*\d+(?:\s*,\s*\d+)?\s*\))?((?:\s*\[\s*(?:\d+\s*)?\])?)",
    re.IGNORECASE,
)

# Names of types in SQL that pg_type does not have.
_SPOKEN = {
    "bigint": "int8", "boolean": "bool", "blob": "bytea", "character varying": "varchar", "decimal": "numeric",
    "double": "float8", "double precision": "float8", "float": "float8", "int": "int4", "integer": "int4",
    "real": "float4", "smallint": "int2", "string": "text",
    "timestamp with time zone": "timestamptz", "timestamp without time zone": "timestamp",
}  # fmt: skip

# The schemas of the catalog.
_SCHEMAS = frozenset({"pg_catalog", "information_schema"})

# Functions about the server itself, in a statement that reads no table.
_ABOUT = frozenset(
    {"current_database", "current_schema", "current_schemas", "current_setting", "has_database_privilege",
     "has_schema_privilege", "has_table_privilege", "pg_advisory_unlock_all", "pg_backend_pid", "pg_encoding_to_char",
     "pg_get_userbyid", "pg_is_in_recovery", "set_config", "to_regclass", "to_regtype", "version"}
)  # fmt: skip
_WITHOUT_BRACKETS = frozenset({"current_catalog", "current_role", "current_schema", "current_user", "session_user"})


@dataclass(frozen=True)
class Statement:
    """One statement, without its semicolon."""

    text: str

    @cached_property
    def first(self) -> str:
        """Its first lexeme, in capitals."""
        return next(self.words())

    @cached_property
    def parameters(self) -> list[int]:
        """The types that casts give its parameters `$1`, `$2`, …: 0 for those without a cast."""
        found = (one.text[1:] for one in self.lexemes() if one.kind == "parameter")
        numbers = (int(number) for number in found if number.isdecimal() and len(number) <= 5)
        types = [0] * min(max(numbers, default=0), 65_535)
        for number, name, brackets in _CAST.findall(_code(self.text)):
            if len(number) <= 5 and 0 < int(number) <= len(types):
                types[int(number) - 1] = types[int(number) - 1] or _oid(name, brackets)
        return types

    @property
    def without_casts(self) -> str:
        """The statement with `$1` for `$1::int`: SQLite has no such casts, and the value has its type already."""
        return replaced(_CAST, self.text, lambda found, _: f"${found[1]}").strip() if "::" in self.text else self.text

    def lexemes(self) -> Iterator[Lexeme]:
        """Yield its lexemes without blanks and comments."""
        return significant(self.text, DUCKDB)

    def words(self) -> Iterator[str]:
        """Yield the text of its lexemes, with words in capitals."""
        return (one.text.upper() if one.kind == "word" else one.text for one in self.lexemes())

    def asks_catalog(self, relations: frozenset[str]) -> bool:
        """Tell whether it is about the server or its catalog, whose relations are given."""
        names, called, last = set(), set(), ""
        for one in self.lexemes():
            if one.text == "(" and last:
                called.add(last)
            last = one.text.lower() if one.kind == "word" else ""
            names |= {last} if last else {one.value} & _SCHEMAS if one.kind == "name" else set()
        if names & (_SCHEMAS | relations):
            return True
        return "from" not in names and bool(called & _ABOUT or names & _WITHOUT_BRACKETS)


def replaced(pattern: re.Pattern[str], sql: str, replacement: Callable[[re.Match[str], str], str]) -> str:
    """Replace what a pattern matches in a statement, outside of strings and comments.

    `replacement` is called with the match and the statement: what is quoted is blank in the match, but for its quotes.
    """
    parts, end = [], 0
    for found in pattern.finditer(_code(sql)):
        parts += [sql[end : found.start()], replacement(found, sql)]
        end = found.end()
    return "".join([*parts, sql[end:]])


def _code(sql: str) -> str:
    """Return a text of the same length, with blanks for comments and for what is in quotes, but for plain names."""
    return "".join(map(_blanked, lexemes(sql, DUCKDB)))


def _blanked(one: Lexeme) -> str:
    if one.kind == "comment":
        return " " * len(one.text)
    if one.kind in ("string", "unclosed") or (one.kind == "name" and not one.text[1:-1].isidentifier()):
        quote = '"' if one.kind == "name" else "'"
        return f"{quote}{' ' * (len(one.text) - 2)}{quote}"[: len(one.text)]
    return one.text


def _oid(name: str, brackets: str) -> int:
    name = " ".join(name.lower().split())
    kind = BY_NAME.get(_SPOKEN.get(name, name))
    if kind is None:
        return 0
    return kind.array_oid if brackets else kind.oid


def split(sql: str) -> list[Statement]:
    """Return the statements of a text, without empty ones.

    Raises ClientError for a text that is too long, or of too many statements.
    """
    if len(sql) > LONGEST:
        raise ClientError("54000", f"the statement has {len(sql):,} characters: the most are {LONGEST:,}")
    splitter = Splitter(DUCKDB)
    found = [one.removesuffix(";").rstrip() for one in splitter.feed(sql)]
    texts = [one for one in [*found, splitter.rest()] if one]
    if len(texts) > _MOST_STATEMENTS:
        raise ClientError("54000", f"a message has more than {_MOST_STATEMENTS:,} statements")
    return [Statement(text) for text in texts]
