"""The control groups that give emulated hosts their share of the cores, of both versions (cgroups(7)).

A host's group lies in its owner's, whose name says which process that is. Shares are taken by the ranks, when what only
the first step does is done: programs start, and graphs are traced, with all cores that there are.
"""

from __future__ import annotations

from pathlib import Path

from horovod_runner.machine import emulated, limits

OWNED = "horovod-runner-"
"""How the names of owners' groups begin."""

PERIOD = 10_000  # microseconds; the kernel's 100,000 would have a host of a fifth of a core pause for 80 ms at a time
LEAST = 1_000  # the least quota that the kernel takes


def take() -> None:
    """Limit this process's emulated host to its cores; on a real host, do nothing."""
    host = emulated.here()
    if host is None:
        return
    for group in limits.groups("cpu"):
        if group.parent.name.startswith(OWNED):
            limit(group, host.cores)


def limit(group: Path, cores: float) -> None:
    """Let the processes of a control group take no more than so much of the processors' time per time."""
    period = max(PERIOD, round(LEAST / cores))
    quota = round(cores * period)
    if (group / "cpu.max").exists():
        (group / "cpu.max").write_text(f"{quota} {period}")
    else:
        (group / "cpu.cfs_period_us").write_text(str(period))
        (group / "cpu.cfs_quota_us").write_text(str(quota))
