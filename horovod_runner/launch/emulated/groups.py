"""Control groups: one a host, so that its processes can share its cores, be counted, and be ended together.

Names are unique to an owner, and say who that is. What an owner left that was killed is removed by the next start, and
nothing else is: a group of this machine's processes whose owner lives, or is in another process namespace, stays.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from horovod_runner.machine.limits import groups
from horovod_runner.machine.share import OWNED

GONE_SECONDS = 5.0  # that processes which were killed may take to be gone
LOOK_SECONDS = 0.01


@dataclass(frozen=True)
class Groups:
    """The control groups of a cluster's hosts, in that of their owner."""

    owner: Path
    hosts: tuple[Path, ...]

    def close(self, patience: float = 0.0) -> None:
        """Wait so many seconds for the hosts' processes to end, then end those that stay; remove the groups."""
        limit = time.monotonic() + patience
        while time.monotonic() < limit and any(map(processes, self.hosts)):
            time.sleep(LOOK_SECONDS)
        _remove(self.owner)


def make(hosts: int, number: int) -> Groups:
    """Make the groups of this process's cluster of this number; OSError where control groups cannot be had."""
    parent = _parent()
    _remove_leftovers(parent)
    owner = parent / f"{OWNED}{_process_namespace()}-{_lifetime(os.getpid())}-{number}"
    made = tuple(owner / f"host{host}" for host in range(hosts))
    _hand_down(parent)
    owner.mkdir()
    _hand_down(owner)
    for group in made:
        group.mkdir()
    return Groups(owner, made)


def end_all(group: Path) -> None:
    """End every process of a group by SIGKILL."""
    for process in processes(group):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def processes(group: Path) -> list[int]:
    """Return the ids of the processes in a group."""
    with contextlib.suppress(OSError):
        return [int(word) for word in (group / "cgroup.procs").read_text().split()]
    return []


def _parent() -> Path:
    """Return the group to make groups in: version 1's own, or version 2's topmost, where processes need not move out.

    Version 2 lets no group have both processes and groups with shares, but for the first.
    """
    known = list(groups("cpu"))
    first = next((group for group in known if (group / "cpu.shares").exists()), None)
    tops = [g for g in known if "cpu" in _words(g / "cgroup.controllers")]
    if first is None and not tops:
        raise OSError(errno.ENOENT, "no control groups are mounted that share out cores (a cpu controller)")
    return first or tops[-1]


def _hand_down(group: Path) -> None:
    """Let the groups in this one have shares of cores (version 2)."""
    file = group / "cgroup.subtree_control"
    if file.exists() and "cpu" not in _words(file):
        file.write_text("+cpu")


def _words(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []


def _remove_leftovers(parent: Path) -> None:
    """Remove the groups, and end the processes, of owners of this process namespace that are no more."""
    for owner in parent.glob(f"{OWNED}{_process_namespace()}-*"):
        process, born, _ = owner.name.removeprefix(f"{OWNED}{_process_namespace()}-").split("-")
        if _lifetime(int(process)) != f"{process}-{born}":
            _remove(owner)


def _remove(owner: Path) -> None:
    """Remove an owner's groups; processes that are still in them are ended first."""
    limit = time.monotonic() + GONE_SECONDS
    for group in [*owner.glob("host*"), owner]:
        while group.exists():
            end_all(group)
            try:
                group.rmdir()
            except FileNotFoundError:  # somebody else starts now, and has removed it
                break
            except OSError:
                if time.monotonic() > limit:
                    return
                time.sleep(LOOK_SECONDS)


def _lifetime(process: int) -> str:
    """Return a process's id and when it was born, which no other one ever has both of; empty if there is none."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return f"{process}-{round(psutil.Process(process).create_time() * 100)}"
    return ""


def _process_namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino
