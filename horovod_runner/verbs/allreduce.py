"""The verb: starts the ranks of each algorithm, one launch after the other; makes tables, a JSON file, a figure."""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any

from rich.console import Console

from horovod_runner.allreduce.algorithms import ALGORITHMS, COPY, Algorithm
from horovod_runner.collectives import table
from horovod_runner.collectives.plan import AllreduceRequest, Plan, chosen, plans
from horovod_runner.collectives.record import AlgorithmResult, Report, line, row, write_report
from horovod_runner.collectives.samples import Folder
from horovod_runner.config.machine import Machine, load_machine
from horovod_runner.errors import SharedError, UserError
from horovod_runner.launch import failures
from horovod_runner.launch.emulated.cluster import host, on_hosts, require_possible
from horovod_runner.launch.launchers import Start, command
from horovod_runner.launch.processes import Ended, environment, passed_to_hosts, started
from horovod_runner.machine import hardware
from horovod_runner.machine.process import LOGGED
from horovod_runner.machine.world import detect
from horovod_runner.results import provenance
from horovod_runner.results.store import exclusive, full_disk_named

SILENCE_SECONDS = 120.0  # without a sign of life from rank 0; the longest case's few iterations in one go included
LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Launch:
    """One algorithm, ready to be started; `missing` says why it is not."""

    algorithm: Algorithm
    plan: Plan
    machine: Machine
    missing: str | None = None


def allreduce(request: AllreduceRequest, console: Console) -> int:
    """Measure the collective by every algorithm; return 1 if a algorithm failed or a sum was wrong.

    The path of the JSON file is the last line. UserError before anything is started when an option is wrong.
    """
    if detect().launched:
        raise SharedError("allreduce starts its ranks itself; give the command without a launcher, and --workers N")
    launches = _launches(request)
    folder = request.results / "allreduce"
    with full_disk_named(folder):
        folder.mkdir(parents=True, exist_ok=True)
    provenance.remember_command()
    with exclusive(folder), _emptied(folder / ".ranks") as ranks:
        began = time.perf_counter()
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        results = list(_results(launches, ranks, console))
        report = _report(request, now, time.perf_counter() - began, results)
        _keep_samples(ranks, folder)
        file = _write(report, folder)
    for path in (folder / "allreduce.png", file):
        console.print(str(path), markup=False, soft_wrap=True)
    return 0 if report.passed else 1


@contextlib.contextmanager
def _emptied(folder: Path) -> Iterator[Path]:
    """Give a folder to write to, without what a measurement left there that was killed; remove it in the end."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _launches(request: AllreduceRequest) -> list[Launch]:
    """Return what will be started, checked as far as that is possible before it is."""
    machine = load_machine(request.machine)
    machine.require_room(request.workers)
    algorithms = [COPY, *chosen(request)]
    ranks_here = min(request.workers, max(machine.hosts.values(), default=request.workers))
    launches = [
        _checked(Launch(w, p, machine)) for w, p in zip(algorithms, plans(request, algorithms, ranks_here), strict=True)
    ]
    require_possible(launches[0].plan.as_run(), machine)
    for launch in launches[1:]:
        if launch.missing is not None and request.through is not None:
            raise UserError(f"--through {launch.algorithm.name}: {launch.missing}; leave it out")
    if all(launch.missing for launch in launches):
        raise UserError("there is nothing here to reduce with; run `make setup`")
    return launches


def _checked(launch: Launch) -> Launch:
    """Return the launch with the reason why it cannot be started here, if there is one."""
    missing = launch.algorithm.missing(launch.plan.framework)
    if missing is None:
        try:
            _argv(launch, [])
        except UserError as error:
            missing = str(error)
    return replace(launch, missing=missing)


def _results(launches: Sequence[Launch], ranks: Path, console: Console) -> Iterator[AlgorithmResult]:
    copied: dict[int, float] = {}
    for launch in launches:
        if launch.missing is not None:
            result = AlgorithmResult(name=launch.algorithm.name, status="missing", reason=launch.missing)
        else:
            with console.status(f"{launch.algorithm.title} …") if console.is_terminal else contextlib.nullcontext():
                result = _measured(launch, Folder(ranks / launch.algorithm.name))
        if launch.algorithm is COPY:
            copied = {row.bytes: row.median_seconds for row in result.rows}
        if launch.algorithm is not COPY or result.status != "measured":
            table.show(result, launch.plan.workers, copied, console)
        yield result


def _measured(launch: Launch, folder: Folder) -> AlgorithmResult:
    """Start the ranks of one algorithm and see them end; what they finished counts, even where they failed later."""
    folder.write_plan(launch.plan)
    with on_hosts(launch.plan.as_run(), launch.machine) as machine:
        ended = _run(replace(launch, machine=machine), folder)
    # Without the rules around its pages, the launcher's own words are the last where no rank came to speak.
    lines = [(rank, text) for rank, text in failures.said(folder.log_file, 0) if text.strip("- ")]
    if not ended.given_up and failures.refused(ended.code, lines) and (refusal := failures.complaint(lines)):
        raise UserError(refusal)
    cases = {case.key: case for case in launch.plan.cases}
    reduces = launch.algorithm is not COPY
    rate, workers = launch.plan.cluster.rate_mbit, launch.plan.workers
    crossed = rate if launch.plan.cluster.hosts_of(workers) > 1 else None
    samples = folder.read_samples()
    rows = tuple(row(cases[s.case], s, workers, reduces=reduces, rate_mbit=crossed) for s in samples)
    failed = ended.code != 0 or ended.given_up is not None
    origin = folder.read_origin()
    return AlgorithmResult(
        name=launch.algorithm.name,
        status="failed" if failed else "measured",
        reason=_why(ended, lines, len(rows), launch.plan) if failed else None,
        log_tail=tuple(failures.tail(lines)) if failed else (),
        launcher=origin.get("launcher"),
        threads=origin.get("threads"),
        environment=origin.get("environment"),
        rows=rows,
        line=line(rows) if reduces else None,
    )


def _run(launch: Launch, folder: Folder) -> Ended:
    """Run the ranks to their end, or until they are silent for too long."""
    variables = environment(launch.machine) | {LOGGED: "1"}
    ranks = [sys.executable, "-m", "horovod_runner.collectives.rank", str(folder.path)]
    limit = _silence(launch.machine)
    with folder.log_file.open("wb") as log, started(_argv(launch, ranks), variables, log) as process:
        while True:
            try:
                return Ended(process.wait(LOOK_SECONDS))
            except TimeoutExpired:
                if time.time() - _last_sign(folder) > limit:
                    return Ended(1, given_up=f"the ranks showed no sign of life for {limit:g} seconds")


def _argv(launch: Launch, ranks: Sequence[str]) -> list[str]:
    passed_on = passed_to_hosts(environment(launch.machine), launch.machine)
    start = Start(launch.plan.workers, launch.machine, passed_on, tagged=True)
    return command(launch.plan.as_run(), ranks, start)


def _silence(machine: Machine) -> float:
    """Return how many seconds the ranks may be silent: the machine file's, where it says so."""
    return 60 * machine.silence_minutes if "silence_minutes" in machine.model_fields_set else SILENCE_SECONDS


def _last_sign(folder: Folder) -> float:
    """Return when a file was last changed, time.time()."""
    files = (folder.plan_file, folder.origin_file, folder.samples_file, folder.log_file)
    return max(file.stat().st_mtime for file in files if file.exists())


def _why(ended: Ended, lines: Sequence[failures.LogLine], done: int, plan: Plan) -> str:
    reason = ended.given_up or failures.reason(ended.code, lines)
    where = f", in {table.case_words(plan.cases[done])}" if done < len(plan.cases) else ""
    return f"{reason}{where}"


def _report(request: AllreduceRequest, now: str, seconds: float, results: Sequence[AlgorithmResult]) -> Report:
    return Report(
        command=tuple(provenance.command()),
        started=now,
        seconds=round(seconds, 1),
        origin={**provenance.commit(), "machine": _described(request), "versions": provenance.versions()},
        workers=request.workers,
        framework=request.framework,
        yield_when_idle=request.yields,
        algorithms=tuple(results),
    )


def _described(request: AllreduceRequest) -> dict[str, Any]:
    wanted = request.cluster
    return hardware.describe(host(wanted, request.workers) if wanted.emulated else None)


def _keep_samples(ranks: Path, folder: Path) -> None:
    """Put every algorithm's raw times beside the summary, and drop those of an earlier measurement."""
    for algorithm in (COPY, *ALGORITHMS.values()):
        kept, new = folder / f"{algorithm.name}.samples.jsonl", Folder(ranks / algorithm.name).samples_file
        if new.exists():
            os.replace(new, kept)
        else:
            kept.unlink(missing_ok=True)


def _write(report: Report, folder: Path) -> Path:
    from horovod_runner.analysis.plots.drawing import own_settings

    with own_settings():
        from horovod_runner.analysis.plots.allreduce import draw

        draw(report, folder)
    return write_report(report, folder)
