"""The verb `parity`: does the proof's tasks on all cores, shows each row once, and writes the table and its figures."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from horovod_runner.errors import UserError
from horovod_runner.machine import hardware
from horovod_runner.machine.limits import core_count
from horovod_runner.machine.process import place_threads
from horovod_runner.parity.rows import CLAIMS, Row, Table
from horovod_runner.parity.settings import OPTIMIZERS, WORKLOADS
from horovod_runner.parity.tasks import Found, ProofTask, tasks
from horovod_runner.results import provenance

HEADER = "  found     bound          compared"
INDENT = " " * 22
LOG_LINES = 12


def prove(workload: str | None, optimizer: str | None, results: Path, console: Console, *, quick: bool = False) -> int:
    """Do the proof, print each row as it is found, write them as JSON and as a plot; return 1 if a row is red.

    Narrowed to a workload or an optimizer, or `quick`, nothing is written: a part does not replace the whole.
    """
    began = time.perf_counter()
    _require_known(workload, optimizer, quick)
    provenance.remember_command()
    console.print(HEADER, highlight=False)
    rows, curves = _done(tasks(workload, optimizer, quick), console)
    rows.sort(key=lambda row: list(CLAIMS).index(row.claim))
    table = Table(
        command=" ".join(provenance.command()),
        seconds=round(time.perf_counter() - began, 1),
        origin={**provenance.commit(), "machine": hardware.describe(), "versions": provenance.versions()},
        rows=tuple(rows),
        curves=curves,
    )
    console.print(f"\n{escape(table.verdict)} ({table.seconds:.0f} s)", highlight=False)
    if workload is None and optimizer is None and not quick:
        _write(table, results / "parity", console)
    return 0 if table.passed else 1


def _require_known(workload: str | None, optimizer: str | None, quick: bool) -> None:
    for option, given, known in (("workload", workload, WORKLOADS), ("optimizer", optimizer, OPTIMIZERS)):
        if given is not None and given not in known:
            raise UserError(f"--{option}: there is no {given!r}; choose one of {', '.join(known)}")
    if quick and optimizer is not None:
        raise UserError("--quick makes the rows about one step, where no optimizer counts; leave out --optimizer")


def _done(todo: Sequence[ProofTask], console: Console) -> Found:
    """Do all tasks, printing rows as they come; return what they found in the tasks' own order."""
    found: dict[int, Found] = {}
    for number, result in _results(todo):
        found[number] = result
        for row in result[0]:
            console.print(line(row), highlight=False, soft_wrap=True)
            if not row.passed:
                console.print(f"{INDENT}[dim]{escape(_explained(row))}[/dim]", highlight=False, soft_wrap=True)
    in_order = [found[number] for number in sorted(found)]
    curves = {name: numbers for _, chosen in in_order for name, numbers in chosen.items()}
    return [row for rows, _ in in_order for row in rows], curves


def line(row: Row) -> str:
    """Return a row as it is printed: the difference found, on which side of its bound, and what was compared."""
    sign = "≤" if row.difference <= row.tolerance else ">"
    verdict = "    " if row.passed else "[red]FAIL[/red]"
    return f"{row.difference:7.1e} {sign} {row.tolerance:5.0e}  {verdict}  {escape(row.what)}"


def _explained(row: Row) -> str:
    return (f"largest at {row.where}; " if row.where else "") + row.why


def _results(todo: Sequence[ProofTask]) -> Iterator[tuple[int, Found]]:
    """Yield tasks' numbers and results: first those of one thread each, side by side, then those that start ranks.

    A process that dies takes the others' pool along. So what was lost with it is done again, one process a task.
    """
    side_by_side = {number: task for number, task in enumerate(todo) if not task.starts_ranks}
    alone = {number: task for number, task in enumerate(todo) if task.starts_ranks}
    for number, future in _finished(side_by_side):
        try:
            yield number, future.result()
        except BrokenProcessPool:
            alone[number] = side_by_side[number]
    for number, task in alone.items():
        for _, future in _finished({number: task}):
            try:
                yield number, future.result()
            except BrokenProcessPool:
                yield number, ([_failed(task, "its process was killed")], {})


def _finished(todo: dict[int, ProofTask]) -> Iterator[tuple[int, Future[Found]]]:
    if not todo:
        return
    processes = min(core_count(), len(todo))
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _prepare) as pool:
        numbers = {pool.submit(_make, task): number for number, task in todo.items()}
        for future in as_completed(numbers):
            yield numbers[future], future


def _prepare() -> None:
    """Ready a process: one thread, like every worker of the proof, and a log for what frameworks say."""
    place_threads(1)
    with tempfile.TemporaryFile("w+") as log:
        os.dup2(log.fileno(), 2)


def _make(task: ProofTask) -> Found:
    """Do a task; what it raises becomes a red row: one that breaks must not hide what the others find."""
    try:
        return task.make()
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
        return [_failed(task, "\n".join(_last_lines()))], {}


def _last_lines() -> list[str]:
    """Return the end of this process' own log."""
    with os.fdopen(os.dup(2), "r", errors="replace") as log:
        log.seek(0)
        return log.read().splitlines()[-LOG_LINES:]


def _failed(task: ProofTask, why: str) -> Row:
    return Row(claim="finished", what=f"{task.about}: ended with an error", difference=1, tolerance=0, why=why)


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
