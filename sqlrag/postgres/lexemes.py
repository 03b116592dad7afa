"""What a statement is made of, as far as a server has to know: its end, its first word, its parameters, its names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from sqlrag.postgres.types import BY_NAME

__all__ = ["Statement", "split"]

_LEXEME = re.compile(
    r"""
    (?P<space>\s+ | --[^\n]* | /\*.*?(?:\*/|\Z))
  | (?P<string>[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z) | '(?:[^']|'')*(?:'|\Z)
      | \$(?P<tag>[A-Za-z_]\w*|)\$.*?(?:\$(?P=tag)\$|\Z))
  | (?P<quoted>"(?:[^"]|"")*(?:"|\Z) | `[^`]*(?:`|\Z))
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
    r"(?:\s*\(\s*\d+(?:\s*,\s*\d+)?\s*\))?((?:\s*\[\s*\d*\s*\])?)",
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

    lexemes: tuple[tuple[str, str], ...]

    @cached_property
    def text(self) -> str:
        """The statement."""
        return "".join(text for _, text in self.lexemes).strip()

    @cached_property
    def words(self) -> list[str]:
        """What it is made of, without blanks and comments; words in capitals."""
        return [text.upper() if kind == "word" else text for kind, text in self.lexemes if kind != "space"]

    @cached_property
    def parameters(self) -> list[int]:
        """The types that casts give its parameters `$1`, `$2`, …: 0 for those without a cast."""
        numbers = [int(text[1:]) for kind, text in self.lexemes if kind == "parameter" and len(text) <= 6]
        types = [0] * min(max(numbers, default=0), 65_535)
        casts = [found for is_code, text in self._stretches for found in _CAST.findall(text) if is_code]
        for number, name, brackets in casts:
            if len(number) <= 5 and 0 < int(number) <= len(types):
                types[int(number) - 1] = types[int(number) - 1] or _oid(name, brackets)
        return types

    @cached_property
    def without_casts(self) -> str:
        """The statement with `$1` for `$1::int`: SQLite has no such casts, and the value has its type already."""
        return "".join(_CAST.sub(r"$\1", text) if is_code else text for is_code, text in self._stretches).strip()

    @cached_property
    def _stretches(self) -> list[tuple[bool, str]]:
        """The statement in parts: code, and what is quoted."""
        groups = groupby(self.lexemes, lambda lexeme: lexeme[0] not in ("string", "quoted"))
        return [(is_code, "".join(text for _, text in group)) for is_code, group in groups]

    def asks_catalog(self, relations: frozenset[str]) -> bool:
        """Tell whether it is about the server or its catalog, whose relations these are."""
        names = {text.lower() for kind, text in self.lexemes if kind == "word"}
        names |= {text[1:-1] for kind, text in self.lexemes if kind == "quoted"} & _SCHEMAS
        if names & (_SCHEMAS | relations):
            return True
        called = {word.lower() for word, after in zip(self.words, [*self.words[1:], ""], strict=True) if after == "("}
        return "from" not in names and bool(called & _ABOUT or names & _WITHOUT_BRACKETS)


def _oid(name: str, brackets: str) -> int:
    name = " ".join(name.lower().split())
    kind = BY_NAME.get(_SPOKEN.get(name, name))
    if kind is None:
        return 0
    return kind.array_oid if brackets else kind.oid


def split(sql: str) -> list[Statement]:
    """Return the statements of a text; those that are empty are left out."""
    statements: list[Statement] = []
    lexemes: list[tuple[str, str]] = []
    for found in _LEXEME.finditer(sql):
        if found.group() == ";":
            statements.append(Statement(tuple(lexemes)))
            lexemes = []
        else:
            lexemes.append((found.lastgroup if found.lastgroup not in (None, "tag") else "string", found.group()))
    statements.append(Statement(tuple(lexemes)))
    return [statement for statement in statements if statement.words]
