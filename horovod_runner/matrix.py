"""The verbs that work on a whole experiment file: show its runs, or do those that are missing and report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from horovod_runner.config import RunConfig
from horovod_runner.design import Experiment
from horovod_runner.experiment import load_experiment, runs
from horovod_runner.store import Store


def plan(file: Path, settings: Mapping[str, Any], results: Path, *, smoke: bool) -> int:
    """Print what an experiment asks, which runs it has, and how long they will take; nothing is started."""
    from horovod_runner.planning import show

    experiment, configs = _read(file, settings, smoke=smoke)
    show(experiment, configs, Store(results), Console())
    return 0


def run(file: Path, settings: Mapping[str, Any], results: Path, *, smoke: bool) -> int:
    """Do what is missing, then report; return 1 if a run failed. The page's path is the last line."""
    # Imported here, so that a plan need not wait for what only runs use.
    from horovod_runner.analysis.report import write_report
    from horovod_runner.progress import watching
    from horovod_runner.provenance import remember_command
    from horovod_runner.runner import run_all

    experiment, configs = _read(file, settings, smoke=smoke)
    remember_command()
    console, store = Console(), Store(results)
    console.print(experiment.description.strip(), highlight=False)
    with watching(configs, store, console) as watcher:
        tally = run_all(configs, store, watcher)
    page = write_report(results / configs[0].experiment)
    for failure in tally.failed:
        console.print(f"{failure.run_id} {failure.status}: {failure.error}", markup=False, highlight=False)
    print(page)
    return 1 if tally.failed else 0


def _read(file: Path, settings: Mapping[str, Any], *, smoke: bool) -> tuple[Experiment, Sequence[RunConfig]]:
    experiment = load_experiment(file)
    experiment = (experiment.smoked() if smoke else experiment).changed(settings)
    return experiment, runs(experiment, file)
