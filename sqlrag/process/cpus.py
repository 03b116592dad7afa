"""How many CPUs this process may use. A container often has only a share of the CPUs that it sees."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

__all__ = ["cpu_quota", "usable_cpus"]


def usable_cpus() -> int:
    """Return how many CPUs this process may use: those of its affinity mask, within the quota of its cgroups."""
    if hasattr(os, "process_cpu_count"):
        count = os.process_cpu_count()
    elif hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count()
    quota = cpu_quota()
    return count or 1 if quota is None else min(count or 1, max(1, math.ceil(quota)))


def cpu_quota(own: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Return how many CPUs' time the control groups of this process may use; None if there is no limit.

    `own`: the file that names its groups (https://man7.org/linux/man-pages/man7/cgroups.7.html), of version 1 or 2.
    `mounted`: the folder where the kernel shows them. The limits of all enclosing groups apply; in a container the
    process's own group is the root.
    """
    found = [quota for folder in _groups(own, mounted) if (quota := _quota(folder)) is not None]
    return min(found, default=None)


def _groups(own: Path, mounted: Path) -> Iterator[Path]:
    """Yield the folders of the groups that may limit the CPUs, and those of all enclosing groups."""
    for line in _read(own).splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if not controllers:
            roots = [mounted, mounted / "unified"]
        elif "cpu" in controllers.split(","):
            roots = [mounted / controllers, mounted / "cpu"]
        else:
            continue
        inside = PurePosixPath(path.lstrip("/"))
        for root in roots:
            yield from (root / part for part in (inside, *inside.parents))


def _quota(folder: Path) -> float | None:
    """Return how many CPUs' time a group may use. `cpu.max` is version 2's file, the others are version 1's."""
    quota, period = (*_read(folder / "cpu.max").split(), "", "")[:2]
    if not quota:
        quota, period = (_read(folder / f"cpu.cfs_{part}_us").strip() for part in ("quota", "period"))
    if not (quota.isdecimal() and period.isdecimal() and int(period)):
        return None  # "max", -1, or no such file
    return int(quota) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeError):
        return ""
