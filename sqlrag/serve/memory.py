"""The limit on the memory of a process that answers clients."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path

import apsw

from sqlrag.models.cached_models import models_folder

__all__ = ["give_back", "limit_memory"]

_ENGINE = 1 << 30
"""Bytes for the statements of all SQLite connections; DuckDB's `memory_limit` is the same."""

_PROCESS = 2 << 30
"""Bytes that the process may take beyond those that it has: also for rows that are being sent, and for DuckDB's
functions, which allocate outside its limit."""


# Address space that an allocator keeps counts as data. DuckDB's allocator keeps all it has ever had, and returns free
# memory soon only if it has a background thread. Arrow's starts with a gigabyte.
_ALLOCATORS = {
    "DUCKDB_JE_MALLOC_CONF": "retain:false,background_thread:true,dirty_decay_ms:200,muzzy_decay_ms:0",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}


def limit_memory(reranker: str | None = None) -> None:
    """Limit this process's memory for good: a statement that needs more fails, and the others go on.

    From now on SQLite sorts and groups in memory, not in temporary files, which nothing limits. On a system without
    RLIMIT_DATA (Linux has it) only the engines' own limits hold. The two largest models among the pulled ones and the
    folder `reranker` do not count. To be called before DuckDB and Arrow are imported.
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
    """Return free memory to the system; glibc would keep it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def _of_models(reranker: str | None) -> int:
    """Return the bytes that an embedder and a reranker take at most: twice the size of their files."""
    folders = [models_folder(), *([] if reranker is None else [Path(reranker)])]
    sizes = [0, 0]
    for path in (path for folder in folders for path in folder.rglob("*")):
        with suppress(OSError):
            sizes.append(path.stat().st_size)
    return 2 * sum(sorted(sizes)[-2:])


def _data() -> int:
    """Return the bytes of this process's data segment (proc(5)), 0 on a system without /proc."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            found = next(line.split()[1] for line in file if line.startswith("VmData:"))
    except (OSError, StopIteration):
        return 0
    return int(found) << 10
