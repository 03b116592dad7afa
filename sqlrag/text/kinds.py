"""The kinds of files that can be read, by their suffixes and by the names that files without one usually have."""

from __future__ import annotations

import os

from sqlrag.text.markup import CODE_KINDS

__all__ = ["KINDS", "MANY_KINDS", "OFFICE_KINDS", "PAGE_KINDS", "ROW_KINDS", "TEXT_KINDS", "kind_of", "remedy"]

MARKDOWN_KINDS = frozenset({"md", "markdown", "mdx", "qmd", "rmd"})
TEXT_KINDS = MARKDOWN_KINDS | CODE_KINDS | {
    "adoc", "asciidoc", "cfg", "conf", "ini", "log", "org", "rst", "tex", "text", "toml", "txt", "yaml", "yml",
}  # fmt: skip
"""Files whose text is their characters."""

PAGE_KINDS = frozenset({"html", "htm", "xhtml"})
CONVERTED_KINDS = frozenset({"ipynb", "xml", "rss", "atom", "srt", "vtt", "eml", "mhtml", "mht"})
"""Files that the standard library, or the parser of HTML, reads."""

ROW_KINDS = frozenset({"jsonl", "ndjson", "csv", "tsv", "parquet"})
MANY_KINDS = ROW_KINDS | {"json", "mbox", "zip"}
"""Files that may hold many documents."""

OFFICE_KINDS = frozenset({"pdf", "docx", "pptx", "xlsx", "epub", "rtf", "odt", "ods", "odp", "xls", "docm", "xlsm"})
"""Files for whose reading the extra `files` is needed, but for `epub`, `odt`, `ods` and `odp`."""

KINDS = TEXT_KINDS | PAGE_KINDS | CONVERTED_KINDS | MANY_KINDS | OFFICE_KINDS

# Names that say what is in a file without a suffix, or with one that is not a kind: README, README.Debian.
_NAMES = frozenset({
    "authors", "bugs", "build", "changelog", "changes", "codeowners", "contributing", "contributors", "copying",
    "copyright", "credits", "dockerfile", "faq", "gemfile", "hacking", "history", "howto", "install",
    "jenkinsfile", "justfile", "licence", "license", "maintainers", "makefile", "manifest", "news", "notes",
    "notice", "procfile", "rakefile", "readme", "release", "releases", "security", "thanks", "todo",
    "upgrading", "vagrantfile", "version",
})  # fmt: skip

_REMEDIES = {
    **dict.fromkeys(("doc", "dot"), "convert them: soffice --headless --convert-to docx *.doc"),
    **dict.fromkeys(("ppt", "pps"), "convert them: soffice --headless --convert-to pptx *.ppt"),
    **dict.fromkeys(("xlsb", "numbers"), "convert them: soffice --headless --convert-to xlsx"),
    **dict.fromkeys(("key", "ppsx", "potx"), "convert them: soffice --headless --convert-to pptx"),
    **dict.fromkeys(("pages", "wpd", "dotx"), "convert them: soffice --headless --convert-to docx"),
    **dict.fromkeys(("mobi", "azw", "azw3", "djvu", "ps"), "convert them to PDF or EPUB"),
    **dict.fromkeys(("tar", "tgz", "bz2", "xz", "zst", "7z", "rar"), "unpack them first"),
    **dict.fromkeys(("png", "jpg", "jpeg", "gif", "tif", "tiff", "webp", "bmp", "heic"), "images need OCR first"),
    **dict.fromkeys(("mp3", "mp4", "wav", "m4a", "mov", "avi", "mkv", "webm"), "recordings need a transcript first"),
}


def kind_of(name: str) -> str | None:
    """Return the kind of a file by its name, None if it has none that can be read. `.gz` behind it does not matter."""
    plain = name.lower().removesuffix(".gz")
    stem, dot, suffix = plain.rpartition(".")
    if dot and stem and suffix in KINDS:
        return suffix
    if plain.lstrip(".").partition(".")[0].partition("-")[0] in _NAMES:
        return "text"
    return None


def remedy(name: str) -> tuple[str, str]:
    """Return the suffix of a file of no known kind, with its dot, and what would make it readable; "" if nothing."""
    suffix = os.path.splitext(name.lower().removesuffix(".gz"))[1]
    if not suffix:
        return "no suffix", "as text: --include NAME"
    found = _REMEDIES.get(suffix[1:])
    return suffix, found or f"as text: --include '*{suffix}'"
