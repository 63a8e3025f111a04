"""How fast would it be on more workers? What a study's runs say of a job and its network, put into the model.

Taken from a study: computing from compute-only runs at two local batches or more (a worker alone is one), how workers
differ from these runs' steps, the network from runs that reduce on several workers. The unit of resampling is the run.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from horovod_runner.analysis.load import tables
from horovod_runner.analysis.load.arms import arm, but_for_the_arm, oversubscribed
from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.questions import Finding
from horovod_runner.config.schema import RunConfig
from horovod_runner.errors import UserError
from horovod_runner.prediction.calibration import ERROR, Calibrated, Observed, Setup, weighted
from horovod_runner.prediction.draws import PRIOR_DRAWS, Draws, priors
from horovod_runner.prediction.forecast import Forecast
from horovod_runner.prediction.job import MIB, PATTERNS, Gradients, Pattern, batches_line, evenly, measured
from horovod_runner.prediction.network import Network
from horovod_runner.statistics.bootstrap import resampled
from horovod_runner.statistics.interval import FEWEST_SAMPLES, Interval
from horovod_runner.statistics.throughput import over_runs

if TYPE_CHECKING:
    from horovod_runner.analysis.report.prediction import Told

Array = NDArray[np.float64]

MOST_REPORTED = 8
FREE = {"workers", "seed", "repeat", "local_batch", "global_batch", "scaling", "epochs", "steps", "arm", "framework"}
HOROVODS_FUSION = 128 * MIB
"""What Horovod 0.28.1 fuses unless it is told otherwise (operations.cc)."""
GRADIENT_BYTES = 4
CLASSES = {"digits": 10, "digit_scenes": 11}
OTHER_CLASSES = 1000
COMPRESSED = {"none": 1.0, "fp16": 0.5, "bf16": 0.5}


@dataclass(frozen=True)
class Asked:
    """What a user says beside the study. `ready`: gradients as a profile has them, by framework and workload."""

    network: Network | None = None
    per_host: int | None = None
    strategies: tuple[str, ...] = ()
    scaling: str | None = None
    ready: Mapping[tuple[str, str], Gradients] = field(default_factory=dict)


@dataclass(frozen=True)
class StudyForecast:
    """A forecast of one job, framework and strategy, and what was measured of it, images a second by workers.

    `ready_measured`: whether it is known when gradients are ready. `linked_alike`: whether all workers are taken to be
    linked as those were that were measured, for nobody said what links hosts. `hosts_unlinked`: whether nothing but the
    prior says what links them.
    """

    experiment: str
    workload: str
    framework: str
    forecast: Forecast
    measured: Mapping[int, Interval]
    ready_measured: bool
    linked_alike: bool
    hosts_unlinked: bool = False


@dataclass(frozen=True)
class Prediction(Finding):
    """The forecasts of one job, told for the report: as far as it predicts, a row a number of workers."""

    question: ClassVar[str] = "prediction"

    told: tuple[Told, ...]

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [row for one in self.told for row in one.rows]

    @property
    def notes(self) -> list[str]:
        """What all of them rest on."""
        return list(dict.fromkeys(note for one in self.told for note in one.notes))


def findings(runs: Sequence[Run]) -> list[Prediction]:
    """Return a prediction for each job of a study that has what it needs; none of a matrix of many settings."""
    from horovod_runner.analysis.report.prediction import told

    by_job: dict[str, list[StudyForecast]] = defaultdict(list)
    for one in possible(runs):
        by_job[one.workload].append(one)
    if sum(map(len, by_job.values())) > MOST_REPORTED:
        return []
    return [Prediction((job,), tuple(told(one) for one in members)) for job, members in by_job.items()]


def possible(runs: Sequence[Run], asked: Asked | None = None) -> list[StudyForecast]:
    """Return the forecasts that these runs of one study have what it needs for; none where they have not."""
    try:
        return forecasts(runs, asked or Asked())
    except UserError:
        return []


def forecasts(runs: Sequence[Run], asked: Asked) -> list[StudyForecast]:
    """Return a forecast for each job, framework and strategy; UserError says what is missing, and what to run."""
    told = [run for run in runs if arm(run) != "loading" and run.result.at_once == 1]
    where = f"{told[0].experiment if told else runs[0].experiment}"
    _refuse_mixtures(where, told)
    completed = [run for run in told if run.completed and run.result.images_per_second and not oversubscribed(run)]
    if not completed:
        raise UserError(
            f"{where}: no run with a core for each worker was timed and came to its end ({_ends(told)}); choose a"
            " smaller learning rate or fewer workers, and run the study again"
        )
    made, refused = [], []
    for members in _jobs(completed):
        try:
            made += list(_of_job(where, members, asked))
        except UserError as error:
            refused.append(error)
    if not made:
        raise refused[0]
    return made


def _refuse_mixtures(where: str, runs: Sequence[Run]) -> None:
    machines = {run.machine for run in runs}
    if len(machines) > 1:
        raise UserError(
            f"{where}: its runs are of {len(machines)} machines ({', '.join(sorted(machines))}); move those of all but"
            " one to another folder"
        )
    emulated = {json.dumps(_emulation(run), sort_keys=True) for run in runs}
    if len(emulated) > 1:
        raise UserError(
            f"{where}: cluster: its runs are on {len(emulated)} different sets of hosts; move those of all but one to"
            " another folder"
        )


def _emulation(run: Run) -> dict[str, object]:
    """Return what a run says of emulated hosts, but for how many they are."""
    return {key: run.settings[key] for key in run.settings if key.startswith("cluster") and not key.endswith("hosts")}


def _ends(runs: Sequence[Run]) -> str:
    counted = Counter(run.result.status for run in runs)
    return ", ".join(f"{count} {status}" for status, count in sorted(counted.items())) or "there are none"


def _jobs(runs: Sequence[Run]) -> list[list[Run]]:
    """Return runs that differ in nothing but batch, workers and how they reduce."""
    together: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        settings = {key: value for key, value in but_for_the_arm(dict(run.settings)).items() if key not in FREE}
        together[json.dumps([run.result.framework, settings], sort_keys=True)].append(run)
    return list(together.values())


def _of_job(where: str, runs: Sequence[Run], asked: Asked) -> Iterator[StudyForecast]:
    first = runs[0]
    framework, workload = first.result.framework, first.result.workload
    named = f"{where}: {workload} in {framework}"
    alone = [run for run in runs if arm(run) in ("alone", "compute_only") or run.result.workers == 1]
    batches = sorted({run.result.local_batch for run in alone})
    command = f"horovod-runner bench --framework {framework} --workload {workload} --set strategy=none --local-batch"
    usual = Counter(run.result.local_batch for run in runs).most_common(1)[0][0]
    if not alone:
        raise UserError(
            f"{named}: no compute-only runs, which say how long computing takes; run {command} {usual}, and half of it"
        )
    if len(batches) < 2:
        raise UserError(
            f"{named}: all compute-only runs have a local batch of {batches[0]}, and computing is a line through two;"
            f" run {command} {max(1, batches[0] // 2)}, with the study's other settings and --results"
        )
    reducing = [run for run in runs if arm(run) == "training" and run.result.workers > 1]
    if not reducing and asked.network is None:
        raise UserError(
            f"{named}: no run reduces on two workers or more, and nothing else says what links them; give --network"
            " FILE or --allreduce DIR, or run the study on two workers"
        )
    gradients, ready_measured = _gradients(runs, asked)
    untraced = [run for run in reducing if not run.config.allreduce.timeline]
    for strategy in _strategies(named, reducing, asked):
        own = [run for run in untraced if run.config.strategy == strategy]
        # A strategy that was not measured goes over the links that another one has shown.
        shown = own or [run for run in untraced if run.config.strategy == untraced[0].config.strategy]
        like = (shown or list(runs))[0]
        scaling, batch = _scale(own or reducing or runs, asked)
        per_host = asked.per_host or (asked.network.ranks_per_host if asked.network else _per_host(shown)) or 1
        measured_by = like.config.strategy if shown else strategy
        setup = Setup(gradients, pattern_of(like.config, measured_by), per_host)
        calibrated = _calibrated(setup, alone, shown, asked)
        calibrated = replace(calibrated, setup=replace(setup, pattern=pattern_of(like.config, strategy)))
        hosts = max((_hosts(run) for run in shown), default=1)
        yield StudyForecast(
            first.experiment,
            workload,
            framework,
            Forecast(calibrated, scaling, batch, strategy),
            _measured(runs, own, scaling, batch),
            ready_measured,
            linked_alike=asked.network is None and per_host == 1 and hosts == 1,
            hosts_unlinked=asked.network is None and per_host > 1 and hosts == 1,
        )


def _strategies(named: str, reducing: Sequence[Run], asked: Asked) -> list[str]:
    there = list(dict.fromkeys(run.config.strategy for run in reducing))
    unknown = [name for name in asked.strategies if name not in PATTERNS or name == "none"]
    if unknown:
        raise UserError(
            f"{named}: --strategy {unknown[0]}: is none of {', '.join(name for name in PATTERNS if name != 'none')}"
        )
    return list(asked.strategies) or there or ["fused"]


def pattern_of(config: RunConfig, strategy: str) -> Pattern:
    """Return how a strategy moves gradients under a run's settings of the allreduce."""
    pattern, how = PATTERNS[strategy], config.allreduce
    if pattern.coordinated:
        cycle = pattern.cycle_seconds if how.cycle_ms is None else how.cycle_ms / 1e3
        fusion = HOROVODS_FUSION if how.fusion_mb is None else how.fusion_mb * MIB
        fuses = 0 < pattern.fusion_bytes < math.inf
        pattern = replace(pattern, cycle_seconds=cycle, fusion_bytes=fusion if fuses else pattern.fusion_bytes)
        pattern = replace(pattern, bytes_factor=1.0 if pattern.gathers else COMPRESSED[how.compression])
    return pattern


def _gradients(runs: Sequence[Run], asked: Asked) -> tuple[Gradients, bool]:
    """Return a job's gradients, and whether it is known when they are ready."""
    config = runs[0].config
    for run in runs:
        if (made := profiled(run)) is not None:
            return made, True
    if (given := asked.ready.get((runs[0].result.framework, runs[0].result.workload))) is not None:
        return given, True
    return evenly(sum(sizes(config).values())), False


def sizes(config: RunConfig) -> dict[str, float]:
    """Return the bytes of each gradient by its name, in the model's order."""
    architecture = config.job.architecture(
        width=config.width or 0,
        channels=config.data.channels or 3,
        classes=CLASSES.get(config.data.name or "", OTHER_CLASSES),
        image_size=config.data.image_size or 224,
        **config.options,
    )
    return {array.name: float(GRADIENT_BYTES * math.prod(array.shape)) for array in architecture.trainable}


def profiled(run: Run) -> Gradients | None:
    """Return gradients in the order and at the times of a run's timeline; None without one that names most of them."""
    if run.result.timeline is None or not run.result.timeline.ready_seconds:
        return None
    of = sizes(run.config)
    seconds = {name: run.result.timeline.ready_seconds.get(name) for name in of}
    known = {name: moment for name, moment in seconds.items() if moment is not None}
    if sum(of[name] for name in known) < 0.9 * sum(of.values()):
        return None
    return measured([of[name] for name in known], list(known.values()))


def profiles(root: Path) -> dict[tuple[str, str], Gradients]:
    """Return what the runs with a timeline below a folder say of gradients; UserError where there is none."""
    found = {}
    for run in tables.read(root):
        if (made := profiled(run)) is not None:
            found[run.result.framework, run.result.workload] = made
    if not found:
        raise UserError(
            f"{root}: no run below it has a timeline that names its gradients; make one with horovod-runner bench"
            " --framework torch --workers 2 --steps 20 --set allreduce.timeline=true"
        )
    return found


def _scale(runs: Sequence[Run], asked: Asked) -> tuple[str, int]:
    """Return the way of scaling and the batch that it keeps: the one that most runs have, of equals the largest."""
    result = runs[0].result
    scaling = asked.scaling or result.scaling
    name = "local_batch" if scaling == "weak" else "global_batch"
    if scaling == result.scaling:
        counted = Counter(getattr(run.result, name) for run in runs)
        return scaling, max(counted, key=lambda batch: (counted[batch], batch))
    return scaling, max(run.result.local_batch for run in runs)


def _per_host(runs: Sequence[Run]) -> int | None:
    """Return workers a host, where runs were made on several; None where nothing says."""
    several = [run for run in runs if _hosts(run) > 1]
    return several[0].result.workers // _hosts(several[0]) if several else None


def _hosts(run: Run) -> int:
    return int((run.provenance.get("launcher") or {}).get("hosts") or 1)


def _calibrated(setup: Setup, alone: Sequence[Run], own: Sequence[Run], asked: Asked) -> Calibrated:
    generator = np.random.default_rng(0)
    draws = _computing(priors(generator), alone, generator)
    if asked.network is not None:
        draws = asked.network.known(draws, generator)
    rows = [row for row in _observed(own) if asked.network is None or _as_linked(row, own, setup)]
    largest = max([row.workers for row in rows], default=1)
    return weighted(setup, draws, rows, generator, largest=largest)


def _as_linked(row: Observed, own: Sequence[Run], setup: Setup) -> bool:
    """Return whether what was measured went over as many hosts as this number of workers will have."""
    hosts = {_hosts(run) for run in own if run.result.workers == row.workers}
    return hosts == {math.ceil(row.workers / setup.per_host)}


def _computing(draws: Draws, alone: Sequence[Run], generator: np.random.Generator) -> Draws:
    """Return draws with computing as other runs might have had it, and with the scatter of measured steps."""
    cells: dict[tuple[int, int], list[float]] = defaultdict(list)
    for run in alone:
        cells[run.result.local_batch, run.result.workers].append(_worker_seconds(run))
    columns = []
    for seconds in cells.values():
        logs = np.log(seconds)
        if len(logs) >= FEWEST_SAMPLES:
            drawn = resampled(logs[:, None], generator, PRIOR_DRAWS)[:, 0]
        else:
            drawn = logs.mean() + ERROR * generator.standard_normal(PRIOR_DRAWS)
        columns.append(np.exp(drawn))
    start, per_image = batches_line([batch for batch, _ in cells], np.stack(columns, axis=-1))
    made = draws.with_(start=start, per_image=per_image)
    relative = [clock / clock.mean(axis=0) for _, clock in tables.clocks(alone)]
    if not relative:
        return made
    steps = np.concatenate([clock.ravel() for clock in relative])
    return made.with_(measured_steps=steps, scatter=np.ones(len(draws)))


def _worker_seconds(run: Run) -> float:
    """Return the mean seconds of a worker's step."""
    if run.result.worker_seconds:
        return float(np.mean(run.result.worker_seconds))
    assert run.result.images_per_second is not None
    return run.result.global_batch / run.result.images_per_second.mean


def _observed(runs: Sequence[Run]) -> list[Observed]:
    cells: dict[tuple[int, int], list[float]] = defaultdict(list)
    for run in runs:
        assert run.result.images_per_second is not None
        seconds = run.result.global_batch / run.result.images_per_second.mean
        cells[run.result.workers, run.result.local_batch].append(seconds)
    rows = []
    for (workers, batch), times in sorted(cells.items()):
        logs = np.log(times)
        own = float(logs.std(ddof=1) / math.sqrt(len(logs))) if len(logs) > 1 else 0.0
        rows.append(Observed(workers, batch, float(np.exp(logs.mean())), math.hypot(ERROR, own)))
    return rows


def _measured(runs: Sequence[Run], own: Sequence[Run], scaling: str, batch: int) -> dict[int, Interval]:
    """Return what was measured of this way of scaling, images a second by workers."""
    name = "local_batch" if scaling == "weak" else "global_batch"
    cells: dict[int, list[Interval]] = defaultdict(list)
    for run in [*own, *(run for run in runs if run.result.workers == 1)]:
        if getattr(run.result, name) == batch and run.result.images_per_second:
            cells[run.result.workers].append(run.result.images_per_second)
    return {
        count: over_runs([interval.mean for interval in cells[count]]) if len(cells[count]) > 1 else cells[count][0]
        for count in sorted(cells)
    }
