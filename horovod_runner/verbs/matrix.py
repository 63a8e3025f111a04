"""The verbs that work on a whole experiment file: show its runs, or do those that are missing and report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from horovod_runner.config.job_settings import JobSettings
from horovod_runner.config.machine import Machine
from horovod_runner.config.schema import RunConfig
from horovod_runner.machine.terminal import console, tell
from horovod_runner.matrix.design import Experiment
from horovod_runner.matrix.experiment import load_experiment, runs, smoked
from horovod_runner.results.earlier import refuse_earlier
from horovod_runner.results.store import Store


def plan(file: Path, settings: Mapping[str, Any], results: Path, machine: Path | None = None, *, smoke: bool) -> int:
    """Print what an experiment asks, which runs it has, and how long they will take; nothing is started."""
    from horovod_runner.config.machine import load_machine
    from horovod_runner.matrix.manifest import require_same_margins
    from horovod_runner.matrix.planning import show
    from horovod_runner.matrix.sharing import require_cores

    here = load_machine(machine)
    experiment, configs = read(file, settings, here.settings, smoke=smoke)
    _require_hosts(configs, here)
    require_cores(experiment.at_once, file, here)
    refuse_earlier(results / file.stem, {config.run_id for config in configs})
    require_same_margins(experiment, file, Store(results))
    show(experiment, configs, Store(results), console())
    return 0


def run(file: Path, settings: Mapping[str, Any], results: Path, machine: Path | None, *, smoke: bool) -> int:
    """Do what is missing, then report; return 1 if a run failed. The page's path is the last line."""
    # Imported here, so that a plan need not wait for what only runs use.
    from horovod_runner.analysis.report.write import write_report
    from horovod_runner.config.machine import load_machine
    from horovod_runner.frameworks.installed import require_installed
    from horovod_runner.launch.interrupts import ended_by_signals
    from horovod_runner.machine.world import detect
    from horovod_runner.matrix.manifest import write_down
    from horovod_runner.matrix.progress import say, watching
    from horovod_runner.matrix.runner import run_all
    from horovod_runner.matrix.sharing import in_order, require_cores
    from horovod_runner.results.provenance import remember_command
    from horovod_runner.training.notes import of_matrix

    detect()  # refuses a launcher that is none of ours before it fills a log for every run
    here = load_machine(machine)
    experiment, configs = read(file, settings, here.settings, smoke=smoke)
    here.require_room(max(config.workers for config in configs))
    _require_hosts(configs, here)
    require_cores(experiment.at_once, file, here)
    configs = in_order(configs, experiment.at_once)
    for framework in {config.framework: config for config in configs}.values():
        require_installed(framework)
    refuse_earlier(results / file.stem, {config.run_id for config in configs})
    remember_command()
    to, store = console(), Store(results)
    write_down(experiment, file, store)
    to.print(experiment.description.strip(), markup=False)
    for sentence in of_matrix(configs):
        say(to, f"note: {sentence}")
    with ended_by_signals(), watching(configs, store, to, experiment.at_once) as watcher:
        tally = run_all(configs, store, watcher, here, experiment.at_once)
    page = write_report(results / configs[0].experiment)
    for failure in tally.failed:
        say(to, f"{failure.run_id} {failure.status}: {failure.error}")
        for line in failure.log_tail:
            say(to, f"    {line}", style="dim")
    tell(page)
    return 1 if tally.failed else 0


def _require_hosts(configs: Sequence[RunConfig], machine: Machine) -> None:
    """Raise UserError where the emulated hosts of a run cannot be had here."""
    from horovod_runner.launch.emulated.cluster import require_possible

    for config in {(config.cluster, config.workers): config for config in configs}.values():
        require_possible(config, machine)


def read(
    file: Path, settings: Mapping[str, Any], of_machine: Sequence[JobSettings] = (), *, smoke: bool
) -> tuple[Experiment, Sequence[RunConfig]]:
    """Return the experiment, as changed by the command line, and its validated runs with the machine's defaults."""
    experiment = load_experiment(file)
    experiment = (smoked(experiment, file) if smoke else experiment).changed(settings)
    return experiment, runs(experiment, file, of_machine)
