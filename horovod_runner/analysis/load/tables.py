"""Results as pandas tables: one row a run, step, epoch or cell of the matrix; loose and packed runs read alike.

Where an experiment's folder holds loose finished runs, these take the place of the packed ones beside them, so that
what somebody measures is not mixed with what the repository ships; `packed=True` asks for both.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from horovod_runner.analysis.load.groups import Group, bounds, cell_rows, groups
from horovod_runner.analysis.load.pack import is_packed, packed_steps, read_packed
from horovod_runner.analysis.load.runs import Run, read_loose
from horovod_runner.errors import UserError
from horovod_runner.results.record import StepRecord
from horovod_runner.results.store import RunFolder

if TYPE_CHECKING:
    import numpy as np
    import pandas
    from numpy.typing import NDArray

    from horovod_runner.analysis.questions.scaling.study import Scaling

RESULTS = "HOROVOD_RUNNER_RESULTS"
"""Names the folder of results that the notebooks read."""
COMMITTED = Path(__file__).resolve().parents[3] / "results"
FIELDS = list(StepRecord.model_fields)
OF_WORKERS = ("worker_seconds", "ready_seconds")
REAL = set(FIELDS) - {"step", "epoch", "batch", *OF_WORKERS}
IDENTITY = ["experiment", "run_id", "status", "framework", "workload", "workers", "local_batch", "global_batch"]
IDENTITY += ["scaling", "seed", "repeat"]


def results(study: str = "") -> Path:
    """Return the folder a notebook reads: what HOROVOD_RUNNER_RESULTS names, else the committed studies.

    Of a study that the folder does not hold the committed one is read, and that is said.
    """
    named = os.environ.get(RESULTS)
    if named is None or _holds_runs(Path(named, study)):
        return Path(named or COMMITTED, study)
    print(f"{Path(named, study)} holds no finished runs: shown is what comes with the repository.")
    return COMMITTED / study


def _holds_runs(folder: Path) -> bool:
    """Tell whether there are finished runs, packed or loose, or a proof."""
    told = (found for name in ("result.json", "parity.json") for found in folder.glob(f"**/{name}"))
    return any(_packed_folders(folder)) or next(told, None) is not None


def read(root: Path, packed: bool = False) -> list[Run]:
    """Return the finished runs below `root` (a results folder, an experiment's, or a run's), by experiment and run id.

    UserError when there is none: it names the folder and a command that makes some.
    """
    loose = read_loose(root)
    taken = set() if packed else {run.folder.parent for run in loose}
    stored = [run for folder in _packed_folders(root) if folder not in taken for run in read_packed(folder)]
    there = {(run.folder.parent, run.config.run_id) for run in loose} if packed else set()
    runs = loose + [run for run in stored if not there or (run.folder.parent, run.config.run_id) not in there]
    if not runs:
        raise UserError(f"{root} holds no finished run; make some with: make bench RESULTS={root}")
    return sorted(runs, key=lambda run: (run.experiment, run.result.run_id))


def runs(root: Path, packed: bool = False) -> pandas.DataFrame:
    """Return one row a run: settings and figures by their dotted names, `final_*` figures, machine, versions."""
    return _frame(run.row for run in read(Path(root), packed))


def epochs(root: Path, packed: bool = False) -> pandas.DataFrame:
    """Return one row an epoch of a run: train_loss, val_loss, val_metric and its name beside the run's identity."""
    return epoch_table(read(Path(root), packed))


def steps(root: Path, packed: bool = False) -> pandas.DataFrame:
    """Return one row a recorded step, the fields of steps.jsonl beside the run's identity."""
    return step_table(read(Path(root), packed))


def step_table(chosen: Sequence[Run], fields: Sequence[str] = FIELDS) -> pandas.DataFrame:
    """Return the table of `steps` for runs that are already in hand, with these fields of the steps alone."""
    import pandas

    kinds = [*_loose_steps(chosen, fields), *_packed_steps(chosen, fields)]
    columns = pandas.DataFrame(columns=["experiment", "run_id", *fields])
    recorded = pandas.concat([table for table in kinds if len(table)] or [columns], ignore_index=True)
    identity = pandas.DataFrame([_identity(run) for run in chosen])
    return identity.merge(recorded, on=["experiment", "run_id"])


def clocks(chosen: Sequence[Run]) -> Iterator[tuple[Run, NDArray[np.float64]]]:
    """Yield each run that recorded steps, with every worker's seconds of its timed steps, shape (steps, workers)."""
    packed = list(_packed_steps(chosen, ["step", "worker_seconds"]))
    stored = {key: steps for table in packed for key, steps in table.groupby(["experiment", "run_id"])}
    for run in chosen:
        recorded = stored.get((run.experiment, run.result.run_id)) if run.packed else _recorded(run)
        if recorded is not None:
            if run.result.at_once > 1:
                continue  # its steps took what others left them
            timed = zip(recorded["step"], recorded["worker_seconds"], strict=True)
            rows = [seconds for step, seconds in timed if step > run.result.discarded_steps]
            if rows:
                yield run, _numbers(rows)


def cells(root: Path, packed: bool = False) -> pandas.DataFrame:
    """Return one row a cell of the matrix (equal but for seed and repeat): throughput, speedup, last losses."""
    return _frame(cell_rows(groups(read(Path(root), packed))))


def scaling(root: Path, packed: bool = False) -> pandas.DataFrame:
    """Return one row a framework, group and number of workers: speedup, efficiency, ceiling and the parts of a step.

    Bounds of 95 % intervals over runs stand in `*_ci95_low` and `*_ci95_high`, parts in `*_seconds`; what is not known
    is empty. Knee, verdict, what the study is `bound_by` (the likely causes), what each part of a step loses as a share
    of it (`*_lost`) and the repeats needed are of a whole study, and the same in all its rows.
    """
    from horovod_runner.analysis.questions.scaling.study import studies

    chosen = groups(read(Path(root), packed))
    return _frame(row for group in chosen for made in studies(group) for row in scaling_rows(group, made))


def scaling_rows(group: Group, made: Scaling) -> Iterator[dict[str, Any]]:
    """Yield one flat row a number of workers of a study."""
    from horovod_runner.analysis.questions.scaling.causes import REST
    from horovod_runner.analysis.questions.scaling.parts import NAMES

    place = {name: getattr(group, name) for name in ("experiment", "workload", "scaling", "fixed_batch", "machine")}
    whole: dict[str, Any] = {"knee": made.knee.measured, "repeats_needed": made.repeats_needed}
    whole |= {"verdict": made.bound.verdict, "bound_by": ", ".join(made.bound.likely)}
    for name in (*NAMES, REST):
        whole |= bounds(f"{name}_lost", made.bound.shares.get(name))
    for point in made.points:
        parts = made.parts[point.workers]
        row = place | {"framework": made.framework, "workers": point.workers, "oversubscribed": point.oversubscribed}
        row |= {"baseline_workers": made.baseline_workers}
        row |= bounds("speedup", point.speedup) | bounds("efficiency", point.efficiency)
        row |= bounds("ceiling_speedup", point.ceiling) | {"step_seconds": parts.step}
        for name in NAMES:
            row |= bounds(f"{name}_seconds", parts.intervals.get(name)) | {f"{name}_seconds": getattr(parts, name)}
        yield row | bounds("predicted_knee", made.knee.predicted) | whole | {"settings": dict(group.distinct)}


def strategies(root: Path, packed: bool = False) -> pandas.DataFrame:
    """Return one row a framework, number of workers and strategy, beside that of compute-only workers.

    Throughput, what it is of compute-only workers' (`of_compute_only`), exposed communication in seconds and as a share
    of the step, the overlapped share, and the step breakdown by Horovod's timeline; what is not known is empty.
    """
    from horovod_runner.analysis.questions.strategies import comparisons, rows

    chosen = comparisons(groups(read(Path(root), packed)))
    return _frame(row for comparison in chosen for row in rows(comparison))


def epoch_table(chosen: Sequence[Run]) -> pandas.DataFrame:
    """Return the table of `epochs` for runs that are already in hand."""
    columns = [*IDENTITY, "epoch", "train_loss", "val_loss", "metric", "val_metric"]
    return _frame((row for run in chosen for row in _epoch_rows(run)), columns)


def _frame(rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None) -> pandas.DataFrame:
    """Return rows as a table. (Pandas is imported here, so that what prints tables need not wait for it.)"""
    import pandas

    return pandas.DataFrame(list(rows), columns=columns)


def _packed_folders(root: Path) -> Iterator[Path]:
    yield from (folder for folder in (root, *sorted(root.glob("*/"))) if is_packed(folder))


def _identity(run: Run) -> dict[str, Any]:
    return {name: getattr(run.result, name) for name in IDENTITY} | {"experiment": run.experiment}


def _epoch_rows(run: Run) -> Iterator[dict[str, Any]]:
    result, metric = run.result, run.result.val_metric
    validated = _validated_epochs(run)
    val_loss = dict(zip(validated, result.val_loss, strict=False))
    val_metric = dict(zip(validated, metric.values if metric else (), strict=False))
    for epoch, loss in enumerate(result.train_loss, start=1):
        figures = {"train_loss": loss, "val_loss": val_loss.get(epoch), "val_metric": val_metric.get(epoch)}
        yield _identity(run) | figures | {"epoch": epoch, "metric": metric.name if metric else None}


def _validated_epochs(run: Run) -> list[int]:
    """Return the epochs that the validation figures belong to: every one, or every so many and the last.

    Where an epoch has several, its row has the last of them.
    """
    if run.result.validated_epochs:
        return list(run.result.validated_epochs)
    last, every = len(run.result.train_loss), run.config.validate_every or 1
    if len(run.result.val_loss) == last:
        every = 1
    return [epoch for epoch in range(1, last + 1) if epoch % every == 0 or epoch == last]


def _loose_steps(chosen: Sequence[Run], fields: Sequence[str]) -> Iterator[pandas.DataFrame]:
    import pandas

    for run in chosen:
        if not run.packed:
            read = _recorded(run)
            columns = {name: _numbers(read[name]) if name in REAL else read[name] for name in fields}
            for name in set(OF_WORKERS) & set(columns):
                columns[name] = [tuple(seconds or ()) for seconds in read[name]]
            yield pandas.DataFrame({"experiment": run.experiment, "run_id": run.result.run_id, **columns})


def _recorded(run: Run) -> dict[str, list[Any]]:
    return RunFolder(run.folder).read_step_columns()


def _numbers(values: Sequence[Any]) -> NDArray[np.float64]:
    """Return what JSON has for numbers (missing ones, and NaN and Infinity as text) as numbers."""
    import numpy as np

    return np.array(values, dtype=float)


def _packed_steps(chosen: Sequence[Run], fields: Sequence[str]) -> Iterator[pandas.DataFrame]:
    stored = [run for run in chosen if run.packed]
    for folder, experiment in {run.folder.parent: run.experiment for run in stored}.items():
        ids = [run.result.run_id for run in stored if run.folder.parent == folder]
        table = packed_steps(folder, ids).select(["run_id", *fields])
        steps = table.to_pandas().assign(experiment=experiment)
        for name in set(OF_WORKERS) & set(fields):
            steps[name] = [tuple(row or ()) for row in table[name].to_pylist()]
        yield steps
