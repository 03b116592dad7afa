"""A folder of text, Markdown and HTML: made searchable, searched, and what the reranker changed.

Run it again after a change: only what changed is read anew.

python examples/folder_of_documents.py docs.db docs/ "how does bread rise without bought yeast?"
"""

from __future__ import annotations

import sys

import sqlrag

if len(sys.argv) != 4:
    sys.exit(__doc__)
path, folder, question = sys.argv[1:]

with sqlrag.connect(path) as db:
    report = db.ingest(folder, prune=True)
    print(f"{report.added} new, {report.changed} changed, {report.unchanged} unchanged, {report.removed} removed")
    for file in report.unreadable:
        print(f"not read: {file.uri}: {file.reason}")

    for hit in db.search(question, top_k=25, top_n=3):
        print(f"{hit.score:.3f}  {hit.title}: {hit.text[:80]!r}")

    comparison = db.compare(question, top_k=25, top_n=3)
    for hit in comparison.hits:
        print(f"rank {hit.rank_before} -> {hit.rank_after}  {hit.title}")
    for hit in comparison.pushed_out:
        print(f"rank {hit.rank_before} -> {hit.rank_after}  {hit.title}, pushed out")
