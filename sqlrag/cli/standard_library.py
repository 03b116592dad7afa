"""The documents of `sqlrag demo`: the docstrings of the standard library of the running interpreter.

Every Python has this text, so nothing is bundled and nothing is downloaded. Included are documented public modules,
their public classes and functions, and the methods of types that all kinds of programs use. Each is included once,
under the shortest name by which it is published (`json.JSONEncoder`, not `json.encoder.JSONEncoder`). Other methods are
left out, because the first run would take half as long again; a search finds their class.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import io
import pkgutil
import re
import sys
import sysconfig
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from sqlrag.text import Document

__all__ = ["INDEX", "PATH", "QUESTIONS", "harvest"]

PATH = "python-stdlib.db"
"""The default path of the demo's database; with DuckDB, its suffix is `.duckdb`."""

INDEX = "chunks"
"""The demo's index, and so its chunk table."""

QUESTIONS = (
    "how long does a piece of code take?",
    "which items turn up most often?",
    "take a photograph of memory to find a leak",
)
"""Questions whose answers share few words with them, so that finding them takes meaning."""

# Importing these has an effect (a browser, a window, a prompt, a print, a patch), or they are not libraries: tests, the
# insides of tools, and the path modules under their second name (`os.path` is included).
_LEFT_OUT = frozenset({
    "antigravity", "distutils", "ensurepip", "genericpath", "idlelib", "lib2to3", "nt", "ntpath",
    "nturl2path", "posix", "posixpath", "pydoc_data", "rlcompleter", "site", "test", "tests", "this",
    "tkinter", "turtle", "turtledemo",
})  # fmt: skip

# Python 3.13 no longer has them (https://peps.python.org/pep-0594/), or 3.12 (asynchat, asyncore, imp, smtpd).
_REMOVED = frozenset({
    "aifc", "asynchat", "asyncore", "audioop", "cgi", "cgitb", "chunk", "crypt", "imghdr", "imp", "mailcap",
    "msilib", "nis", "nntplib", "ossaudiodev", "pipes", "smtpd", "sndhdr", "spwd", "sunau", "telnetlib", "uu",
    "xdrlib",
})  # fmt: skip

# The modules whose types all kinds of programs use.
_METHODS_OF = frozenset({
    "array", "builtins", "collections", "concurrent.futures", "csv", "datetime", "io", "json", "logging", "pathlib",
    "queue", "random", "re", "smtplib", "socket", "sqlite3", "string", "struct", "subprocess", "threading", "timeit",
    "tracemalloc", "zipfile",
})  # fmt: skip

# Data rather than documentation: 120 codecs with the same docstring.
_FLAT = frozenset({"encodings"})

# Shorter docstrings say nothing that the name does not say ("Return self.").
_SHORTEST = 24

# The docstrings that dataclasses and named tuples generate.
_GENERATED = re.compile(r"\w+\([^()]*\)$|Alias for field number")


class _Entry(NamedTuple):
    """One documented thing, before duplicates are dropped."""

    name: str
    module: str
    kind: str
    thing: Any


def harvest() -> list[Document]:
    """Return a document for each public module, class and function of the standard library, and for some methods.

    A document's text is its qualified name with its signature, an empty line and the docstring. `uri` is
    `python:` and the qualified name, `metadata` has `module`, `kind` (module, class, function, method or
    property) and `name`. An object or a docstring that occurs under a second name is left out. It takes about a
    second, prints nothing and leaves nothing running.
    """
    from sqlrag.text import Document

    documents: list[Document] = []
    seen_things: set[int] = set()
    seen_texts: set[str] = set()
    entries: list[_Entry] = []  # keeps the objects alive, so that no id is used twice
    with _silence():
        for name, module in _modules():
            entries.extend(_public_things(module, name))
        for entry in sorted(entries, key=lambda entry: entry.name.count(".")):
            doc = _docstring(entry.thing)
            if doc is None or id(entry.thing) in seen_things or doc in seen_texts:
                continue
            seen_things.add(id(entry.thing))
            seen_texts.add(doc)
            text = f"{entry.name}{_signature(entry)}\n\n{doc}"
            documents.append(
                Document(
                    uri=f"python:{entry.name}",
                    title=entry.name,
                    text=text,
                    metadata={"module": entry.module, "kind": entry.kind, "name": entry.name},
                    content_hash=hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
                )
            )
    return documents


def _modules() -> Iterator[tuple[str, ModuleType]]:
    """Import and yield the public modules; packages come before their modules."""
    names = sorted(filter(_is_public, sys.stdlib_module_names - _LEFT_OUT - _REMOVED))
    names.append("os.path")
    while names:
        inner: list[str] = []
        for name in names:
            module = _import(name)
            if module is None:
                continue
            yield name, module
            if name not in _FLAT:
                inner.extend(
                    f"{name}.{found.name}"
                    for found in pkgutil.iter_modules(getattr(module, "__path__", []))
                    if _is_public(found.name) and found.name not in _LEFT_OUT
                )
        names = inner


def _import(name: str) -> ModuleType | None:
    """Import a module of the standard library; None if it is missing, or if a `random.py` of the user shadows it."""
    try:
        spec = importlib.util.find_spec(name)
        if spec is None or not _is_own(spec.origin):
            return None
        return importlib.import_module(name)
    except Exception:  # noqa: BLE001 - made for another platform, or built without its C library
        return None


def _is_own(origin: str | None) -> bool:
    """Return whether a module's file belongs to this interpreter. Built-in and frozen modules have no file."""
    if origin in (None, "built-in", "frozen"):
        return True
    parents = Path(str(origin)).parents
    if any(parent.name in ("site-packages", "dist-packages") for parent in parents):
        return False
    homes = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), Path(inspect.__file__).parent)
    return any(Path(home) in parents for home in homes)


def _public_things(module: ModuleType, name: str) -> Iterator[_Entry]:
    """Yield the module, its public functions and classes, and the methods that some of the classes define."""
    yield _Entry(name, name, "module", module)
    published = getattr(module, "__all__", None)
    prefix = "" if name == "builtins" else f"{name}."
    for key in published if published is not None else sorted(vars(module)):
        thing = getattr(module, key, None)
        # Without `__all__`, a name that the module has imported is not one of its own.
        own = published is not None or getattr(thing, "__module__", None) in (name, f"_{name}", None)
        if not own or not _is_public(key) or inspect.ismodule(thing):
            continue
        if inspect.isclass(thing):
            yield _Entry(f"{prefix}{key}", name, "class", thing)
            if name in _METHODS_OF:
                yield from _methods(thing, f"{prefix}{key}", name)
        elif callable(thing):
            yield _Entry(f"{prefix}{key}", name, "function", thing)


def _methods(owner: type, name: str, module: str) -> Iterator[_Entry]:
    for key, value in sorted(vars(owner).items()):
        if not _is_public(key):
            continue
        thing = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
        if inspect.isroutine(thing):
            yield _Entry(f"{name}.{key}", module, "method", thing)
        elif inspect.isdatadescriptor(thing):
            yield _Entry(f"{name}.{key}", module, "property", thing)


def _docstring(thing: Any) -> str | None:
    """Return the cleaned docstring of an object, or None if it has none that says anything."""
    doc = getattr(thing, "__doc__", None)
    # An instance without a docstring has that of its class.
    if not isinstance(doc, str) or (not isinstance(thing, type) and doc == type(thing).__doc__):
        return None
    doc = inspect.cleandoc(doc)
    return None if len(doc) < _SHORTEST or _GENERATED.match(doc) else doc


def _signature(entry: _Entry) -> str:
    """Return `(obj, fp, *, indent)`, without default values, whose text may differ from run to run."""
    if entry.kind not in ("function", "method"):
        return ""
    try:
        parameters = inspect.signature(entry.thing).parameters.values()
    # Many C functions have no signature, and `inspect` fails on those of a few.
    except (TypeError, ValueError, AttributeError, NameError, SyntaxError):
        return ""
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return "(" + ", ".join(stars[p.kind] + p.name if p.kind in stars else p.name for p in parameters) + ")"


def _is_public(name: str) -> bool:
    return not name.startswith("_")


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Suppress what modules print and warn about while they are imported."""
    aside = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(aside), contextlib.redirect_stderr(aside):
        warnings.simplefilter("ignore")
        yield
