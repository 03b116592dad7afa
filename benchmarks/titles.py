"""Fifty questions about titles, headings, codes and numbers, over Debian's documentation of Git, pip and SQLite.

Each chunk is embedded, indexed as words and reranked without and with its context (the title and the headings above).
A question counts as answered if its page is among the first three hits of `search` (25 nearest, reranked), of full
text, or of both stages behind hybrid search (25 candidates, reranked).

    python benchmarks/titles.py /usr/share/doc > benchmarks/titles.md

Needs the packages git, python3-pip and sqlite3-doc.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from context import VARIANTS, Words

from sqlrag.models import Embedder, Reranker
from sqlrag.text.chunking import CONTEXT_TOKENS, Chunk, Chunker
from sqlrag.text.documents import Document, cleaned, kind_of_metadata
from sqlrag.text.loading import find_sources, read_documents

if TYPE_CHECKING:
    from collections.abc import Sequence

TOP_K = 25
TOP_N = 3

QUESTIONS = {
    "numbers of releases": {
        "What was fixed in Git v1.5.0.1?": "git/RelNotes/1.5.0.1.txt",
        "What was fixed in Git v1.5.2.5?": "git/RelNotes/1.5.2.5.txt",
        "GIT 1.5.4.6 release notes": "git/RelNotes/1.5.4.6.txt",
        "fixes since v1.6.0.2": "git/RelNotes/1.6.0.3.txt",
        "What was fixed in Git v1.6.5.7?": "git/RelNotes/1.6.5.7.txt",
        "changes of Git 1.7.0.2": "git/RelNotes/1.7.0.2.txt",
        "What is new in Git 1.7.4.1?": "git/RelNotes/1.7.4.1.txt",
        "git 1.7.9.6": "git/RelNotes/1.7.9.6.txt",
        "What was fixed in Git v1.8.1.5?": "git/RelNotes/1.8.1.5.txt",
        "Git v1.8.4.3 release notes": "git/RelNotes/1.8.4.3.txt",
        "What was fixed in Git v1.9.1?": "git/RelNotes/1.9.1.txt",
        "Git 2.0.2 fixes": "git/RelNotes/2.0.2.txt",
        "What changed in Git 2.3.7?": "git/RelNotes/2.3.7.txt",
        "Git v2.6.4 release notes": "git/RelNotes/2.6.4.txt",
        "fixes since v2.9.1": "git/RelNotes/2.9.2.txt",
        "which security problem was fixed in Git v2.17.1?": "git/RelNotes/2.17.1.txt",
        "Git v2.20.1": "git/RelNotes/2.20.1.txt",
        "which vulnerability does Git v2.30.2 address?": "git/RelNotes/2.30.2.txt",
        "SQLite release 3.35.0": "sqlite3/releaselog/3_35_0.html",
        "What is new in SQLite 3.8.3?": "sqlite3/releaselog/3_8_3.html",
        "SQLite version 3.25.0 changes": "sqlite3/releaselog/3_25_0.html",
        "changes in SQLite 3.7.0": "sqlite3/releaselog/3_7_0.html",
        "What is new in SQLite 3.24.0?": "sqlite3/releaselog/3_24_0.html",
        "SQLite release 3.9.0": "sqlite3/releaselog/3_9_0.html",
    },
    "codes and names": {
        "SQLITE_BUSY_SNAPSHOT": "sqlite3/rescode.html",
        "error code 522": "sqlite3/rescode.html",
        "SQLITE_CONSTRAINT_ROWID": "sqlite3/rescode.html",
        "SQLITE_MAX_COMPOUND_SELECT": "sqlite3/limits.html",
        "SQLITE_DEFAULT_PAGE_SIZE": "sqlite3/compile.html",
        "PRAGMA wal_autocheckpoint": "sqlite3/pragma.html",
        "json_tree": "sqlite3/json1.html",
        "fts5 highlight()": "sqlite3/fts5.html",
        "lemon %destructor": "sqlite3/lemon.html",
        "PIP_CONFIG_FILE": "python3-pip/html/topics/configuration.md.gz",
        "CVE-2022-35737": "sqlite3/cves.html",
    },
    "titles and headings": {
        "STRICT tables": "sqlite3/stricttables.html",
        "R*Tree module: using it effectively": "sqlite3/rtree.html",
        "benefits of WITHOUT ROWID tables": "sqlite3/withoutrowid.html",
        "file format: the magic header string": "sqlite3/fileformat2.html",
        "pip authentication: keyring support": "python3-pip/html/topics/authentication.md",
        "pip caching: what is cached?": "python3-pip/html/topics/caching.md.gz",
        "pip dependency resolution: backtracking": "python3-pip/html/topics/dependency-resolution.md.gz",
        "pip local project installs: editable": "python3-pip/html/topics/local-project-installs.md",
        "pip secure installs: hash-checking mode": "python3-pip/html/topics/secure-installs.md.gz",
        "pip VCS support: supported schemes": "python3-pip/html/topics/vcs-support.md.gz",
        "requirements file format: line continuations": "python3-pip/html/reference/requirements-file-format.md.gz",
        "pip build isolation": "python3-pip/html/reference/build-system/pyproject-toml.md.gz",
        "pip installation report: example": "python3-pip/html/reference/installation-report.md.gz",
        "pip and HTTPS certificates: truststore": "python3-pip/html/topics/https-certificates.md",
        "limitations of UPSERT": "sqlite3/lang_upsert.html",
    },
}


def documents_of(folder: Path) -> list[Document]:
    """Return the pages that answer a question, all of pip's, and each eighth of Git's and of SQLite's releases."""
    wanted = {folder / page for group in QUESTIONS.values() for page in group.values()}
    if missing := [str(path) for path in wanted if not path.exists()]:
        raise SystemExit("not there: " + ", ".join(missing))
    others = [*sorted((folder / "git/RelNotes").glob("*.txt"))[::8]]
    others += sorted((folder / "sqlite3/releaselog").glob("*.html"))[::8]
    others += [path for path in (folder / "python3-pip/html").rglob("*.md*") if path.is_file()]
    paths = sorted({*wanted, *others})
    items = [item for source in find_sources(paths).sources for item in read_documents(source)]
    return [cleaned(item) for item in items if isinstance(item, Document)]


def reranked(reranker: Reranker, query: str, near: Sequence[int], passages: Sequence[str]) -> list[int]:
    """Return the candidates in the order of the second stage."""
    marks = reranker.score(query, [passages[place] for place in near])
    return [near[place] for place in np.argsort(-np.asarray(marks), kind="stable")]


def fused(lists: Sequence[Sequence[int]]) -> list[int]:
    """Return chunks by reciprocal rank fusion, as hybrid_top_k does."""
    scores: Counter[int] = Counter()
    for ranking in lists:
        for rank, place in enumerate(ranking, 1):
            scores[place] += 1 / (60 + rank)  # type: ignore[assignment]
    return [place for place, _ in scores.most_common()]


def main(folder: Path) -> None:
    embedder, reranker = Embedder(), Reranker()
    chunker = Chunker(embedder.tokenizer, 200, 0, CONTEXT_TOKENS)
    documents = documents_of(folder)
    made = [
        (document.uri, chunk)
        for document in documents
        for chunk in chunker.chunks(document.text, document.title, kind_of_metadata(document.metadata))
    ]
    queries = [(group, query, page) for group, asked in QUESTIONS.items() for query, page in asked.items()]
    vectors_of_queries = np.array([embedder.encode_query(query) for _, query, _ in queries])
    print("# Questions about titles, headings, codes and numbers\n")
    print("Made by `python benchmarks/titles.py /usr/share/doc`, which says what is measured:")
    print(
        f"{len(queries)} questions, {len(documents)} documents, {len(made):,} chunks; the first {TOP_N} hits count.\n"
    )
    print("| questions | context | search | full text | hybrid, reranked |")
    print("| --- | --- | --: | --: | --: |")
    for label, as_text in VARIANTS.items():
        passages = [as_text(chunk) for _, chunk in made]
        nearest = np.argsort(-vectors_of_queries @ embedder.encode_document(passages).T, axis=1, kind="stable")
        words = Words([chunk if label == "with" else Chunk(0, 0, 0, chunk.text, 0) for _, chunk in made])
        answered: dict[str, Counter[str]] = {group: Counter() for group in QUESTIONS}
        for (group, query, page), order in zip(queries, nearest, strict=True):
            worded = words.nearest(query)
            near = [int(place) for place in order[:100]]
            rankings = {
                "search": reranked(reranker, query, near[:TOP_K], passages),
                "full text": worded,
                "hybrid": reranked(reranker, query, fused([near, worded])[:TOP_K], passages),
            }
            for name, ranking in rankings.items():
                found = any(made[place][0] == str(folder / page) for place in ranking[:TOP_N])
                answered[group][name] += found
                if not found and name != "full text" and label == "with":
                    print(f"{name}: {query}", file=sys.stderr)
        for group, counts in [*answered.items(), ("all", sum(answered.values(), Counter()))]:
            total = len(queries) if group == "all" else len(QUESTIONS[group])
            cells = " | ".join(f"{counts[name]} of {total}" for name in ("search", "full text", "hybrid"))
            print(f"| {group} | {label} | {cells} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
