"""What a machine is made of, and the short names under which results of one machine or kind are kept together."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from horovod_runner.machine import emulated
from horovod_runner.machine.emulated import EmulatedHost


def describe(host: EmulatedHost | None = None) -> dict[str, Any]:
    """Return what the machine is, without naming it: this one, or one with emulated hosts such as this one.

    Runs of equal `id` may be averaged together; the nodes of a cluster that are built alike share a `kind`. Emulated
    hosts of other cores, or with another link, are another machine, of another kind.
    """
    host = host or emulated.here()
    facts: dict[str, Any] = {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.machine()}",
        "gpus": _gpus(),
    }
    # The kernel reports a little less or more memory from boot to boot: it is rounded to GiB for the name.
    name = [facts["cpu"], facts["cores"], round(facts["memory_bytes"] / 2**30), facts["system"], facts["gpus"]]
    plain = _fingerprint([*name, host.node if host else platform.node()])
    if host is None:
        return {"id": plain, "kind": _fingerprint(name), **facts}
    apart = ["emulated", *host.facts().values()]
    names = {"id": _fingerprint([plain, *apart]), "kind": _fingerprint([*name, *apart])}
    return {**names, **facts, "emulated": {**host.facts(), "on": plain}}


def _fingerprint(name: Sequence[Any]) -> str:
    return hashlib.sha256(repr(name).encode()).hexdigest()[:10]


def _cpu() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _gpus() -> list[str]:
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    return done.stdout.split("\n")[:-1] if done.returncode == 0 else []
