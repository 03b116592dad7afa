"""How many CPUs this process may use: a container often has a share of a machine that shows all of its CPUs."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

__all__ = ["cpu_quota", "usable_cpus"]


def usable_cpus() -> int:
    """Return how many CPUs this process may use: those it may run on, and no more than its cgroups have time for."""
    if hasattr(os, "process_cpu_count"):
        count = os.process_cpu_count()
    elif hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count()
    quota = cpu_quota()
    return count or 1 if quota is None else min(count or 1, max(1, math.ceil(quota)))


def cpu_quota(own: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Return how many CPUs' time this process's control groups have at most; None where there is no limit.

    `own`: which groups it is in (https://man7.org/linux/man-pages/man7/cgroups.7.html), of version 1 or 2; `mounted`:
    where the kernel shows them. A group has no more than any that it is in; in a container its own is the root.
    """
    found = [quota for folder in _groups(own, mounted) if (quota := _quota(folder)) is not None]
    return min(found, default=None)


def _groups(own: Path, mounted: Path) -> Iterator[Path]:
    """Yield the folders of the groups that may limit the CPUs, and of all that these are in."""
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
    """Return how many CPUs' time a group has: `cpu.max` is version 2's file, the others are version 1's."""
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
