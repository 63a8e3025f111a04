"""The environment at a glance: what is here, what a run would use, and the remedy for whatever is missing.

Each check is a function that returns one finding; the table `CHECKS` is the order of the page. Frameworks and Horovod
are asked in child processes: a library that crashes on import must not take the doctor with it.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from horovod_runner.config.frameworks import BOUND, FRAMEWORKS, Framework
from horovod_runner.environment.install import PYTHONS
from horovod_runner.launch.emulated.ability import ability
from horovod_runner.launch.launchers import find
from horovod_runner.launch.processes import environment
from horovod_runner.machine import limits
from horovod_runner.machine.terminal import console
from horovod_runner.machine.world import detect, threads_for
from horovod_runner.results import OWN

SETUP = "run `make setup`"
LEAST_MEMORY = 4 * 2**30
LEAST_DISK = 2 * 2**30


@dataclass(frozen=True)
class Finding:
    """One line of the page; `remedy` is set where something is missing, `fatal` where no run could work without it."""

    subject: str
    found: str
    remedy: str = ""
    fatal: bool = False


_HOROVOD = """
import json, importlib.metadata, {0} as hvd
print(json.dumps({{"version": importlib.metadata.version("horovod"), "mpi": bool(hvd.mpi_built()),
    "gloo": bool(hvd.gloo_built()), "nccl": bool(hvd.nccl_built()), "ddl": bool(hvd.ddl_built()),
    "ccl": bool(hvd.ccl_built()), "cuda": bool(hvd.cuda_built()), "rocm": bool(hvd.rocm_built())}}))
"""
_FRAMEWORK = """
import json
from {0} import about
print(json.dumps({{"version": about.version(), "gpus": about.gpus()}}))
"""


def examine() -> int:
    """Print the page; return 1 if a run could not work here, else 0."""
    to = console()
    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(3):
        table.add_column(overflow="fold")
    findings = []
    for finding in _findings():
        findings.append(finding)
        mark = "[green]ok" if not finding.remedy else "[red]missing" if finding.fatal else "[yellow]note"
        table.add_row(mark, escape(finding.subject), escape(finding.found))
        if finding.remedy:
            table.add_row("", "", escape(f"→ {finding.remedy}"))
    to.print(table)
    broken = [finding.subject for finding in findings if finding.fatal and finding.remedy]
    to.print(escape(f"A run could not work here: {', '.join(broken)}." if broken else _outlook()))
    return 1 if broken else 0


def _findings() -> Iterator[Finding]:
    for check in CHECKS:
        yield from check()


def _python() -> Iterator[Finding]:
    version = platform.python_version()
    remedy = "the packages are pinned for Python 3.11 to 3.13; make setup PYTHON=one of them"
    yield Finding("Python", version, "" if sys.version_info[:2] in PYTHONS else remedy)


def _frameworks() -> Iterator[Finding]:
    for name, framework in FRAMEWORKS.items():
        answer = _ask(_FRAMEWORK.format(framework.home), framework)
        if isinstance(answer, str):
            yield Finding(name, answer, SETUP, fatal=True)
        else:
            gpus = ", ".join(answer["gpus"]) or "no GPU, so the CPU"
            yield Finding(name, f"{answer['version']}; {gpus}")


def _horovod() -> Iterator[Finding]:
    for name in BOUND:
        answer = _ask(_HOROVOD.format(FRAMEWORKS[name].horovod), FRAMEWORKS[name])
        if isinstance(answer, str):
            yield Finding(f"Horovod for {name}", answer, SETUP, fatal=True)
            continue
        controllers = [c for c in ("mpi", "gloo") if answer[c]]
        operations = [o for o in ("nccl", "ddl", "ccl", "mpi", "gloo") if answer[o]]
        remedy = (
            "" if controllers else "it was built without MPI and Gloo; remove its wheel from the cache and " + SETUP
        )
        found = f"{answer['version']}; controllers: {', '.join(controllers)}; operations: {', '.join(operations)}"
        yield Finding(f"Horovod for {name}", found, remedy, fatal=True)


def _launchers() -> Iterator[Finding]:
    mpirun = find("mpirun")
    if mpirun is None:
        yield Finding("mpirun", "not found", f"{SETUP}, or use horovodrun --gloo")
    else:
        words = _run([mpirun, "--version"])
        yield Finding("mpirun", words.splitlines()[0] if words else "does not start", "" if words else SETUP)
    horovodrun = find("horovodrun")
    yield Finding("horovodrun", "found" if horovodrun else "not found", "" if horovodrun else SETUP)
    if shutil.which("srun"):
        yield Finding("srun", "found; it starts ranks with srun --mpi=pmix")


def _cores() -> Iterator[Finding]:
    may, present = limits.cores(), os.cpu_count()
    by = f", limited by {may.by}" if may.by else ""
    threads = threads_for(detect(), None)
    yield Finding("cores", f"{may.amount:.0f} of {present}{by}; a worker alone would get {threads} threads")


def _emulated() -> Iterator[Finding]:
    found = ability()
    if found.missing is not None:
        yield Finding("emulated hosts", "cannot be had", found.missing.replace(", or remove cluster", ""))
        return
    latency = "" if found.delays else "; their links have a bandwidth and no latency, since this kernel lacks netem"
    yield Finding("emulated hosts", f"--set cluster.hosts=2 would use them{latency}")


def _memory() -> Iterator[Finding]:
    left = limits.free_memory()
    free, by = left.amount, f", limited by {left.by}" if left.by else ""
    remedy = (
        ""
        if free >= LEAST_MEMORY
        else "a worker of ResNet-50 needs about 1.5 GB; close something, or lower local_batch"
    )
    yield Finding("memory", f"{free / 2**30:.1f} GiB free{by}", remedy)


def _disk() -> Iterator[Finding]:
    free = shutil.disk_usage(Path.cwd()).free
    remedy = "" if free >= LEAST_DISK else "checkpoints need room: free some, or choose another folder with --results"
    yield Finding("disk", f"{free / 2**30:.1f} GiB free here", remedy)


def _results() -> Iterator[Finding]:
    folder = next(place for place in (OWN, *OWN.parents) if place.exists())
    writable = os.access(folder, os.W_OK)
    remedy = "" if writable else "choose a folder that can be written with --results"
    yield Finding("results", f"{OWN} can be written" if writable else f"{folder} cannot be written", remedy)


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _python,
    _frameworks,
    _horovod,
    _launchers,
    _cores,
    _emulated,
    _memory,
    _disk,
    _results,
)


def _outlook() -> str:
    """Say what a run here would use."""
    cores = limits.core_count()
    launcher = "mpirun (MPI)" if find("mpirun") else "horovodrun (Gloo)"
    share = f"{cores} core{'s'[: cores != 1]}"
    return f"The workers of a run here share {share}; more than one of them are started by {launcher}."


def _ask(script: str, framework: Framework) -> dict[str, Any] | str:
    """Run a script about a framework in a child; return what it printed as JSON, or the last line of its error."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env=_variables(framework),
    )
    try:
        answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return (done.stderr.strip().splitlines() or ["it does not start"])[-1][:200]
    return answer


def _variables(framework: Framework) -> dict[str, str]:
    variables = environment()
    framework.pin(variables)
    return variables


def _run(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment())
    return done.stdout.strip() if done.returncode == 0 else ""
