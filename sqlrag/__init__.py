"""Two-stage retrieval in one SQL statement, on SQLite and DuckDB.

    import sqlrag

    with sqlrag.connect("papers.db") as db:
        db.ingest("docs/")
        for hit in db.search("why RLHF?"):
            print(hit.score, hit.text)

Public are the names in `__all__`, the errors of `sqlrag.errors`, the classes of `sqlrag.results`, the names in
`__all__` of `sqlrag.text`, `sqlrag.models` and `sqlrag.evaluation`, and the retrievers of `sqlrag.integrations`.
Everything else is private and may change in any version.

Names are imported when they are first used, so `import sqlrag` takes only milliseconds.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing it from typing takes milliseconds, during which Ctrl-C would print a traceback

if TYPE_CHECKING:
    from typing import Any

    from sqlrag.database import Database, connect
    from sqlrag.errors import BacklogWarning, Error
    from sqlrag.models import Embedder, Reranker
    from sqlrag.registration import register
    from sqlrag.results import Comparison, Context, Hit

__all__ = [
    "BacklogWarning",
    "Comparison",
    "Context",
    "Database",
    "Embedder",
    "Error",
    "Hit",
    "Reranker",
    "connect",
    "register",
]

__version__ = "0.1.0"

_HOMES = {
    "BacklogWarning": "sqlrag.errors",
    "Comparison": "sqlrag.results",
    "Context": "sqlrag.results",
    "Database": "sqlrag.database",
    "Embedder": "sqlrag.models",
    "Error": "sqlrag.errors",
    "Hit": "sqlrag.results",
    "Reranker": "sqlrag.models",
    "connect": "sqlrag.database",
    "register": "sqlrag.registration",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sqlrag' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
