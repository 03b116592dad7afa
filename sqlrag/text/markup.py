"""Headings of a text in the markup languages that people write, and the functions and classes of source code.

Only what opens a section is looked for: headings outside of code, by CommonMark's rules (https://spec.commonmark.org/)
for fences and for headings that are underlined, and titles with reStructuredText's underlines. Each text is gone
through once.
"""

from __future__ import annotations

import bisect
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CODE_KINDS", "PLAIN_KINDS", "Heading", "front_matter_end", "headings", "table_headers"]

CODE_KINDS = frozenset({
    "bash", "c", "cc", "cjs", "cpp", "cs", "css", "cxx", "dart", "ex", "exs", "go", "h", "hh", "hpp", "hs",
    "java", "jl", "js", "jsx", "kt", "kts", "lua", "m", "mjs", "mm", "php", "pl", "pm", "proto", "ps1", "py",
    "pyi", "r", "rb", "rs", "scala", "sh", "sql", "swift", "ts", "tsx", "vue", "zsh",
})  # fmt: skip
"""The suffixes of source code, which is cut at functions and classes."""

PLAIN_KINDS = frozenset(["json", "log", "srt", "toml", "vtt", "xml", "yaml", "yml", "ini", "cfg", "conf"])
"""The suffixes of texts without headings, in which `#` begins a comment or means nothing."""


class Heading(NamedTuple):
    """Where a section begins: the heading is `text[start:end]`."""

    start: int
    end: int
    level: int
    """From 1, the outermost."""
    title: str


def headings(text: str, kind: str = "") -> list[Heading]:
    """Return the headings of a text, in order. `kind` is the suffix of its file; Markdown's by default."""
    if kind in PLAIN_KINDS:
        return []
    if kind in CODE_KINDS:
        found = _code_sections(text)
    elif kind in _PATTERNS:
        found = _marked(text, kind)
    else:
        found = _markdown(text, fenced=kind != "rst", start=front_matter_end(text))
    return [heading._replace(title=" ".join(heading.title[:_TITLE_CHARS].split())) for heading in found]


# Markdown and reStructuredText

# Lines that may begin a section, that begin or end code, or that underline the line above them.
_LINE = re.compile(
    r"^(?:(?P<atx>[ ]{0,3}(?P<signs>\#{1,6})(?:[ \t][^\n]*)?$)"
    r"|(?P<before>[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+){0,4})(?P<fence>`{3,}|~{3,})(?P<info>[^\n]*)$"
    r"|[ ]{0,3}(?P<under>(?P<sign>[=\-~^\"'`\#*+.:_])(?P=sign)*)[ \t]*\r?$)",
    re.MULTILINE,
)

_LIST_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]")
_NO_PARAGRAPH = re.compile(r"[ ]{0,3}(?:[>|#]|[-*+][ \t]|\d{1,9}[.)][ \t]|```|~~~|\.\. )|[ ]{4}|\t")

# How many lines above an indented fence a list item is looked for.
_LINES_ABOVE = 20

# A title of more characters is no title.
_TITLE_CHARS = 300


def _markdown(text: str, *, fenced: bool, start: int) -> Iterator[Heading]:
    """Yield the headings of Markdown, which has code in fences, or of reStructuredText."""
    fence = ""  # the open fence
    levels: list[str] = []  # the signs of underlines, outermost first
    after = start  # the end of the last heading
    for line in _LINE.finditer(text, start):
        if line["fence"] and (fenced or fence):
            if fence:
                mark = line["fence"]
                if (
                    mark[0] == fence[0]
                    and len(mark) >= len(fence)
                    and not line["info"].strip()
                    and _is_blank(line["before"])
                ):
                    fence = ""
                continue
            if _opens_fence(text, line):
                if (heading := _underlined(text, line, after, levels)) is None:
                    fence = line["fence"]
                else:
                    yield heading
                    after = heading.end
                continue
        if fence:
            continue
        if line["atx"]:
            title = line["atx"].strip(" \t\r")[len(line["signs"]) :]
            yield Heading(line.start(), line.end(), len(line["signs"]), _without_closing(title))
            after = line.end()
        elif (line["under"] or line["fence"]) and (heading := _underlined(text, line, after, levels)):
            yield heading
            after = heading.end


def _is_blank(text: str) -> bool:
    return not text.strip(" \t")


def _without_closing(title: str) -> str:
    """Return the title of a heading without the number signs that close it."""
    title = title.strip(" \t\r")
    opened = title.rstrip("#")
    return opened.rstrip(" \t") if not opened or opened[-1] in " \t" else title


def _opens_fence(text: str, line: re.Match[str]) -> bool:
    """Return whether a line begins code: a fence of backticks has none behind it, and an indented one is in a list."""
    if line["fence"][0] == "`" and "`" in line["info"]:
        return False
    before = line["before"]
    if not _is_blank(before) or len(before.expandtabs(4)) <= 3:
        return True
    indent, place = len(before.expandtabs(4)), line.start()
    for _ in range(_LINES_ABOVE):
        if place == 0:
            return False
        begin = text.rfind("\n", 0, place - 1) + 1
        above, place = text[begin : place - 1], begin
        if not above.strip():
            continue
        margin = len(above) - len(above.lstrip(" \t"))
        if item := _LIST_ITEM.match(above):
            if len(item[0].expandtabs(4)) <= indent:
                return True
            indent = min(indent, margin)
        elif margin < indent:
            if margin == 0:
                return False
            indent = margin
    return False


def _underlined(text: str, line: re.Match[str], after: int, levels: list[str]) -> Heading | None:
    """Return the heading that a line of signs underlines, None if there is none; note its sign among the levels."""
    begin = line.start()
    if begin == 0 or begin <= after:
        return None
    first = text.rfind("\n", 0, begin - 1) + 1
    title = text[first : begin - 1].rstrip("\r")
    signs = (line["under"] or line["fence"] + (line["info"] or "")).strip()
    if first < after or not title.strip() or len(set(signs)) != 1 or _NO_PARAGRAPH.match(title):
        return None
    above_start = text.rfind("\n", 0, first - 1) + 1 if first else 0
    above = text[max(above_start, after) : max(first - 1, 0)].strip()
    width = len(title.strip())
    has_overline = bool(above) and set(above) == {signs[0]}
    is_alone = not above or has_overline
    if set(title.strip()) <= set("=-~^\"'`#*+.:_ "):
        return None  # a rule, or a row of a table
    if signs[0] in "=-":  # CommonMark's: any length, below a whole paragraph
        if len(signs) < (2 if signs[0] == "=" else 3) or not (is_alone or len(signs) * 2 >= width):
            return None
    elif len(signs) < max(3, width * 3 // 4) or not is_alone or (signs[0] in "`~" and len(signs) > width + 3):
        return None
    sign = signs[0] * 2 if has_overline else signs[0]
    if sign not in levels:
        levels.append(sign)
    level = " =-".index(sign) if set(levels) <= {"=", "-"} else levels.index(sign) + 1
    return Heading(above_start if has_overline else first, line.end(), level, title.strip())


_FRONT_MATTER = {"---": ("---", "..."), "+++": ("+++",)}

# Front matter is short; without its end in so many characters, the text begins with a rule.
_FRONT_MATTER_WITHIN = 65_536


def front_matter_end(text: str) -> int:
    """Return where the front matter of a Markdown file ends; 0 if it has none."""
    mark = text[:3]
    if mark not in _FRONT_MATTER or text[3:].split("\n", 1)[0].strip():
        return 0
    place = text.find("\n") + 1
    limit = min(len(text), _FRONT_MATTER_WITHIN)
    while 0 < place < limit:
        end = text.find("\n", place)
        end = len(text) if end < 0 else end
        line = text[place:end].rstrip()
        if line in _FRONT_MATTER[mark]:
            return end
        place = end + 1
    return 0


# Other markup

_PATTERNS = {
    "adoc": re.compile(r"^(?P<level>={1,6})[ \t]+(?P<title>\S[^\n]*)", re.MULTILINE),
    "org": re.compile(r"^(?P<level>\*{1,9})[ \t]+(?P<title>\S[^\n]*)", re.MULTILINE),
    "tex": re.compile(
        r"^[ \t]*\\(?P<level>part|chapter|section|subsection|subsubsection|paragraph)\*?(?:\[[^\]\n]{0,500}\])?"
        r"\{(?P<title>[^\n]*)",
        re.MULTILINE,
    ),
}
_PATTERNS["asciidoc"] = _PATTERNS["adoc"]
_TEX_LEVELS = ("part", "chapter", "section", "subsection", "subsubsection", "paragraph")
# Lines that begin and end a block of code.
_BLOCK_ENDS = {
    "adoc": re.compile(r"^(-{4,}|\.{4,}|`{3,}|\+{4,})[ \t]*\r?$", re.MULTILINE),
    "org": re.compile(r"^[ \t]*#\+(BEGIN|END)_(?:SRC|EXAMPLE)\b", re.MULTILINE | re.IGNORECASE),
}
_BLOCK_ENDS["asciidoc"] = _BLOCK_ENDS["adoc"]


def _marked(text: str, kind: str) -> Iterator[Heading]:
    """Yield the headings of AsciiDoc, Org or LaTeX."""
    blocks = _blocks(text, kind)
    starts = [start for start, _ in blocks]
    for found in _PATTERNS[kind].finditer(text):
        place = bisect.bisect_right(starts, found.start()) - 1
        if place >= 0 and found.start() < blocks[place][1]:
            continue
        level, title = found["level"], found["title"].strip()
        if kind == "tex":
            yield Heading(found.start(), found.end(), _TEX_LEVELS.index(level) + 1, _in_braces(title))
        else:
            yield Heading(found.start(), found.end(), len(level), title)


def _blocks(text: str, kind: str) -> list[tuple[int, int]]:
    """Return the spans of blocks of code, of which the last may be open."""
    blocks: list[tuple[int, int]] = []
    opened: tuple[int, str] | None = None
    for line in _BLOCK_ENDS[kind].finditer(text) if kind in _BLOCK_ENDS else ():
        mark = line[1].upper()
        if opened is None:
            if mark != "END":
                opened = (line.start(), mark)
        elif mark != "BEGIN" and mark in ("END", opened[1]):
            blocks.append((opened[0], line.end()))
            opened = None
    return blocks


def _in_braces(rest: str) -> str:
    """Return what stands before the brace that closes one which is open."""
    depth = 1
    for place, sign in enumerate(rest):
        depth += {"{": 1, "}": -1}.get(sign, 0)
        if not depth:
            return rest[:place]
    return rest


# Source code

_WORDS = (
    r"(?:(?:export|default|public|private|protected|internal|static|abstract|final|sealed|async|unsafe|extern|inline|open|"
    r"override|virtual|partial|data|pub(?:\([^)\n]{0,40}\))?)[ \t]+){0,6}"
)
_DEFINITION = re.compile(
    r"^(?P<indent>[ ]{0,4}|\t)(?P<what>"
    + _WORDS
    + r"(?:def|class|function\*?|fn|func|fun|interface|struct|enum|trait|impl|"
    r"module|namespace|object|record|protocol|extension|sub|defmodule|defp?|message|service|type(?=[ \t]+\w+[ \t]+"
    r"(?:struct|interface)))\b[ \t]*(?P<name>[^\n({:=;]{0,100})"
    r"|(?:CREATE)[ \t]+[^\n(]{0,100}"
    r"|(?:export[ \t]+)?(?:const|let|var)[ \t]+\w+[ \t]*=[ \t]*(?:async[ \t]*)?(?:function\b|\([^\n)]{0,200}\)[ \t]*=>)"
    r"|[A-Za-z_.][\w.]*[ \t]*(?:<-|=)[ \t]*function\b"
    r"|(?:function[ \t]+)?[A-Za-z_][\w-]*[ \t]*\(\)[ \t]*\{)",
    re.MULTILINE,
)
# A function of C, C++, Java or C#: at the margin, with a type before its name, and no semicolon behind it.
_C_FUNCTION = re.compile(
    r"^(?P<indent>)(?P<what>(?!(?:if|for|while|switch|return|else|case|do|typedef|using|import|from|package|new)\b)"
    r"[A-Za-z_][\w:<>,*&\[\]]{0,80}[ \t]+(?:[\w:<>,*&\[\]~]+[ \t]+){0,5}[*&]{0,2}[\w:~]+)[ \t]*\((?=[^\n;]*$)",
    re.MULTILINE,
)
_BESIDE = ("@", "#", "//", "/*", "*", "--", '"""', ";;")


def _code_sections(text: str) -> Iterator[Heading]:
    """Yield the functions and classes of source code, each with the comments and decorators above it."""
    found = {match.start(): match for pattern in (_C_FUNCTION, _DEFINITION) for match in pattern.finditer(text)}
    before = 0
    for place in sorted(found):
        match = found[place]
        start = place
        while start > before:
            begin = text.rfind("\n", 0, start - 1) + 1
            line = text[begin : start - 1].strip()
            if begin < before or not line.startswith(_BESIDE):
                break
            start = begin
        end = text.find("\n", place)
        end = len(text) if end < 0 else end
        before = end
        level = 1 if not match["indent"] else 2
        yield Heading(start, end, level, " ".join(match["what"].split()).rstrip("({ "))


# Tables

_TABLE = re.compile(r"(?:^[^\n|]*\|[^\n]*(?:\n|\Z)){3,}", re.MULTILINE)

# A header that is longer says less than it costs.
_HEADER_CHARS = 200


def table_headers(text: str) -> list[tuple[int, int, str]]:
    """Return `(start, end, header)` of each table in a text: three lines or more with a bar in each."""
    if "|" not in text:
        return []
    found = []
    for table in _TABLE.finditer(text):
        header = table[0].split("\n", 1)[0].strip()
        if len(header) <= _HEADER_CHARS:
            found.append((table.start(), table.end(), header))
    return found
