"""Converting HTML to text that is good to read and to search.

Headings become Markdown headings, at which chunks begin. Blocks are separated by blank lines, list items and table rows
are lines of their own, code keeps its lines, and formulas are TeX if the page has them so. Of links only the text
remains, and nothing is escaped, because addresses and backslashes only disturb a search. The parser is lexbor
(selectolax), which reads broken pages as browsers do.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sqlrag.text.documents import UnreadableError
from sqlrag.text.html_nodes import (
    BLOCKS,
    LINES,
    SPACES,
    code_lines,
    math_text,
    script_text,
    table_lines,
    walk,
)

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

__all__ = ["html_to_text"]

_HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}

# A marked main part with less than this share of the page's text is a caption, not the page.
_SMALL_SHARE = 5
_MUCH_TEXT = 500

# How deep the elements may nest that are closed only by a tag of their own.
_DEEPEST = 10_000
_NESTING = re.compile(
    r"</?(?!(?:area|base|br|col|embed|hr|img|input|link|meta|param|source|track|wbr|p|li|dt|dd|tr|td|th|thead|tbody|"
    r"tfoot|option|optgroup|rt|rp|colgroup|html|head|body)\b)[a-z][^<>]*(?<!/)>",
    re.IGNORECASE,
)

# Items of lists are indented up to this depth.
_DEEPEST_LIST = 16


def html_to_text(html: str) -> tuple[str, str]:
    """Return (title, text) of a page. The title is `<title>`, the first `<h1>`, or empty. Raises UnreadableError."""
    try:
        return _title_and_text(html)
    except RecursionError as error:
        raise UnreadableError("has code, formulas or small print nested a thousand deep") from error


def _title_and_text(html: str) -> tuple[str, str]:
    from selectolax.lexbor import LexborHTMLParser

    if _is_deep(html):
        raise UnreadableError(f"has elements nested more than {_DEEPEST:,} deep")
    page = LexborHTMLParser(html)
    heading = page.css_first("head > title") or page.css_first("h1")
    title = SPACES.sub(" ", heading.text()).strip() if heading is not None else ""
    # If a page marks its main parts, the rest belongs to the site.
    marked = "\n\n".join(filter(None, (_Writer().text(root) for root in _main_parts(page))))
    body = page.body
    whole = "" if body is None else _Writer().text(body)
    if marked and (len(marked) * _SMALL_SHARE >= len(whole) or len(whole) - len(marked) < _MUCH_TEXT):
        return title, marked
    if not whole and (root := page.root) is not None:
        whole = _Writer(noscript=True).text(root)
        if whole and "<" in whole and (frames := page.css_first("noframes")) is not None:
            return title, _title_and_text(frames.text())[1]  # lexbor reads what is in <noframes> as characters
    return title, whole


def _is_deep(html: str) -> bool:
    """Return whether elements nest so deep that a parser, which looks at each open one, takes minutes."""
    if html.count("</") < _DEEPEST and html.count("<") < 2 * _DEEPEST:
        return False
    depth = 0
    for tag in _NESTING.finditer(html):
        depth += -1 if tag[0][1] == "/" else 1
        if depth > _DEEPEST:
            return True
        depth = max(depth, 0)
    return False


def _main_parts(page: LexborHTMLParser) -> list[LexborNode]:
    """Return the parts that a page marks as its main ones, without those inside another."""
    parts: list[LexborNode] = []
    for node in page.css("main, [role=main]"):
        above = node.parent
        while above is not None and above.tag != "main" and (above.attributes or {}).get("role") != "main":
            above = above.parent
        if above is None:
            parts.append(node)
    return parts


class _Writer:
    """Writes the text under one node; with `noscript`, also what is for readers without scripts or frames."""

    def __init__(self, *, noscript: bool = False) -> None:
        self._noscript = noscript
        self._lines: list[str] = []  # the finished lines
        self._inline: list[str] = []  # the parts of the current line
        self._mark = ""  # the start of the next line: "## ", "- "
        self._lists: list[int | None] = []  # the open lists: the next number of <ol>, None for <ul>

    def text(self, root: LexborNode) -> str:
        """Return the text of `root`, without blank lines around it."""
        for event, node in walk(root, noscript=self._noscript):
            tag = node.tag or ""
            if event == "text":
                self._inline.append(node.text_content or "")
            elif event == "whole":
                self._whole(tag, node)
            elif event == "open":
                self._open(tag, node)
            else:
                self._close(tag)
        self._end_line()
        return "\n".join(self._lines).strip("\n")

    def _whole(self, tag: str, node: LexborNode) -> None:
        """Write an element that is not walked through."""
        if tag == "pre":
            self._code(node)
        elif tag == "table":
            self._end_block()
            self._lines += table_lines(node)
            self._end_block()
        elif tag in ("sup", "sub"):
            self._inline.append(script_text(node))
        else:
            self._inline.append(f" {math_text(node)} " if tag == "script" else math_text(node))

    def _open(self, tag: str, node: LexborNode) -> None:
        """Write the beginning of an element."""
        if tag == "br":
            self._end_line()
        elif tag == "img":
            self._inline.append(node.attributes.get("alt") or "")
        elif tag in _HEADINGS:
            self._end_block()
            self._mark = _HEADINGS[tag]
        elif tag in ("ul", "ol"):
            self._end_line() if self._lists else self._end_block()
            self._lists.append(_number(node, "start", 1) if tag == "ol" else None)
        elif tag in BLOCKS or tag in ("td", "th"):
            self._end_block()
        elif tag in LINES:
            self._end_line()
            if tag == "li":
                self._mark = self._bullet(node)

    def _close(self, tag: str) -> None:
        """Write the end of an element."""
        if tag in ("ul", "ol"):
            self._end_line()
            self._lists.pop()
            if not self._lists:
                self._end_block()
        elif tag in BLOCKS or tag in _HEADINGS or tag in ("td", "th"):
            self._end_block()
        elif tag in LINES:
            self._end_line()
        if tag == "li" or tag in _HEADINGS:
            self._mark = ""  # an empty element has not used it

    def _bullet(self, item: LexborNode) -> str:
        """Return the mark of an item of the innermost list."""
        indent = "  " * min(len(self._lists) - 1, _DEEPEST_LIST)
        if not self._lists or self._lists[-1] is None:
            return f"{indent}- "
        number = _number(item, "value", self._lists[-1])
        self._lists[-1] = number + 1
        return f"{indent}{number}. "

    def _code(self, node: LexborNode) -> None:
        """Write a `<pre>` with its own lines, in a fence."""
        lines = code_lines(node)
        if not lines:
            return
        self._end_block()
        self._mark = ""
        self._lines += ["```", *lines, "```", ""]

    def _end_line(self) -> None:
        """Finish the current line. Nothing is written for a blank one."""
        line = SPACES.sub(" ", "".join(self._inline)).strip()
        self._inline.clear()
        if line:
            self._lines.append(self._mark + line)
            self._mark = ""

    def _end_block(self) -> None:
        """Finish the current line, and add a blank one after it."""
        self._end_line()
        if self._lines and self._lines[-1]:
            self._lines.append("")


def _number(node: LexborNode, name: str, default: int) -> int:
    """Return the number in an attribute of a list or of its item."""
    value = (node.attributes.get(name) or "").strip()
    digits = value.removeprefix("-")
    return int(value) if digits.isascii() and digits.isdigit() and len(digits) < 10 else default
