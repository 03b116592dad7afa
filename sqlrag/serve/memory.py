"""How much memory a process that answers clients may take, whatever they ask."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path

import apsw

from sqlrag.models.cached_models import models_folder

__all__ = ["give_back", "limit_memory"]

_ENGINE = 1 << 30
"""Bytes for the statements of all connections to SQLite databases; DuckDB's `memory_limit` is as much."""

_PROCESS = 2 << 30
"""Bytes that the process may take beyond those that it has: with the rows on their way, and DuckDB's functions, which
allocate beside its limit."""


# Address space that an allocator keeps counts as data. DuckDB's keeps what it has had once, and gives free memory back
# soon only where a thread sees to it; Arrow's begins with a gigabyte.
_ALLOCATORS = {
    "DUCKDB_JE_MALLOC_CONF": "retain:false,background_thread:true,dirty_decay_ms:200,muzzy_decay_ms:0",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}


def limit_memory(reranker: str | None = None) -> None:
    """Limit this process's memory for good: what asks for more fails, and what others have asked goes on.

    SQLite's statements sort and group in memory from now on, not in temporary files, which nothing limits. Where the
    system does not limit data (RLIMIT_DATA, as Linux does), the engines' own limits remain. The two largest models, of
    the pulled ones and the folder `reranker`, have room beside it. To be called before DuckDB and Arrow are imported.
    """
    for name, value in _ALLOCATORS.items():
        os.environ.setdefault(name, value)
    apsw.hard_heap_limit(_ENGINE)
    try:
        import resource
    except ImportError:  # Windows
        return
    limit = _data() + _PROCESS + _of_models(reranker)
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limits = [one for one in (soft, hard, limit) if one != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))


def give_back() -> None:
    """Give free memory back to the system, where the C library keeps it otherwise (glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def _of_models(reranker: str | None) -> int:
    """Return the bytes that an embedder and a reranker take at most: their files, read and made ready to run."""
    folders = [models_folder(), *([] if reranker is None else [Path(reranker)])]
    sizes = [0, 0]
    for path in (path for folder in folders for path in folder.rglob("*")):
        with suppress(OSError):
            sizes.append(path.stat().st_size)
    return 2 * sum(sorted(sizes)[-2:])


def _data() -> int:
    """Return the bytes that this process can write to."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            found = next(line.split()[1] for line in file if line.startswith("VmData:"))
    except (OSError, StopIteration):
        return 0
    return int(found) << 10
