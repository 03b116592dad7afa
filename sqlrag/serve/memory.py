"""The limit on the memory of a process that answers clients."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import apsw

from sqlrag.models.cached_models import models_folder
from sqlrag.models.hub import in_cache

__all__ = ["give_back", "limit_memory"]

_ENGINE = 1 << 30
"""Bytes for the statements of all SQLite connections; DuckDB's `memory_limit` is the same."""

_PROCESS = 2 << 30
"""Bytes that the process may take beyond those that it has: also for rows that are being sent, and for DuckDB's
functions, which allocate outside its limit."""


_TORCH = 6 << 30
"""What the libraries of torch, and its intermediate results, take."""

# Address space that an allocator keeps counts as data. DuckDB's allocator keeps all it has ever had, and returns free
# memory soon only if it has a background thread. Arrow's starts with a gigabyte.
_ALLOCATORS = {
    "DUCKDB_JE_MALLOC_CONF": "retain:false,background_thread:true,dirty_decay_ms:200,muzzy_decay_ms:0",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}


def limit_memory(models: Mapping[str, str] | None = None) -> None:
    """Limit this process's memory for good: a statement that needs more fails, and the others go on.

    From now on SQLite sorts and groups in memory, not in temporary files, which nothing limits. On a system without
    RLIMIT_DATA (Linux has it) only the engines' own limits hold. The two largest models among the pulled ones and those
    of `models`, which the user has named, do not count. To be called before DuckDB and Arrow are imported.
    """
    for name, value in _ALLOCATORS.items():
        os.environ.setdefault(name, value)
    apsw.hard_heap_limit(_ENGINE)
    try:
        import resource
    except ImportError:  # Windows
        return
    limit = _data() + _PROCESS + _of_models(models or {})
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limits = [one for one in (soft, hard, limit) if one != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))


def give_back() -> None:
    """Return free memory to the system; glibc would keep it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def _of_models(models: Mapping[str, str]) -> int:
    """Return the bytes that an embedder and a reranker take at most: twice the size of their files, more with torch."""
    is_torch = models.get("backend") == "torch"
    named = [name for kind, name in models.items() if kind != "backend"]
    folders = [models_folder(), *((is_torch and in_cache(name)) or Path(name) for name in named)]
    sizes = [0, 0]
    for path in (path for folder in folders for path in folder.rglob("*")):
        with suppress(OSError):
            sizes.append(path.stat().st_size)
    return 2 * sum(sorted(sizes)[-2:]) + (_TORCH if is_torch else 0)


def _data() -> int:
    """Return the bytes of this process's data segment (proc(5)), 0 on a system without /proc."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            found = next(line.split()[1] for line in file if line.startswith("VmData:"))
    except (OSError, StopIteration):
        return 0
    return int(found) << 10
