"""D7: CPUs are counted as a container, a scheduler or Python's own option leaves them to this process."""

from __future__ import annotations

import os

import pytest

from sqlrag.models import Embedder
from sqlrag.process import cpus

V2 = "0::/system.slice/app.service\n"
V1 = "12:memory:/docker/abc\n5:cpu,cpuacct:/docker/abc\n0::/\n"

GROUPS = {
    "no control groups": ("", {}, None),
    "version 2, no limit": (V2, {"system.slice/app.service/cpu.max": "max 100000"}, None),
    "version 2": (V2, {"system.slice/app.service/cpu.max": "150000 100000"}, 1.5),
    "version 2, of a group outside": (
        V2,
        {"system.slice/app.service/cpu.max": "400000 100000", "system.slice/cpu.max": "200000 100000"},
        2.0,
    ),
    "version 2, in a container": ("0::/\n", {"cpu.max": "50000 100000"}, 0.5),
    "version 2, another container's path": ("0::/../../x\n", {"cpu.max": "300000 100000"}, 3.0),
    "version 1": (V1, {"cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "250000",
                       "cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000"}, 2.5),
    "version 1, in a container": (V1, {"cpu,cpuacct/cpu.cfs_quota_us": "100000",
                                       "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 1.0),
    "version 1, no limit": (V1, {"cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "-1",
                                 "cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000"}, None),
    "both versions": (V1, {"unified/cpu.max": "100000 100000"}, 1.0),
    "nonsense": (V2, {"system.slice/app.service/cpu.max": "many few"}, None),
    "a period of none": (V2, {"system.slice/app.service/cpu.max": "100000 0"}, None),
}  # fmt: skip


@pytest.mark.parametrize("name", GROUPS)
def test_d7_the_quota_of_a_control_group(name, tmp_path):
    """The least of a group's own and those that it is in."""
    own, files, expected = GROUPS[name]
    (tmp_path / "own").write_text(own)
    for file, content in files.items():
        path = tmp_path / "mounted" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    assert cpus.cpu_quota(tmp_path / "own", tmp_path / "mounted") == expected


@pytest.mark.parametrize(("quota", "expected"), [(None, 8), (0.2, 1), (1.0, 1), (1.5, 2), (3.0, 3), (64.0, 8)])
def test_d7_no_more_threads_than_there_is_time_for(quota, expected, monkeypatch):
    """A share of a CPU is one thread's; the models take as many as that."""
    monkeypatch.setattr(cpus, "cpu_quota", lambda: quota)
    monkeypatch.setattr(os, "process_cpu_count", lambda: 8, raising=False)
    assert cpus.usable_cpus() == expected
    assert Embedder()._backend._session._threads == expected


def test_d7_affinity_and_python_s_own_count(monkeypatch):
    """Python 3.13 counts as its option says; before, those that the process may run on."""
    monkeypatch.setattr(cpus, "cpu_quota", lambda: None)
    monkeypatch.setattr(os, "process_cpu_count", lambda: 3, raising=False)
    assert cpus.usable_cpus() == 3
    monkeypatch.delattr(os, "process_cpu_count")
    if hasattr(os, "sched_getaffinity"):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5})
        assert cpus.usable_cpus() == 2
        monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cpus.usable_cpus() == 1
