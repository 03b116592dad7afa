"""Converting files that need more than decoding: pages, notebooks, feeds, subtitles, mail, data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape
from typing import TYPE_CHECKING, Any

from sqlrag.text.decoding import decode_html, decode_text
from sqlrag.text.documents import Converted, UnreadableError
from sqlrag.text.front_matter import front_matter
from sqlrag.text.html import html_to_text
from sqlrag.text.html_nodes import BLOCKS, LINES
from sqlrag.text.kinds import MARKDOWN_KINDS, OFFICE_KINDS, PAGE_KINDS
from sqlrag.text.mail import mail, web_archive
from sqlrag.text.markup import CODE_KINDS, PLAIN_KINDS, headings

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

__all__ = ["converted", "json_text"]


def converted(kind: str, data: bytes, encoding: str | None = None) -> Converted:
    """Return the title, text and metadata of a file's bytes. Raises UnreadableError."""
    if kind in OFFICE_KINDS:
        from sqlrag.text.office import office_file

        made = office_file(kind, data)
        return Converted(made.title or _title(made.text, "md"), made.text, made.metadata)
    if kind in PAGE_KINDS:
        return Converted(*html_to_text(decode_html(data, encoding)))
    if kind in _CONVERTERS:
        try:
            return _CONVERTERS[kind](data, encoding)
        except RecursionError as error:
            raise UnreadableError(f"cannot be read as .{kind}: it is nested too deep") from error
    text = without_data(decode_text(data, encoding))
    if kind in MARKDOWN_KINDS:
        title, metadata = front_matter(text)
        return Converted(title or _title(text, kind, outermost=True), text, metadata)
    if kind in CODE_KINDS or kind in PLAIN_KINDS or kind in ("txt", "text"):
        return Converted("", text)
    return Converted(_title(text, kind), text)


# The data of an image that a text holds in an address.
_DATA = re.compile(r"(data:[a-z]+/[\w.+-]{1,80}(?:;[\w=.-]{1,80}){0,4};base64,)[A-Za-z0-9+/=%]{64,}", re.IGNORECASE)


def without_data(text: str) -> str:
    """Return a text without the data of images and fonts in it, which nobody searches for."""
    return _DATA.sub(r"\1", text) if ";base64," in text else text


# A title is near the top.
_TITLE_WITHIN = 20_000

_OWN_TITLES = {
    "org": re.compile(r"^#\+TITLE:[ \t]*(\S[^\n]*)", re.MULTILINE | re.IGNORECASE),
    "tex": re.compile(r"^[ \t]*\\title(?:\[[^\]\n]{0,500}\])?\{([^}\n]+)", re.MULTILINE),
}


def _title(text: str, kind: str, *, outermost: bool = False) -> str:
    """Return the first heading; with `outermost`, the first of level 1."""
    beginning = text[:_TITLE_WITHIN]
    if kind in _OWN_TITLES and (own := _OWN_TITLES[kind].search(beginning)):
        return own[1].strip()
    return next((found.title for found in headings(beginning, kind) if found.level == 1 or not outermost), "")


# Notebooks


def _notebook(data: bytes, encoding: str | None) -> Converted:
    """Return the cells of a Jupyter notebook as Markdown, with the text that they have printed."""
    try:
        notebook = json.loads(decode_text(data, encoding))
        # Before 2015 (nbformat 3) cells were in worksheets, and code was called input.
        cells = notebook["cells"] if "cells" in notebook else [c for s in notebook["worksheets"] for c in s["cells"]]
        language = notebook.get("metadata", {}).get("kernelspec", {}).get("language", "")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreadableError(f"is not a notebook: {error!r}") from error
    parts = []
    for cell in cells if isinstance(cells, list) else ():
        if not isinstance(cell, dict):
            continue
        source = _joined(cell.get("source") or cell.get("input"))
        if cell.get("cell_type") == "heading" and source.strip():
            source = f"{'#' * min(int(cell.get('level') or 1), 6)} {source}"
        if cell.get("cell_type") == "code":
            if source.strip():
                parts.append(f"```{language}\n{source.rstrip()}\n```")
            parts += [f"```\n{output.rstrip()}\n```" for output in _outputs(cell) if output.strip()]
        elif source.strip():
            parts.append(without_data(source.strip()))
    text = "\n\n".join(parts)
    return Converted(_title(text, "md", outermost=True), text)


def _joined(source: object) -> str:
    return "".join(map(str, source)) if isinstance(source, list) else source if isinstance(source, str) else ""


def _outputs(cell: dict[str, Any]) -> Iterator[str]:
    """Yield the texts that a cell has printed: of several versions the plain one."""
    for output in cell.get("outputs") or ():
        if not isinstance(output, dict):
            continue
        data = output.get("data")
        shown = data if isinstance(data, dict) else {}
        if output.get("output_type") in ("error", "pyerr"):
            yield f"{output.get('ename', '')}: {output.get('evalue', '')}"
        elif text := _joined(output.get("text") or shown.get("text/plain") or shown.get("text/markdown")):
            yield text
        elif page := _joined(output.get("html") or shown.get("text/html")):
            yield html_to_text(page)[1]


# Data


class _Number(str):
    """A number of a JSON text, with its own digits."""

    __slots__ = ()


def json_text(value: object, indent: str = "") -> str:
    """Return a JSON value as lines such as `name: value`, for values that were read with numbers as they stand."""
    if isinstance(value, dict):
        return "\n".join(_entry(f"{indent}{key}:", inner, indent) for key, inner in value.items())
    if isinstance(value, list):
        return "\n".join(_entry(f"{indent}-", inner, indent) for inner in value)
    if value is None or isinstance(value, bool):
        return indent + json.dumps(value)
    return indent + str(value)


def _entry(mark: str, value: object, indent: str) -> str:
    if isinstance(value, (dict, list)) and value:
        return f"{mark}\n{json_text(value, indent + '  ')}"
    return f"{mark} {json_text(value) if not isinstance(value, (dict, list)) else ''}".rstrip()


def json_value(data: bytes, encoding: str | None) -> Any:
    """Return the value of a JSON file, with numbers as they stand. Raises UnreadableError."""
    text = decode_text(data, encoding)
    try:
        return json.loads(text, parse_float=_Number, parse_int=_Number)
    except RecursionError as error:
        raise UnreadableError("is not JSON that can be read: it is nested too deep") from error
    except ValueError as error:
        how = "; a file with a value a line has the suffix .jsonl" if str(error).startswith("Extra data") else ""
        raise UnreadableError(f"is not JSON: {error}{how}") from error


# XML and feeds


def _xml(data: bytes, _encoding: str | None) -> Converted:
    """Return a feed with a section for each entry, or the texts of any other XML, a paragraph for each element."""
    from xml.etree import ElementTree as ET

    try:
        root = ET.fromstring(data)  # noqa: S314 - expat limits how far entities expand (2.4.1)
    except (ET.ParseError, ValueError, LookupError) as error:
        raise UnreadableError(f"is not XML: {error}") from error
    if _name(root) in ("rss", "feed", "RDF"):
        return _feed(root)
    if _name(root) == "html":
        return Converted(*html_to_text(decode_html(data)))
    lines: list[str] = []
    title = ""
    waiting = [root]
    while waiting:
        element = waiting.pop()
        if not (element.text or "").strip() and not any((child.tail or "").strip() for child in element):
            waiting += reversed(element)
            if not len(element) and (values := [value for name, value in element.items() if "}" not in name]):
                lines.append(f"{_name(element)}: {', '.join(values)}")  # an element that says all in its attributes
            continue
        text = _paragraph(element)
        if _name(element) == "title":
            title, text = title or text, f"## {text}"
        lines.append(text)
    return Converted(title, "\n\n".join(lines))


def _name(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


# Elements of the usual kinds of XML that are not part of a line, beside those of HTML.
_XML_BLOCKS = BLOCKS | LINES | {
    "abstract", "br", "entry", "head", "item", "l", "lb", "listitem", "lg", "member", "note", "para", "programlisting",
    "row", "screen", "sec", "simpara", "td", "term", "th", "title", "varlistentry",
}  # fmt: skip


def _paragraph(element: Element) -> str:
    """Return the text of an element in one line; elements that are marks in a line do not break words."""
    parts = []
    waiting: list[Element | str] = [element]
    while waiting:
        part = waiting.pop()
        if isinstance(part, str):
            parts.append(part)
            continue
        space = " " if _name(part) in _XML_BLOCKS else ""
        waiting += [part.tail or "" if part is not element else "", space]
        waiting += reversed(part)
        parts += [space, part.text or "" if isinstance(part.tag, str) else ""]
    return " ".join("".join(parts).split())


def _feed(root: Element) -> Converted:
    parts = []
    title = ""
    about = ""
    for element in root.iter():
        if _name(element) == "title" and not title:
            title = _plain(element.text)
        if _name(element) in ("channel", "feed"):
            said = (child for child in element if _name(child) in ("description", "subtitle"))
            about = about or next((text for text in map(_marked_up, said) if text), "")
        if _name(element) not in ("item", "entry"):
            continue
        fields = {_name(child): child for child in element}
        heading = _plain(fields["title"].text) if "title" in fields else ""
        dates = [_plain(fields[name].text) for name in ("pubDate", "published", "updated", "date") if name in fields]
        bodies = [fields[name] for name in ("encoded", "content", "description", "summary") if name in fields]
        body = next((text for text in map(_marked_up, bodies) if text), "")
        parts.append("\n\n".join(part for part in (f"## {heading}" if heading else "", *dates[:1], body) if part))
    return Converted(title, "\n\n".join([about, *parts] if about else parts))


def _marked_up(element: Element) -> str:
    """Return the text of an element that holds a page, as characters or as elements (Atom's xhtml)."""
    if not len(element):
        return _plain(element.text)
    from xml.etree import ElementTree as ET

    for inner in element.iter():
        if isinstance(inner.tag, str):
            inner.tag = _name(inner)
    return html_to_text(f"<body>{ET.tostring(element, 'unicode', 'html')}</body>")[1]


def _plain(markup: str | None) -> str:
    """Return the text of an entry's part, which usually is HTML."""
    text = markup or ""
    return html_to_text(f"<body>{text}</body>")[1] if "<" in text or "&" in text else " ".join(text.split())


# Subtitles

_TIME = re.compile(r"\s*(?:\d+:)?\d{1,2}:\d{2}[.,]\d{1,3}\s*-->")
_VOICE = re.compile(r"<v(?:\.[^<>\s]{0,80})?\s+([^<>\n]{1,80})>")
_TAG = re.compile(r"<[^<>\n]{0,200}>|\{\\[^{}\n]{0,200}\}")


def _subtitles(data: bytes, encoding: str | None) -> Converted:
    """Return what is said, a line for each cue, without numbers and times."""
    lines: list[str] = []
    in_cue = False
    for line in decode_text(data, encoding).replace("\r\n", "\n").split("\n"):
        if _TIME.match(line):
            in_cue = True
        elif not line.strip():
            in_cue = False
        elif in_cue:
            said = unescape(_TAG.sub("", _VOICE.sub(r"\1: ", line))).strip()
            if said and said != (lines[-1] if lines else ""):  # rolling captions repeat the line before
                lines.append(said)
    return Converted("", "\n".join(lines))


def _mail(data: bytes, _encoding: str | None) -> Converted:
    return mail(data)


def _web_archive(data: bytes, _encoding: str | None) -> Converted:
    return web_archive(data)


_CONVERTERS = {
    "ipynb": _notebook,
    "xml": _xml,
    "rss": _xml,
    "atom": _xml,
    "srt": _subtitles,
    "vtt": _subtitles,
    "eml": _mail,
    "mhtml": _web_archive,
    "mht": _web_archive,
}
