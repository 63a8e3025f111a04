"""The whole proof: which comparisons are made, on how many processes, and what becomes of their rows."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from horovod_runner.config.frameworks import PAIR
from horovod_runner.errors import UserError
from horovod_runner.machine import hardware
from horovod_runner.machine.limits import core_count
from horovod_runner.machine.process import place_threads
from horovod_runner.parity.rows import CLAIMS, Row, Table
from horovod_runner.parity.settings import OPTIMIZERS, WORKLOADS
from horovod_runner.results import provenance

DRIFT_SEEDS = range(5)
# In a pilot with seeds 0 to 7, ResNet-50's losses scattered by 10 % from seed to seed: to tell 0 from a margin of 10 %
# takes some twenty. The pilot's seeds are not used again.
END_SEEDS = {"resnet50": range(100, 124), "unet": range(100, 108), "vgg16": range(100, 108)}

Curves = dict[str, dict[str, list[float]]]
Found = tuple[list[Row], Curves]


@dataclass(frozen=True)
class ProofTask:
    """One comparison, done in a process of its own choice, or in one that starts ranks on all cores."""

    make: Callable[[], Found]
    starts_ranks: bool = False


def prove(workload: str | None, optimizer: str | None, results: Path, console: Console) -> int:
    """Do the proof, print it row by row, write it as JSON and as a plot; return 1 if a row is red.

    Narrowed to a workload or an optimizer, only the rows about it are made, and nothing that was written is replaced.
    """
    began = time.perf_counter()
    _require_known(workload, optimizer)
    provenance.remember_command()
    narrowed = workload is not None or optimizer is not None
    rows, curves = _done(_tasks(workload, optimizer), console)
    rows.sort(key=lambda row: list(CLAIMS).index(row.claim))
    table = Table(
        command=" ".join(provenance.command()),
        seconds=round(time.perf_counter() - began, 1),
        origin={**provenance.commit(), "machine": hardware.describe(), "versions": provenance.versions()},
        rows=tuple(rows),
        curves=curves,
    )
    show(table, console)
    if not narrowed:
        _write(table, results / "parity", console)
    return 0 if table.passed else 1


def _require_known(workload: str | None, optimizer: str | None) -> None:
    for option, given, known in (("workload", workload, WORKLOADS), ("optimizer", optimizer, OPTIMIZERS)):
        if given is not None and given not in known:
            raise UserError(f"--{option}: there is no {given!r}; choose one of {', '.join(known)}")


def _tasks(workload: str | None, optimizer: str | None) -> list[ProofTask]:
    workloads, optimizers = [workload] if workload else list(WORKLOADS), [optimizer] if optimizer else list(OPTIMIZERS)
    tasks = [ProofTask(partial(_trajectory, w, o)) for w in workloads for o in optimizers]
    if optimizer is None:  # the longest first, so that no process waits for another at the end
        tasks = [ProofTask(partial(make, w)) for make in (_end, _drift, _workload) for w in workloads] + tasks
    if optimizer is None and workload in (None, "unet"):
        tasks.append(ProofTask(_void_pixels))
        tasks += [ProofTask(partial(_workers, framework), starts_ranks=True) for framework in PAIR]
    return tasks


def _workload(workload: str) -> Found:
    from horovod_runner.parity.compare import one_workload

    return one_workload(workload), {}


def _trajectory(workload: str, optimizer: str) -> Found:
    from horovod_runner.parity.compare import one_trajectory

    return one_trajectory(workload, optimizer), {}


def _void_pixels() -> Found:
    from horovod_runner.parity.compare import void_pixels

    return void_pixels(), {}


def _drift(workload: str) -> Found:
    from horovod_runner.parity.precision import drift

    rows, curves = drift(workload, DRIFT_SEEDS)
    return rows, {f"drift {workload}": curves}


def _end(workload: str) -> Found:
    from horovod_runner.parity.precision import end_of_training

    rows, figures = end_of_training(workload, END_SEEDS[workload])
    return rows, {f"end {workload}": figures}


def _workers(framework: str) -> Found:
    from horovod_runner.parity.ranks import by_workers

    with tempfile.TemporaryDirectory() as folder:
        return by_workers(framework, Path(folder)), {}


def _done(tasks: Sequence[ProofTask], console: Console) -> Found:
    """Do all tasks, printing rows as they come; return what they found in the tasks' own order."""
    found: dict[int, Found] = {}
    for number, result in _results(tasks):
        found[number] = result
        for row in result[0]:
            console.print(_line(row), highlight=False, soft_wrap=True)
    in_order = [found[number] for number in sorted(found)]
    curves = {name: numbers for _, chosen in in_order for name, numbers in chosen.items()}
    return [row for rows, _ in in_order for row in rows], curves


def _results(tasks: Sequence[ProofTask]) -> Iterator[tuple[int, Found]]:
    """Yield tasks' numbers and results: first those of one thread each, side by side, then those that start ranks."""
    alone = {number: task for number, task in enumerate(tasks) if not task.starts_ranks}
    cores = core_count()
    with ProcessPoolExecutor(max(1, min(cores, len(alone))), multiprocessing.get_context("spawn"), _prepare) as pool:
        numbers = {pool.submit(task.make): number for number, task in alone.items()}
        for future in as_completed(numbers):
            yield numbers[future], future.result()
    for number, task in enumerate(tasks):
        if task.starts_ranks:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _prepare) as pool:
                yield number, pool.submit(task.make).result()


def _prepare() -> None:
    """Ready a process: one thread, like every worker of the proof, and nothing said that is not a row."""
    place_threads(1)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)


def show(table: Table, console: Console) -> None:
    """Print all rows by claim, and the verdict."""
    for claim, title in CLAIMS.items():
        chosen = [row for row in table.rows if row.claim == claim]
        if chosen:
            console.print(f"\n[bold]{title}[/bold]", highlight=False)
        for row in chosen:
            console.print(_line(row), highlight=False, soft_wrap=True)
            why = escape(f"{row.why}{f'; largest at {row.where}' if row.where else ''}")
            console.print(f"      [dim]{why}[/dim]", highlight=False, soft_wrap=True)
    console.print(f"\n{escape(table.verdict)} ({table.seconds:.0f} s)", highlight=False)


def _line(row: Row) -> str:
    sign = ">" if row.differs else "≤"
    verdict = "[green]pass[/green]" if row.passed else "[red]FAIL[/red]"
    return f"{verdict}  {row.difference:8.1e} {sign} {row.tolerance:7.0e}  {escape(row.what)}"


def _write(table: Table, folder: Path, console: Console) -> None:
    from horovod_runner.analysis.plots.drawing import own_settings
    from horovod_runner.results.store import full_disk_named

    with full_disk_named(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with own_settings():
        from horovod_runner.analysis.report.parity import draw

        draw(table, folder / "figures")
    for file in (table.write(folder), folder / "figures" / "parity.png"):
        console.print(str(file), markup=False, highlight=False, soft_wrap=True)
