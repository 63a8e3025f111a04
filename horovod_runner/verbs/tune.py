"""The verb `tune`: finds the fastest settings of a job on this machine by measuring, and writes them down."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from horovod_runner.analysis.report.terminal import console
from horovod_runner.config.machine import VARIABLE, Machine, fingerprint
from horovod_runner.errors import UserError
from horovod_runner.frameworks.installed import require_installed
from horovod_runner.launch.emulated.cluster import host_of, require_possible
from horovod_runner.launch.interrupts import ended_by_signals
from horovod_runner.machine import hardware
from horovod_runner.machine.terminal import tell
from horovod_runner.machine.world import detect
from horovod_runner.results import provenance
from horovod_runner.results.store import Store, exclusive, full_disk_named
from horovod_runner.tuning.contest import Place, Runs
from horovod_runner.tuning.job import TuningJob, TuningRequest, read_job, space
from horovod_runner.tuning.ledger import Decision, Ledger, read_ledger
from horovod_runner.tuning.machine_file import add_settings, read_existing
from horovod_runner.tuning.search import Outcome, search
from horovod_runner.tuning.show import table
from horovod_runner.tuning.space import Space

MACHINE_FILE = Path("machine.yaml")


def tune(request: TuningRequest, settings: Mapping[str, Any]) -> int:
    """Search, show what was tried, and write the machine file; its path is the last line. Always 0, but for mistakes.

    Stopped at any time, the same command goes on with what was measured; UserError names what the user can fix.
    """
    if detect().launched:
        raise UserError("tune starts the workers of its runs itself; call it without a launcher")
    out = request.machine or Path(os.environ.get(VARIABLE) or MACHINE_FILE).expanduser()
    machine, job = read_existing(out), read_job(request, settings)
    machine.require_room(job.config.workers)
    require_possible(job.config, machine)
    require_installed(job.config)
    choices = space(job, request, machine)
    place = _place(job, request.results, machine)
    provenance.remember_command()
    with exclusive(place.store.root / job.config.experiment), ended_by_signals():
        runs = Runs(job.plain, _ledger(job, choices, place.file), place, request.minutes, console())
        _announce(runs, job, place)
        outcome = search(choices, runs)
        runs.decide(_decision(outcome))
    table(runs.ledger, outcome, runs.dropped, console())
    runs.tell(outcome.sentence)
    add_settings(out, job.when, dict(outcome.winner.settings), fingerprint())
    runs.tell(f"every measurement: {place.file}; later runs take the settings with --machine {out}")
    tell(out)
    return 0


def _place(job: TuningJob, results: Path, machine: Machine) -> Place:
    """Return where runs go: one folder deeper than other runs, whose report they are no part of."""
    store = Store(results / "tune")
    folder = store.root / job.config.experiment
    with full_disk_named(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return Place(store, machine, store.root / f"{job.config.experiment}.json")


def _ledger(job: TuningJob, choices: Space, file: Path) -> Ledger:
    """Return what was measured before; UserError where that was something else."""
    new = Ledger(
        job=job.config.to_dict(),
        strategies=tuple(choices.strategies),
        machine=hardware.describe(host_of(job.config)),
        versions=provenance.versions(),
        commit=provenance.commit()["commit"],
        command=tuple(provenance.command()),
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    kept = read_ledger(file)
    if kept is None:
        return new
    if kept.subject != new.subject:
        raise UserError(
            f"{file} has measurements of other settings, candidates, versions or another machine; remove it, or choose"
            " another folder with --results"
        )
    return kept


def _announce(runs: Runs, job: TuningJob, place: Place) -> None:
    config, before = job.config, len(runs.ledger.rounds)
    what = f"{config.workload} in {config.framework} on {config.workers} workers, {config.local_batch} images each"
    runs.tell(f"{what}: runs of {config.steps} steps, each candidate once a round, in random order")
    if before:
        runs.tell(f"{place.file} has {before} rounds already; remove it to measure again")


def _decision(outcome: Outcome) -> Decision:
    return Decision(
        winner=dict(outcome.winner.settings),
        judged=None if outcome.judged is None else dict(outcome.judged.settings),
        ratio=outcome.ratio,
        sentence=outcome.sentence,
    )
