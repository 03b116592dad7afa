"""The SQL that the package runs, read from the `.sql` files of the folder `sql/`.

A file is written for an index named `chunks` over a table named `documents`, so that it can be read, copied
and run as it stands. For another index its name takes the place of the word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from sqlrag.store.names import check_index_name

__all__ = ["filled", "fused_score", "made_in_main", "statement"]

_PLACE = re.compile(r"\{(\w+)\}")


@lru_cache(maxsize=256)
def statement(name: str, *, index: str = "chunks", **parts: str | int) -> str:
    """Return the text of `sql/<name>.sql` for an index.

    `parts` fill the places in braces, such as `{dimension}`. The caller has validated them.
    """
    check_index_name(index)
    text = _read(name)
    if index != "chunks":
        text = re.sub(r"\bchunks(?=\b|_)", index, text)
    return filled(text, parts)


def filled(text: str, parts: Mapping[str, str | int]) -> str:
    """Return a statement with `parts` in its places, in one pass: a part may have braces of its own."""
    return _PLACE.sub(lambda place: str(parts.get(place.group(1), place.group())), text)


def fused_score(score: str, first: str, weight: float, among: str = "") -> str:
    """Return the expression by which candidates are ordered after the second stage.

    `score` and `first` are columns: the reranker's score and the first stage's, which counts `weight`. `among`: a
    PARTITION BY that tells the candidates of one question from others.
    """
    sql = statement("fused_score", score=score, first=first, weight=repr(weight), among=among)
    return " ".join(line for line in sql.splitlines() if not line.startswith("--"))


def made_in_main(sql: str) -> str:
    """Return the definition of a trigger with its schema, `main`, which SQLite leaves out where it keeps it."""
    return re.sub(r"(?i)^CREATE TRIGGER (?!main\.)", "CREATE TRIGGER main.", sql)


@lru_cache(maxsize=64)
def _read(name: str) -> str:
    *folders, stem = name.split("/")
    return _folder().joinpath(*folders, f"{stem}.sql").read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _folder() -> Path:
    # `importlib.resources` would find the folder, too, but it loads zipfile, shutil and random.
    spec = find_spec("sqlrag.sql")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("the folder of SQL is missing from this installation of sqlrag: install it again")
    return Path(next(iter(spec.submodule_search_locations)))
