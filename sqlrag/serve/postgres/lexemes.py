"""What a statement is made of, as far as a server has to know: its end, its first word, its parameters, its names.

Every pattern takes a time in proportion to the text, and nothing is kept of a statement but its text: a client that has
prepared a thousand must not cost a thousand times their parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, groupby

from sqlrag.serve.postgres.sqlstate import Refused
from sqlrag.serve.postgres.types import BY_NAME

__all__ = ["LONGEST", "Statement", "split"]

LONGEST = 250_000
"""Characters of a statement, or of several in one message."""

_MOST_STATEMENTS = 1_000
"""In one message."""

_LEXEME = re.compile(
    r"""
    (?P<space>\s+ | --[^\n]* | /\*.*?(?:\*/|\Z))
  | (?P<string>[eE]'[^'\\]*(?:(?:\\.|'')[^'\\]*)*(?:'|\\?\Z) | '[^']*(?:''[^']*)*(?:'|\Z)
      | \$(?P<tag>[A-Za-z_]\w*|)\$.*?(?:\$(?P=tag)\$|\Z))
  | (?P<quoted>"[^"]*(?:""[^"]*)*(?:"|\Z) | `[^`]*(?:`|\Z))
  | (?P<parameter>\$\d+)
  | (?P<cast>::)
  | (?P<word>[^\W\d]\w*)
  | (?P<number>\d[\w.]*)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)

# A cast of a parameter, which SQLite reads as a name of it: `$1::int`, `$1::double precision`, `$1::varchar(10)[]`.
_CAST = re.compile(
    r"\$(\d+)\s*::\s*(double\s+precision|character\s+varying|timestamp\s+with(?:out)?\s+time\s+zone|[A-Za-z_]\w*)"
    r"(?:\s*\(\s*\d+(?:\s*,\s*\d+)?\s*\))?((?:\s*\[\s*(?:\d+\s*)?\])?)",
    re.IGNORECASE,
)

# Names of types that SQL has and pg_type has not.
_SPOKEN = {
    "bigint": "int8", "boolean": "bool", "blob": "bytea", "character varying": "varchar", "decimal": "numeric",
    "double": "float8", "double precision": "float8", "float": "float8", "int": "int4", "integer": "int4",
    "real": "float4", "smallint": "int2", "string": "text",
    "timestamp with time zone": "timestamptz", "timestamp without time zone": "timestamp",
}  # fmt: skip

# What a name of the catalog is: a schema of its own, or a relation that is found without naming it.
_SCHEMAS = frozenset({"pg_catalog", "information_schema"})

# What clients ask of the server itself; in a statement that reads no table.
_ABOUT = frozenset(
    {"current_database", "current_schema", "current_schemas", "current_setting", "has_database_privilege",
     "has_schema_privilege", "has_table_privilege", "pg_advisory_unlock_all", "pg_backend_pid", "pg_encoding_to_char",
     "pg_get_userbyid", "pg_is_in_recovery", "set_config", "to_regclass", "to_regtype", "version"}
)  # fmt: skip
_WITHOUT_BRACKETS = frozenset({"current_catalog", "current_role", "current_schema", "current_user", "session_user"})


@dataclass(frozen=True)
class Statement:
    """One statement, without the semicolon behind it."""

    text: str

    @cached_property
    def first(self) -> str:
        """Its first word, in capitals."""
        return next(self.words())

    @cached_property
    def parameters(self) -> list[int]:
        """The types that casts give its parameters `$1`, `$2`, …: 0 for those without a cast."""
        numbers = (int(text[1:]) for kind, text in self.lexemes() if kind == "parameter" and len(text) <= 6)
        types = [0] * min(max(numbers, default=0), 65_535)
        casts = (found for is_code, text in self._stretches() if is_code for found in _CAST.findall(text))
        for number, name, brackets in casts:
            if len(number) <= 5 and 0 < int(number) <= len(types):
                types[int(number) - 1] = types[int(number) - 1] or _oid(name, brackets)
        return types

    @property
    def without_casts(self) -> str:
        """The statement with `$1` for `$1::int`: SQLite has no such casts, and the value has its type already."""
        if "::" not in self.text:
            return self.text
        return "".join(_CAST.sub(r"$\1", text) if is_code else text for is_code, text in self._stretches()).strip()

    def lexemes(self) -> Iterator[tuple[str, str]]:
        """Yield what it is made of, and the kind of each."""
        return ((kind, text) for kind, text, _, _ in _lexemes(self.text))

    def words(self) -> Iterator[str]:
        """Yield what it is made of, without blanks and comments; words in capitals."""
        return (text.upper() if kind == "word" else text for kind, text in self.lexemes() if kind != "space")

    def _stretches(self) -> Iterator[tuple[bool, str]]:
        """Yield the statement in parts: code, and what is quoted."""
        groups = groupby(self.lexemes(), lambda lexeme: lexeme[0] not in ("string", "quoted"))
        return ((is_code, "".join(text for _, text in group)) for is_code, group in groups)

    def asks_catalog(self, relations: frozenset[str]) -> bool:
        """Tell whether it is about the server or its catalog, whose relations these are."""
        names, called, last = set(), set(), ""
        for kind, text in self.lexemes():
            if kind == "word":
                last = text.lower()
                names.add(last)
            elif kind == "quoted":
                names |= {text[1:-1]} & _SCHEMAS
                last = ""
            elif kind != "space":
                called |= {last} if text == "(" else set()
                last = ""
        if names & (_SCHEMAS | relations):
            return True
        return "from" not in names and bool(called & _ABOUT or names & _WITHOUT_BRACKETS)


def _oid(name: str, brackets: str) -> int:
    name = " ".join(name.lower().split())
    kind = BY_NAME.get(_SPOKEN.get(name, name))
    if kind is None:
        return 0
    return kind.array_oid if brackets else kind.oid


def split(sql: str) -> list[Statement]:
    """Return the statements of a text; those that are empty are left out.

    Raises Refused for a text that is too long, or of too many statements.
    """
    if len(sql) > LONGEST:
        raise Refused("54000", f"the statement has {len(sql):,} characters: the most are {LONGEST:,}")
    statements: list[Statement] = []
    begin, is_empty = 0, True
    for kind, text, start, end in chain(_lexemes(sql), [("other", ";", len(sql), len(sql))]):
        if text != ";":
            is_empty = is_empty and kind == "space"
            continue
        if not is_empty:
            statements.append(Statement(sql[begin:start].strip()))
            if len(statements) > _MOST_STATEMENTS:
                raise Refused("54000", f"a message has more than {_MOST_STATEMENTS:,} statements")
        begin, is_empty = end, True
    return statements


def _lexemes(sql: str) -> Iterator[tuple[str, str, int, int]]:
    """Yield the kind of each part of a text, the part, and where it begins and ends."""
    for found in _LEXEME.finditer(sql):
        kind = found.lastgroup or "string"
        yield "string" if kind == "tag" else kind, found.group(), found.start(), found.end()
