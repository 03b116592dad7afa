"""Put README.md and the pages outside of docs/ onto the site, and lead their links to the right place.

MkDocs loads this file as a hook (mkdocs.yml). A page is written for whoever reads it in the repository: its links are
relative to the file. On the site a link to another page leads to that page, and a link to any other file of the
repository leads to the repository's address (`Repository` in pyproject.toml), or is plain text where there is none.
A link to a file that does not exist is a warning, which `mkdocs build --strict` turns into an error.
"""

from __future__ import annotations

import logging
import os
import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\((?!\w+:|#)([^)\s#]+)(#[^)\s]*)?\)")
CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)

log = logging.getLogger("mkdocs.hooks.pages")


def pages() -> dict[str, str]:
    """Return the files outside of docs/ that the site shows: path in the repository → path on the site."""
    found = {"README.md": "index.md"}
    for pattern in ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "examples/README.md", "benchmarks/*.md"):
        found.update({path: path for path in sorted(_relative(file) for file in ROOT.glob(pattern))})
    found.update({path: path for path in sorted(_relative(file) for file in ROOT.glob("benchmarks/*.png"))})
    return found


def links(text: str) -> list[tuple[str, str]]:
    """Return `(path, anchor)` of each relative link of a page; what looks like one in code is left out."""
    return [(found[3], (found[4] or "").lstrip("#")) for found in LINK.finditer(_without_code(text))]


def for_the_site(text: str, path: str, address: str | None, on_missing: Callable[[str], None]) -> str:
    """Return a page of the repository with its links as the site has them."""
    shown = pages()
    here = _on_the_site(path, shown)
    code = [(found.start(), found.end()) for found in CODE.finditer(text)]

    def replaced(found: re.Match[str]) -> str:
        if any(begin <= found.start() and found.end() <= end for begin, end in code):
            return found[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), found[3]))
        if not (ROOT / target).exists():
            on_missing(found[3])
            return found[0]
        if target in shown or target.startswith("docs/"):
            there = posixpath.relpath(_on_the_site(target, shown), posixpath.dirname(here) or ".")
            return f"{found[1]}[{found[2]}]({there}{found[4] or ''})"
        if address is None:
            return found[2]
        kind = "tree" if (ROOT / target).is_dir() else "blob"
        return f"{found[1]}[{found[2]}]({address}/{kind}/main/{target}{found[4] or ''})"

    return LINK.sub(replaced, text)


def repository() -> str | None:
    """Return the address of the repository as pyproject.toml has it."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r'^(?:Repository|Source) = "([^"]+)"', text, re.MULTILINE | re.IGNORECASE)
    return found[1].rstrip("/") if found else None


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are not in docs/."""
    from mkdocs.structure.files import File

    for path, shown in pages().items():
        files.append(File.generated(config, shown, abs_src_path=os.fspath(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead the links of a page to where the site has what they name."""
    path = next((path for path, shown in pages().items() if shown == page.file.src_uri), f"docs/{page.file.src_uri}")
    return for_the_site(markdown, path, repository(), lambda target: log.warning("%s: no file %s", path, target))


def _on_the_site(path: str, shown: dict[str, str]) -> str:
    return shown.get(path) or path.removeprefix("docs/")


def _relative(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def _without_code(text: str) -> str:
    return CODE.sub("", text)
