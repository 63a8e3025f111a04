"""What of this machine a process may use: containers and jobs are given a part, which the kernel's totals do not tell.

Cores are limited by an affinity and by a control group's quota, memory by a control group. Control groups nest, and
each level may set a limit; of both versions (cgroups(7)) whichever is mounted is read, and a machine without them has
none.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from horovod_runner.machine import emulated

PROC = Path("/proc/self")


@dataclass(frozen=True)
class Limit:
    """An amount that may be used, and what says so; `by` is empty where it is the whole machine."""

    amount: float
    by: str = ""


def cores(proc: Path = PROC) -> Limit:
    """Return the cores that this process may keep busy: a whole number, at least 1."""
    allowed, quota = len(os.sched_getaffinity(0)), cpu_quota(proc)
    if quota is not None and quota.amount < allowed:
        return Limit(max(1, int(quota.amount)), quota.by)
    return Limit(allowed, "the processor affinity" if allowed < (os.cpu_count() or 1) else "")


def core_count(proc: Path = PROC) -> int:
    """Return the number of cores that this process may keep busy."""
    return int(cores(proc).amount)


def cpu_quota(proc: Path = PROC) -> Limit | None:
    """Return the processors' time per time that control groups allow, the least of all levels; None for no limit.

    An emulated host's group gets its quota when its ranks have started, and counts from the beginning.
    """
    quotas = [quota for group in groups("cpu", proc) if (quota := _quota(group)) is not None]
    if (host := emulated.here()) is not None:
        quotas.append(Limit(host.cores, "cluster.cores"))
    return min(quotas, key=lambda limit: limit.amount, default=None)


def free_memory(proc: Path = PROC) -> Limit:
    """Return the bytes that may still be taken: what is free, or what a control group leaves, if that is less."""
    here = Limit(psutil.virtual_memory().available)
    return min([here, *filter(None, map(_memory_left, groups("memory", proc)))], key=lambda limit: limit.amount)


def _quota(group: Path) -> Limit | None:
    """Return a group's quota: `cpu.max` has quota and period, version 1 a file for each; max or -1 is none."""
    file = group / "cpu.max"
    words = _text(file).split()
    if not words:
        file = group / "cpu.cfs_quota_us"
        words = [*_text(file).split(), *_text(group / "cpu.cfs_period_us").split()]
    if len(words) != 2 or not all(word.isdecimal() and int(word) for word in words):
        return None
    return Limit(int(words[0]) / int(words[1]), str(file))


def _memory_left(group: Path) -> Limit | None:
    """Return what a group's limit leaves; the pages of files that it holds and does not use are given back."""
    for limit, used, reclaimable in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        most, now = _text(group / limit), _text(group / used)
        if most.isdecimal() and now.isdecimal():
            pages = re.search(rf"^{reclaimable} (\d+)$", _text(group / "memory.stat"), re.MULTILINE)
            taken = int(now) - (int(pages[1]) if pages else 0)
            return Limit(max(0, int(most) - max(0, taken)), str(group / limit))
    return None


def groups(controller: str, proc: Path = PROC) -> Iterator[Path]:
    """Yield the folders of this process's control groups that have a controller, from its own up to the mount's."""
    for controllers, path in _memberships(proc):
        for types, root, mount in _mounts(proc):
            if controllers != [""] and (controller not in controllers or controller not in types):
                continue
            if controllers == [""] and types != ["cgroup2"]:
                continue
            yield from _upward(mount, path, root)


def _memberships(proc: Path) -> Iterator[tuple[list[str], str]]:
    """Yield (controllers, path) of each line of /proc/self/cgroup; version 2's line has an empty list of them."""
    for line in _text(proc / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        yield controllers.split(","), path


def _mounts(proc: Path) -> Iterator[tuple[list[str], str, Path]]:
    """Yield (controllers, or `cgroup2`; the group at its root; where) of each mounted hierarchy (proc(5))."""
    for line in _text(proc / "mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        words, (kind, *_, options) = left.split(" "), right.split(" ")
        if kind in ("cgroup", "cgroup2"):
            place = re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), words[4])
            yield options.split(",") if kind == "cgroup" else [kind], words[3], Path(place)


def _upward(mount: Path, path: str, root: str) -> Iterator[Path]:
    """Yield a group's folder and those above it; in a container, the mount's root may be the group itself."""
    below = os.path.relpath(path, root)
    folder = mount if below.startswith("..") else Path(os.path.normpath(mount / below))
    while folder != mount and mount in folder.parents:
        yield folder
        folder = folder.parent
    yield mount


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
