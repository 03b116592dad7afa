"""What single elements of a page say: which are left out, formulas as TeX, code by its lines, tables by their rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

__all__ = [
    "BLOCKS",
    "LINES",
    "SPACES",
    "code_lines",
    "inline_text",
    "is_dropped",
    "is_layout",
    "math_text",
    "table_lines",
    "walk",
]

# Elements that are not text, or that only lead to other pages.
_DROPPED_TAGS = frozenset({
    "head", "style", "template", "svg", "iframe", "object", "embed", "canvas",
    "audio", "video", "map", "nav", "dialog", "button", "select", "textarea", "input", "datalist",
})  # fmt: skip
_DROPPED_ROLES = frozenset({"navigation", "search", "banner", "contentinfo", "menu", "menubar", "toolbar", "button"})
# Elements that search engines should leave out, the pilcrow that Sphinx puts after headings, buttons that copy code,
# and what MathJax and KaTeX show for the TeX that stands beside it.
_DROPPED_CLASSES = frozenset({
    "nosearch", "noindex", "headerlink", "copybtn", "copy-button", "copy-btn", "btn-copy", "copy-code-button",
    "clipboard-copy", "katex-html", "MathJax", "MathJax_Display", "MathJax_Preview", "MathJax_SVG",
    "mwe-math-fallback-image-inline", "mwe-math-fallback-image-display",
})  # fmt: skip
# Line numbers beside code, if there is nothing but numbers in them: some of the names are those of whole listings, too.
_NUMBER_CLASSES = frozenset({
    "linenos", "linenodiv", "lineno", "linenumber", "line-number", "line-numbers", "line-numbers-rows", "gutter",
    "rouge-gutter", "hljs-ln-numbers", "blob-num", "ln", "lnt", "linenum", "line-num",
    "react-syntax-highlighter-line-number",
})  # fmt: skip
_NUMBERS = re.compile(r"[\d\s|.:]*")
_HIDDEN = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden)\b", re.IGNORECASE)
_UNSELECTABLE = re.compile(r"user-select\s*:\s*none\b", re.IGNORECASE)

# Elements with a blank line before and after. Unknown elements are part of a line.
BLOCKS = frozenset({
    "address", "article", "aside", "blockquote", "body", "center", "details", "div", "dl", "fieldset",
    "figcaption", "figure", "footer", "form", "frameset", "header", "hgroup", "hr", "main", "noframes", "noscript",
    "ol", "p", "pre", "section", "table", "ul",
})  # fmt: skip
# Elements on a line of their own.
LINES = frozenset({"caption", "dd", "dt", "legend", "li", "summary", "tr"})

SPACES = re.compile(r"[ \t\n\r\f\xa0]+")

# A longer text is no caption of a button.
_BUTTON_CHARS = 40

# More columns than a table that people read has; an attribute of 10^9 must not fill the memory.
_MOST_COLUMNS = 1_000
_MOST_ROWS = 65_534  # https://html.spec.whatwg.org/multipage/tables.html#attr-tdth-rowspan

_ORDINALS = frozenset({"st", "nd", "rd", "th", "tm", "sm", "er", "e", "\u00ae", "\u2122"})

Event: TypeAlias = Literal["open", "close", "text", "whole"]

# Elements that are written as a whole, and not walked through.
_WHOLE = frozenset({"math", "pre", "script", "sub", "sup", "table"})


def walk(root: LexborNode, *, noscript: bool = False, in_code: bool = False) -> Iterator[tuple[Event, LexborNode]]:
    """Yield the elements and texts under `root` in order, without recursion, because pages can nest very deeply.

    With `noscript`, what a page says to readers without scripts or frames is part of it. `in_code`: buttons and numbers
    beside code are not.
    """
    opened: list[LexborNode] = []
    node: LexborNode | None = root
    while node is not None:
        deeper = None
        if node.is_text_node:
            yield "text", node
        elif node.is_element_node and not (
            is_dropped(node, noscript=noscript) or (in_code and node is not root and _is_beside_code(node))
        ):
            if node.tag in _WHOLE and node is not root and not (node.tag == "table" and is_layout(node)):
                yield "whole", node
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


def is_dropped(node: LexborNode, *, noscript: bool = False) -> bool:
    """Return whether an element says nothing about the subject of the page."""
    tag = node.tag
    if tag in _DROPPED_TAGS or (tag in ("noscript", "noframes") and not noscript):
        return True
    attributes = node.attributes
    if tag == "script":
        return not (attributes.get("type") or "").startswith("math/tex")
    if not attributes:
        return False
    is_chrome = attributes.get("role") in _DROPPED_ROLES or attributes.get("aria-hidden") == "true"
    classes = (attributes.get("class") or "").split()
    if is_chrome or not _DROPPED_CLASSES.isdisjoint(classes):
        return True
    if not _NUMBER_CLASSES.isdisjoint(classes) and _NUMBERS.fullmatch(node.text()):
        return True
    return tag != "math" and _is_hidden(node, attributes)


def _is_beside_code(node: LexborNode) -> bool:
    """Return whether an element in code is a button that copies it, or cannot be selected, as line numbers."""
    attributes = node.attributes
    classes = (attributes.get("class") or "").lower().split()
    is_button = any("copy" in name for name in classes) and len(node.text()) < _BUTTON_CHARS
    return is_button or bool(_UNSELECTABLE.search(attributes.get("style") or ""))


def _is_hidden(node: LexborNode, attributes: dict[str, str | None]) -> bool:
    hidden = attributes["hidden"] != "until-found" if "hidden" in attributes else False
    hidden = hidden or bool(_HIDDEN.search(attributes.get("style") or ""))
    # Wikipedia hides the MathML of a formula, beside an image of it.
    return hidden and node.css_first("math") is None


def math_text(node: LexborNode) -> str:
    """Return a formula: its TeX if it has that as an annotation or as `alttext`, otherwise its characters."""
    if node.tag == "script":
        return _one_line(node.text())
    for annotation in node.css("annotation"):
        if "tex" in (annotation.attributes.get("encoding") or "").lower():
            return _without_style(annotation.text())
    if alttext := node.attributes.get("alttext"):
        return _without_style(alttext)
    parts = []
    depth = 0  # how deep in annotations, which say the same in other languages than TeX
    for event, part in walk(node):
        if (part.tag or "").startswith("annotation"):
            depth += {"open": 1, "close": -1}.get(event, 0)
        elif event == "text" and not depth:
            parts.append(part.text_content or "")
    return _one_line(" ".join(part for part in map(_one_line, parts) if part))


def _without_style(tex: str) -> str:
    """Return TeX without the style that Wikipedia puts around it."""
    tex = _one_line(tex)
    for style in ("\\displaystyle", "\\textstyle"):
        if tex.startswith("{" + style) and tex.endswith("}"):
            return tex[len(style) + 1 : -1].strip()
    return tex


def inline_text(node: LexborNode) -> str:
    """Return the text of an element in one line: blocks, lines and cells in it are separated by blanks."""
    parts: list[str] = []
    for event, inner in walk(node):
        tag = inner.tag or ""
        if event == "text":
            parts.append(inner.text_content or "")
        elif event == "whole":
            parts.append(_whole(inner))
        elif tag == "img" and event == "open":
            parts.append(inner.attributes.get("alt") or "")
        elif tag == "br" or tag in BLOCKS or tag in LINES or tag in ("td", "th"):
            parts.append(" ")
    return _one_line("".join(parts))


def _whole(node: LexborNode) -> str:
    if node.tag in ("sup", "sub"):
        return script_text(node)
    if node.tag in ("math", "script"):
        return f" {math_text(node)} "
    return f" {' '.join(code_lines(node))} " if node.tag == "pre" else f" {'; '.join(table_lines(node))} "


def script_text(node: LexborNode) -> str:
    """Return a superscript or subscript with its mark, so that 10 to the power of 6 does not read as 106."""
    text = inline_text(node)
    is_note = node.css_first("a") is not None or text[:1] in ("[", "(", "*", "\u2020") or not text
    if is_note or text.lower() in _ORDINALS:
        return text
    return ("^" if node.tag == "sup" else "_") + (f"({text})" if " " in text else text)


def code_lines(node: LexborNode) -> list[str]:
    """Return the lines of a `<pre>` as they are shown, without line numbers and buttons; none if it is blank."""
    parts: list[str] = []
    for event, inner in walk(node, in_code=True):
        tag = inner.tag or ""
        if event == "text":
            parts.append(inner.text_content or "")
        elif event == "whole":
            parts.append(inner.text() if tag in ("sub", "sup") else "\n".join(("", *_block_in_code(inner), "")))
        elif tag == "br":
            parts.append("\n" if event == "open" else "")
        elif inner is not node and (tag in BLOCKS or tag in LINES) and parts and not parts[-1].endswith("\n"):
            parts.append("\n")
    lines = [line.rstrip() for line in "".join(parts).replace("\r\n", "\n").split("\n")]
    while lines and not lines[0]:
        del lines[0]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _block_in_code(node: LexborNode) -> list[str]:
    """Return the lines of a table in code, whose cells hold a line each, or of code in code."""
    if node.tag != "table":
        return code_lines(node) if node.tag == "pre" else [math_text(node)]
    return ["".join(cell.text() for cell in row.css("td, th") if not is_dropped(cell)) for row in node.css("tr")]


def is_layout(node: LexborNode) -> bool:
    """Return whether a table arranges a page, or holds code: its cells are then blocks, and not columns of rows."""
    if node.attributes.get("role") in ("presentation", "none"):
        return True
    if node.css_first("table table, h1, h2, h3, h4, pre, article, section, form") is not None:
        return True
    rows = node.css("tr")
    return len(rows) == 1 and node.css_first("th") is None and node.css_first("p, ul, ol, div") is not None


def table_lines(node: LexborNode) -> list[str]:
    """Return a line for each row of a table. Cells keep their columns, also below a cell that spans several rows."""
    lines = [inline_text(caption) for caption in node.css("caption")]
    spanning: dict[int, tuple[int, str]] = {}  # the column of a cell that reaches further down: rows left, text
    for row in node.css("tr"):
        if is_dropped(row):
            continue
        line = " | ".join(_cells(row, spanning)).strip()
        while line.endswith(" |"):
            line = line[:-2].rstrip()
        lines.append(line if line.strip(" |") else "")
    return [line for line in lines if line]


def _cells(row: LexborNode, spanning: dict[int, tuple[int, str]]) -> list[str]:
    """Return the texts of a row's cells, and of cells above that reach down to it; note those that reach further."""
    cells: list[str] = []
    cell = row.child
    while True:
        while len(cells) in spanning:
            left, text = spanning.pop(len(cells))
            if left > 1:
                spanning[len(cells)] = (left - 1, text)
            cells.append(text)
        if cell is None:
            return cells
        if cell.tag in ("td", "th") and not is_dropped(cell):
            text, column = inline_text(cell), len(cells)
            rows = _span(cell, "rowspan", _MOST_ROWS)
            for place in range(min(_span(cell, "colspan", _MOST_COLUMNS), _MOST_COLUMNS - column)):
                cells.append("" if place else text)
                if rows > 1:
                    spanning[column + place] = (rows - 1, cells[-1])
        cell = cell.next


def _span(cell: LexborNode, name: str, most: int) -> int:
    value = (cell.attributes.get(name) or "").strip()
    return min(max(int(value), 1), most) if value.isascii() and value.isdigit() and len(value) < 7 else 1


def _one_line(text: str) -> str:
    return SPACES.sub(" ", text).strip()
