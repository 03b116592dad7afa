"""SQL text cut into lexemes, as SQLite and DuckDB cut it, and into statements.

This is for text that must be read before an engine sees it: filters and statements of strangers, which could be too
deep for DuckDB's parser; `:name` parameters, which DuckDB does not have; statements of PostgreSQL's clients; and
scripts, which run one statement at a time. Where an engine itself can tell what a statement does, it is asked.

The time taken is in proportion to the length of the text, whatever the text is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

__all__ = ["BLANK", "DUCKDB", "SQLITE", "Dialect", "Lexeme", "Splitter", "lexemes", "significant", "split"]

BLANK = frozenset({"space", "comment"})
"""The kinds of lexemes that mean nothing to an engine."""

_SPACES = dict.fromkeys(map(ord, "\u00a0\u202f\u205f\u2060\u3000\ufeff"), " ") | dict.fromkeys(
    range(0x2000, 0x200C), " "
)
"""DuckDB replaces these spaces of Unicode's by ASCII ones before it reads a statement."""


class Lexeme(NamedTuple):
    """One lexeme of a text."""

    kind: str
    """`space`, `comment`, `string` (with its prefix, or in dollar quotes), `name` (quoted), `word` (a keyword, or a
    name without quotes), `number`, `parameter` (`$1`, `$name`; in SQLite `:name` and `@name` too), `open` and `close`
    (brackets), `operator` (any other character, and `::` and `:=`), or `unclosed`: a comment, string or quoted name
    that the text ends in."""

    text: str
    start: int

    @property
    def end(self) -> int:
        """The index of the first character after it."""
        return self.start + len(self.text)

    @property
    def value(self) -> str:
        """The text without its quotes; of a `name`, or of a `string` in single quotes without a prefix."""
        closing = self.text[-1]
        return self.text[1:-1].replace(closing * 2, closing)


@dataclass(frozen=True)
class Dialect:
    """How one engine cuts a text: patterns of regular expressions."""

    space: str
    apart: str
    """The ASCII characters, in a class, that are in no word; all others are. `$` goes on with a word."""
    line_comment: str
    quotes: str
    """What opens a quoted name."""
    string_prefix: str
    parameter: str
    """What opens a parameter."""
    is_duckdb: bool
    """Whether there are E'' strings, strings in dollar quotes, comments in comments and spaces of Unicode's."""

    @cached_property
    def begin(self) -> re.Pattern[str]:
        """Matches a lexeme, or what opens one whose end is to be looked for."""
        name = f"[^{self.apart}$0-9][^{self.apart}]*"
        number = r"[0-9]+(?:_[0-9]+)*(?:\.(?:[0-9]+(?:_[0-9]+)*)?)?(?:[eE][+-]?[0-9]+(?:_[0-9]+)*)?"
        no_tag = rf"{self.apart}$\x00-\x1f\x7f"
        tag = rf"\$(?:[^{no_tag}0-9][^{no_tag}]*)?\$" if self.is_duckdb else "(?!)"
        escaped = "[eE]'" if self.is_duckdb else "(?!)"
        prefix = self.string_prefix
        return re.compile(
            rf"(?P<space>{self.space}+)|(?P<comment>{self.line_comment})|(?P<block>/\*)"
            rf"|(?P<escaped>{escaped})|(?P<string>{prefix}?')|(?P<name>{self.quotes})"
            rf"|(?P<dollar>{tag})|(?P<parameter>{self.parameter}(?!{escaped}|{prefix}')(?:{name}|{number}))"
            rf"|(?P<word>{name})|(?P<number>{number})"
            r"|(?P<open>[(\[{])|(?P<close>[)\]}])|(?P<operator>::|:=|.)",
            re.DOTALL,
        )


DUCKDB = Dialect(
    space="[ \t-\r]",
    apart=r" \t-\r!-#%-/:-@\[-^`{-~",
    line_comment=r"--[^\n\r]*",
    quotes='["`]',
    string_prefix="[bBnNxX]",
    parameter=r"\$",
    is_duckdb=True,
)
"""DuckDB 2, and PostgreSQL."""

SQLITE = Dialect(
    space=r"[ \t\n\f\r]",
    apart=r"\x00-#%-/:-@\[-^`{-\x7f",
    line_comment=r"--[^\n]*",
    quotes=r'["`\[]',
    string_prefix="[xX]",
    parameter="[$:@]",
    is_duckdb=False,
)


def lexemes(sql: str, dialect: Dialect, start: int = 0) -> Iterator[Lexeme]:
    """Yield the lexemes of a text from an index on; together they are the text."""
    match, size = dialect.begin.match, len(sql)
    read = sql.translate(_SPACES) if dialect.is_duckdb and not sql.isascii() else sql
    while start < size:
        found = match(read, start)
        assert found is not None  # a lexeme may be any character
        kind, end = found.lastgroup or "", found.end()
        if kind in _ENDS:
            kind, end = _ENDS[kind](read, found, dialect)
        yield Lexeme(kind, sql[start:end], start)
        start = end


def significant(sql: str, dialect: Dialect) -> Iterator[Lexeme]:
    """Yield the lexemes that mean something to an engine: neither blanks nor comments."""
    return (one for one in lexemes(sql, dialect) if one.kind not in BLANK)


def _end_of_block(sql: str, found: re.Match[str], dialect: Dialect) -> tuple[str, int]:
    if not dialect.is_duckdb:
        return _found("comment", sql, "*/", found.end())
    depth = 1
    for mark in _COMMENT_MARK.finditer(sql, found.end()):
        depth += 1 if mark.group() == "/*" else -1
        if not depth:
            return "comment", mark.end()
    return "unclosed", len(sql)


def _end_of_escaped(sql: str, found: re.Match[str], _dialect: Dialect) -> tuple[str, int]:
    """Find the end of a string in which a quote may also be written as a backslash and a quote."""
    for mark in _ESCAPED_MARK.finditer(sql, found.end()):
        if mark.group() == "'":
            return "string", mark.end()
    return "unclosed", len(sql)


def _end_of_quoted(sql: str, found: re.Match[str], _dialect: Dialect) -> tuple[str, int]:
    """Find the end of a string or name in which two closing quotes are one."""
    opening = sql[found.end() - 1]
    if opening == "[":  # which has no such thing
        return _found("name", sql, "]", found.end())
    at = sql.find(opening, found.end())
    while at >= 0:
        if sql[at + 1 : at + 2] != opening:
            return str(found.lastgroup), at + 1
        at = sql.find(opening, at + 2)
    return "unclosed", len(sql)


def _end_of_dollar(sql: str, found: re.Match[str], _dialect: Dialect) -> tuple[str, int]:
    return _found("string", sql, found.group(), found.end())


def _found(kind: str, sql: str, closing: str, start: int) -> tuple[str, int]:
    at = sql.find(closing, start)
    return ("unclosed", len(sql)) if at < 0 else (kind, at + len(closing))


_COMMENT_MARK = re.compile(r"/\*|\*/")
_ESCAPED_MARK = re.compile(r"\\.|''|'", re.DOTALL)
_ENDS = {
    "block": _end_of_block,
    "escaped": _end_of_escaped,
    "string": _end_of_quoted,
    "name": _end_of_quoted,
    "dollar": _end_of_dollar,
}
"""What finds the kind and the end of a lexeme of which only the beginning has been matched."""


_TRIGGER = re.compile("(?:EXPLAIN (?:QUERY PLAN )?)?CREATE (?:TEMP |TEMPORARY )?TRIGGER(?: |$)")
_HEAD = 7
"""Words that tell whether a statement makes a trigger."""


class Splitter:
    """Cuts a text that may come piece by piece into statements.

    A semicolon ends a statement, except inside a trigger of SQLite's, which ends in `; END;`
    (https://www.sqlite.org/c3ref/complete.html).
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._text = ""
        self._begin_statement()
        self._read = 0
        """The index of the last lexeme, which more text could change."""

    def _begin_statement(self) -> None:
        self._head: list[str] = []
        self._last = ("", "")

    def feed(self, text: str) -> list[str]:
        """Take more of the text; return the statements that end in it, each with its semicolon.

        A statement of blanks and comments alone is left out.
        """
        self._text += text
        found = []
        begin, last = 0, None
        for one in lexemes(self._text, self._dialect, self._read):
            if last is not None:
                self._note(last)
            last = one
            if one.text == ";" and not self._is_in_trigger():
                if self._head:
                    found.append(self._text[begin : one.end].strip())
                begin, last = one.end, None
                self._begin_statement()
        self._read = (len(self._text) if last is None else last.start) - begin
        self._text = self._text[begin:]
        return found

    def rest(self) -> str:
        """Return the last statement, which has no semicolon; an empty text if there is none."""
        return self._text.strip() if self._head or self.is_open else ""

    @property
    def is_open(self) -> bool:
        """Whether a statement has begun and not ended, or a comment that needs an end."""
        return bool(self._head) or any(one.kind not in BLANK for one in lexemes(self._text, self._dialect, self._read))

    def _note(self, one: Lexeme) -> None:
        if one.kind not in BLANK:
            word = one.text.upper()
            if len(self._head) < _HEAD:
                self._head.append(word[:10])
            self._last = (self._last[1], word[:10])

    def _is_in_trigger(self) -> bool:
        if self._dialect is not SQLITE or self._last == (";", "END"):
            return False
        return _TRIGGER.match(" ".join(self._head)) is not None


def split(sql: str, dialect: Dialect) -> list[str]:
    """Return the statements of a text, each with its semicolon if it has one; those without anything are left out."""
    splitter = Splitter(dialect)
    return [one for one in [*splitter.feed(sql), splitter.rest()] if one]
