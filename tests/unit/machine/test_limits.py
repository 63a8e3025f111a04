"""Limits of containers and jobs, read from trees of control groups as kernels lay them out; nothing of this machine."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from horovod_runner.machine.limits import cores, cpu_quota, free_memory

GIB = 2**30


class Machine:
    """A /proc/self and the control groups that it speaks of, below a folder."""

    def __init__(self, root: Path) -> None:
        self.proc, self.root = root / "proc", root
        self.proc.mkdir()
        self.mounts: list[str] = []

    def belongs(self, *lines: str) -> None:
        (self.proc / "cgroup").write_text("\n".join(lines) + "\n")

    def mounted(self, place: str, kind: str, options: str = "rw", root: str = "/") -> None:
        path = str(self.root / place).replace(" ", "\\040")
        self.mounts.append(f"36 31 0:32 {root} {path} rw,relatime shared:9 - {kind} {kind} {options}")
        (self.proc / "mountinfo").write_text("\n".join(["22 1 254:0 / / rw - ext4 /dev/vda rw", *self.mounts]) + "\n")

    def group(self, folder: str, **files: object) -> None:
        (self.root / folder).mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (self.root / folder / name.replace("__", ".")).write_text(f"{content}\n")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A host of 64 cores, all of which the affinity allows."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    return Machine(tmp_path)


def test_version_2_the_least_of_all_levels_counts(machine: Machine) -> None:
    """A job of a cluster, as Slurm makes it: the step has no limit of its own, the job above it has."""
    machine.belongs("0::/slurm/job_7/step_0")
    machine.mounted("cg roup", "cgroup2")
    machine.group("cg roup/slurm", cpu__max="4800000 100000", memory__max=400 * GIB, memory__current=90 * GIB)
    machine.group("cg roup/slurm/job_7", cpu__max="250000 100000", memory__max=2 * GIB, memory__current=GIB)
    machine.group("cg roup/slurm/job_7", memory__stat=f"anon 5\ninactive_file {GIB // 2}\nslab 3")
    machine.group("cg roup/slurm/job_7/step_0", cpu__max="max 100000", memory__max="max", memory__current=GIB)
    assert cores(machine.proc).amount == 2, "of 2.5"
    assert cores(machine.proc).by.endswith("slurm/job_7/cpu.max")
    assert free_memory(machine.proc).amount == 1.5 * GIB
    assert free_memory(machine.proc).by.endswith("slurm/job_7/memory.max")


def test_version_2_in_a_container_with_its_own_view(machine: Machine) -> None:
    """Docker on a host of today: the process seems to be in the root, which holds the container's limits."""
    machine.belongs("0::/")
    machine.mounted("cgroup", "cgroup2")
    machine.group("cgroup", cpu__max="50000 100000")
    assert cpu_quota(machine.proc).amount == 0.5 and cores(machine.proc).amount == 1


def test_version_1_in_a_container(machine: Machine) -> None:
    """Docker on an older host: the path is the host's, and the mount shows nothing but the container's own group."""
    machine.belongs("5:memory:/docker/abc", "4:cpu,cpuacct:/docker/abc", "3:cpuset:/docker/abc", "1:name=systemd:/x")
    machine.mounted("cpu,cpuacct", "cgroup", "rw,cpu,cpuacct", root="/docker/abc")
    machine.mounted("memory", "cgroup", "rw,memory", root="/docker/abc")
    machine.group("cpu,cpuacct", cpu__cfs_quota_us=300000, cpu__cfs_period_us=100000)
    machine.group("memory", memory__limit_in_bytes=GIB, memory__usage_in_bytes=GIB // 4)
    assert cores(machine.proc).amount == 3 and cores(machine.proc).by.endswith("cpu,cpuacct/cpu.cfs_quota_us")
    assert free_memory(machine.proc).amount == 0.75 * GIB


def test_a_hybrid_without_limits_is_the_whole_machine(machine: Machine) -> None:
    """Version 1's words for no limit, and a version 2 without controllers beside it."""
    machine.belongs("2:memory:/user", "1:cpu:/user", "0::/user")
    machine.mounted("cpu", "cgroup", "rw,cpu")
    machine.mounted("memory", "cgroup", "rw,memory")
    machine.mounted("unified", "cgroup2")
    machine.group("cpu/user", cpu__cfs_quota_us=-1, cpu__cfs_period_us=100000)
    machine.group("memory/user", memory__limit_in_bytes=9223372036854771712, memory__usage_in_bytes=GIB)
    machine.group("unified/user")
    assert cores(machine.proc).amount == 64 and cores(machine.proc).by == ""
    assert free_memory(machine.proc).by == "", "what the machine has free"
    assert free_memory(machine.proc).amount == pytest.approx(psutil.virtual_memory().available, rel=0.5)


def test_a_machine_without_control_groups(machine: Machine) -> None:
    assert cpu_quota(machine.proc) is None and cores(machine.proc).amount == 64


def test_a_quota_beyond_the_affinity_limits_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5})
    machine.belongs("0::/")
    machine.mounted("cgroup", "cgroup2")
    machine.group("cgroup", cpu__max="800000 100000")
    assert cores(machine.proc).amount == 2 and cores(machine.proc).by == "the processor affinity"
