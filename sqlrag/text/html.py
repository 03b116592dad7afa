"""Converting HTML to text that is good to read and to search.

Headings become Markdown headings, at which chunks begin. Blocks are separated by blank lines, list items and table rows
are lines of their own, and code keeps its lines. Of links only the text remains, and nothing is escaped, because
addresses and backslashes only disturb a search. The parser is lexbor (selectolax), which reads broken pages as browsers
do.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selectolax.lexbor import LexborNode

__all__ = ["html_to_text"]

# Elements that are not text, or that only lead to other pages.
_DROPPED_TAGS = frozenset({
    "head", "script", "style", "noscript", "template", "svg", "math", "iframe", "object", "embed", "canvas",
    "audio", "video", "map", "nav", "dialog", "button", "select", "textarea", "input", "datalist",
})  # fmt: skip
_DROPPED_ROLES = frozenset({"navigation", "search", "banner", "contentinfo", "menu", "menubar", "toolbar"})
# Elements that search engines should leave out, and the pilcrow that Sphinx puts after headings.
_DROPPED_CLASSES = frozenset({"nosearch", "noindex", "headerlink"})

_HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}
# Elements with a blank line before and after. Unknown elements are part of a line.
_BLOCKS = frozenset({
    "address", "article", "aside", "blockquote", "body", "center", "details", "div", "dl", "fieldset",
    "figcaption", "figure", "footer", "form", "header", "hgroup", "hr", "main", "ol", "p", "pre", "section",
    "table", "ul",
})  # fmt: skip
# Elements on a line of their own.
_LINES = frozenset({"caption", "dd", "dt", "legend", "li", "summary", "tr"})

_SPACES = re.compile(r"[ \t\n\r\f\xa0]+")


def html_to_text(html: str) -> tuple[str, str]:
    """Return (title, text) of a page. The title is `<title>`, the first `<h1>`, or empty."""
    from selectolax.lexbor import LexborHTMLParser

    page = LexborHTMLParser(html)
    heading = page.css_first("head > title") or page.css_first("h1")
    title = _SPACES.sub(" ", heading.text()).strip() if heading is not None else ""
    # If a page marks its main part, the rest belongs to the site.
    for root in (page.css_first("main, [role=main]"), page.body):
        if root is not None and (text := _Writer().text(root)):
            return title, text
    return title, ""


class _Writer:
    """Writes the text under one node."""

    def __init__(self) -> None:
        self._lines: list[str] = []  # the finished lines
        self._inline: list[str] = []  # the parts of the current line
        self._mark = ""  # the start of the next line: "## ", "- "
        self._lists: list[int | None] = []  # the open lists: the last number of <ol>, None for <ul>

    def text(self, root: LexborNode) -> str:
        """Return the text of `root`, without blank lines around it."""
        for event, node in _walk(root):
            tag = node.tag or ""
            if event == "text":
                self._inline.append(node.text_content or "")
            elif event == "pre":
                self._code(node)
            elif event == "open":
                self._open(tag, node)
            else:
                self._close(tag)
        self._end_line()
        return "\n".join(self._lines).strip("\n")

    def _open(self, tag: str, node: LexborNode) -> None:
        """Write the beginning of an element."""
        if tag == "br":
            self._end_line()
        elif tag == "img":
            self._inline.append(node.attributes.get("alt") or "")
        elif tag in ("td", "th"):
            if "".join(self._inline).strip():
                self._inline.append(" | ")
        elif tag in _HEADINGS:
            self._end_block()
            self._mark = _HEADINGS[tag]
        elif tag in ("ul", "ol"):
            self._end_line() if self._lists else self._end_block()
            self._lists.append(0 if tag == "ol" else None)
        elif tag in _BLOCKS:
            self._end_block()
        elif tag in _LINES:
            self._end_line()
            if tag == "li":
                self._mark = self._bullet()

    def _close(self, tag: str) -> None:
        """Write the end of an element."""
        if tag in ("ul", "ol"):
            self._end_line()
            self._lists.pop()
            if not self._lists:
                self._end_block()
        elif tag in _BLOCKS or tag in _HEADINGS:
            self._end_block()
        elif tag in _LINES:
            self._end_line()
        if tag == "li" or tag in _HEADINGS:
            self._mark = ""  # an empty element has not used it

    def _bullet(self) -> str:
        """Return the mark of the next item of the innermost list."""
        indent = "  " * (len(self._lists) - 1)
        if not self._lists or self._lists[-1] is None:
            return f"{indent}- "
        self._lists[-1] += 1
        return f"{indent}{self._lists[-1]}. "

    def _code(self, node: LexborNode) -> None:
        """Write a `<pre>` with its own lines, in a fence."""
        code = node.text().replace("\r\n", "\n").strip("\n")
        if not code.strip():
            return
        self._end_block()
        self._mark = ""
        self._lines += ["```", *(line.rstrip() for line in code.split("\n")), "```", ""]

    def _end_line(self) -> None:
        """Finish the current line. Nothing is written for a blank one."""
        line = _SPACES.sub(" ", "".join(self._inline)).strip().removesuffix(" |")
        self._inline.clear()
        if line:
            self._lines.append(self._mark + line)
            self._mark = ""

    def _end_block(self) -> None:
        """Finish the current line, and add a blank one after it."""
        self._end_line()
        if self._lines and self._lines[-1]:
            self._lines.append("")


def _walk(root: LexborNode) -> Iterator[tuple[Literal["open", "close", "text", "pre"], LexborNode]]:
    """Yield the elements and texts under `root` in order, without recursion, because pages can nest very deeply."""
    opened: list[LexborNode] = []
    node: LexborNode | None = root
    while node is not None:
        deeper = None
        if node.is_text_node:
            yield "text", node
        elif node.is_element_node and not _is_dropped(node):
            if node.tag == "pre":
                yield "pre", node
            else:
                yield "open", node
                deeper = node.child
                if deeper is None:
                    yield "close", node
                else:
                    opened.append(node)
        if deeper is not None:
            node = deeper
            continue
        node = node.next if opened else None
        while node is None and opened:
            done = opened.pop()
            yield "close", done
            node = done.next if opened else None


def _is_dropped(node: LexborNode) -> bool:
    """Return whether an element says nothing about the subject of the page."""
    if node.tag in _DROPPED_TAGS:
        return True
    attributes = node.attributes
    if not attributes:
        return False
    if attributes.get("role") in _DROPPED_ROLES or attributes.get("aria-hidden") == "true":
        return True
    return not _DROPPED_CLASSES.isdisjoint((attributes.get("class") or "").split())
