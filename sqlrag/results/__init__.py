"""What the methods of `Database` return: rows, hits, descriptions of indexes, and reports of what was done.

Public are the names in `__all__`.
"""

from sqlrag.results.hits import Comparison, Context, Hit, Hits, Passage
from sqlrag.results.reports import IndexInfo, IngestProgress, IngestReport, SyncReport, UnreadableRow
from sqlrag.results.rows import Result

__all__ = [
    "Comparison",
    "Context",
    "Hit",
    "Hits",
    "IndexInfo",
    "IngestProgress",
    "IngestReport",
    "Passage",
    "Result",
    "SyncReport",
    "UnreadableRow",
]
