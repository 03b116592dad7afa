"""Reading queries, judgements and runs from files in the formats of BEIR and TREC, plain or gzip.

The lines themselves show the format, not the file's name:

    queries   BEIR `{"_id": "q1", "text": "…"}`; TREC `q1<TAB>text`
    qrels     BEIR `q1<TAB>d1<TAB>1`, with or without a header; TREC `q1 0 d1 1`
    run       TREC `q1 Q0 d1 rank score tag`; MS MARCO `q1 d1 rank score` or `q1 d1 rank`

A folder stands for its BEIR files `queries.jsonl[.gz]` and `qrels/<split>.tsv`.
(https://github.com/beir-cellar/beir/wiki/Load-your-custom-dataset, https://github.com/usnistgov/trec_eval)
"""

from __future__ import annotations

import gzip
import json
import math
import os
import zlib
from collections.abc import Iterator
from typing import TypeAlias

from sqlrag.errors import SourceError
from sqlrag.process.open_files import check_no_database
from sqlrag.values.arguments import DEFAULT_SPLIT

__all__ = ["Qrels", "Queries", "Run", "read_qrels", "read_queries", "read_run"]

Queries: TypeAlias = dict[str, str]
"""The text of each query by its id."""

Qrels: TypeAlias = dict[str, dict[str, int]]
"""The grade of each judged document of each query."""

Run: TypeAlias = dict[str, dict[str, float]]
"""The score of each retrieved document of each query, best first."""

_GZIP = b"\x1f\x8b"  # RFC 1952, 2.3.1
_SHOWN = 60


def read_queries(path: str | os.PathLike[str]) -> Queries:
    """Return the queries of a file or a BEIR folder. Raises SourceError, which names the line that is wrong."""
    path = _in_folder(path, ("queries.jsonl", "queries.jsonl.gz"))
    queries: Queries = {}
    for number, line in _lines(path):
        where = f"{path}, line {number}"
        query, text = _json_query(where, line) if line.lstrip().startswith("{") else _topic(where, line)
        if queries.setdefault(query, text) != text:
            raise SourceError(f"{where}: query {query!r} has another text before: give each query an id of its own")
    if not queries:
        raise SourceError(f'{path} has no queries: it takes {{"_id": …, "text": …}} or `id<TAB>text` a line')
    return queries


def read_qrels(path: str | os.PathLike[str], split: str = DEFAULT_SPLIT) -> Qrels:
    """Return the judgements of a file, or of the `split` of a BEIR folder. Raises SourceError, which names the line."""
    path = _in_folder(path, (f"qrels/{split}.tsv", f"qrels/{split}.tsv.gz", f"{split}.tsv", f"{split}.tsv.gz"))
    qrels: Qrels = {}
    first = True
    for number, line in _lines(path):
        where = f"{path}, line {number}"
        fields = _fields(line)
        if len(fields) not in (3, 4):
            raise SourceError(
                f"{where}: {_cut(line)} has {len(fields)} fields: qrels are `query 0 document grade` (TREC) "
                "or `query<TAB>document<TAB>grade` (BEIR)"
            )
        query, document, grade = fields[0], fields[-2], _number(fields[-1])
        if first and grade is None:  # BEIR's header: query-id, corpus-id, score
            first = False
            continue
        first = False
        if grade is None or grade != int(grade):
            raise SourceError(f"{where}: the grade is {fields[-1]!r}: it is a whole number, 0 for not relevant")
        if qrels.setdefault(query, {}).setdefault(document, int(grade)) != int(grade):
            raise SourceError(f"{where}: document {document!r} has another grade for query {query!r} before")
    if not qrels:
        raise SourceError(f"{path} has no judgements: qrels are `query 0 document grade` a line")
    return qrels


def read_run(path: str | os.PathLike[str]) -> Run:
    """Return the documents of each query of a run file, best first. A repeated document counts once.

    Documents are ranked by their scores, as by trec_eval, and those with equal scores by their ranks. Without scores,
    the score is the negated rank. Raises SourceError, which names the line that is wrong.
    """
    path = _in_folder(path, ())
    found: dict[str, list[tuple[float, float, str]]] = {}
    for number, line in _lines(path):
        query, document, rank, score = _retrieved(f"{path}, line {number}", line)
        found.setdefault(query, []).append((-score, rank, document))
    if not found:
        raise SourceError(f"{path} has no documents: a run is `query Q0 document rank score tag` a line")
    run: Run = {}
    for query, documents in found.items():
        run[query] = {}
        for negated, _, document in sorted(documents):
            run[query].setdefault(document, -negated)
    return run


def _retrieved(where: str, line: str) -> tuple[str, str, float, float]:
    """Return the query, document, rank and score of a line of a run."""
    fields = _fields(line)
    if len(fields) == 6:
        query, _, document, rank, score, _ = fields
    elif len(fields) in (3, 4):
        query, document, rank = fields[:3]
        score = fields[3] if len(fields) == 4 else f"-{rank}"
    else:
        raise SourceError(
            f"{where}: {_cut(line)} has {len(fields)} fields: a run is `query Q0 document rank score tag` (TREC) "
            "or `query document rank [score]`"
        )
    numbers = _number(rank), _number(score)
    if numbers[0] is None or numbers[1] is None:
        raise SourceError(f"{where}: rank is {rank!r} and score {score!r}: both are numbers")
    return query, document, numbers[0], numbers[1]


def _json_query(where: str, line: str) -> tuple[str, str]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise SourceError(f"{where}: {_cut(line)} is no JSON: {error}") from error
    query, text = row.get("_id"), row.get("text")
    if not isinstance(query, (str, int)) or not isinstance(text, str):
        raise SourceError(f'{where}: a query is {{"_id": …, "text": "…"}}, this line has {", ".join(row) or "nothing"}')
    return str(query), text


def _topic(where: str, line: str) -> tuple[str, str]:
    query, tab, text = line.partition("\t")
    if not tab or not query.strip() or not text.strip():
        raise SourceError(f'{where}: {_cut(line)} is no query: it takes `id<TAB>text`, or {{"_id": …, "text": "…"}}')
    return query.strip(), text.strip()


def _fields(line: str) -> list[str]:
    """Split a line into fields: at tabs if it has two, because BEIR's ids may hold blanks, otherwise at blanks."""
    by_tabs = [field.strip() for field in line.split("\t")]
    return by_tabs if len(by_tabs) > 2 else line.split()


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _cut(line: str) -> str:
    return repr(line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…")


def _in_folder(path: str | os.PathLike[str], names: tuple[str, ...]) -> str:
    """Return the file that a path stands for: the path itself, or the first of `names` that is in the folder."""
    path = os.fspath(path)
    if not os.path.isdir(path):
        return path
    for name in names:
        if os.path.isfile(os.path.join(path, name)):
            return os.path.join(path, name)
    wanted = f": there is no {' or '.join(names[:2])} in it" if names else ""
    raise SourceError(f"{path} is a folder{wanted}: name the file")


def _lines(path: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not blank, with their numbers. Raises SourceError for a file that is not text."""
    try:
        check_no_database(path)
        with open(path, "rb") as file:
            packed = file.read(2) == _GZIP
        with gzip.open(path, "rb") if packed else open(path, "rb") as file:
            for number, raw in enumerate(file, start=1):
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if line.strip():
                    yield number, line
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is no text in UTF-8: {error.reason}") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise SourceError(f"{path} is damaged: {error}") from error
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from error
