"""Published ladders: read, fitted on their small end, judged on their large one, beside four nulls."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from horovod_runner.errors import UserError
from horovod_runner.prediction.calibration import (
    Calibrated,
    Observed,
    Setup,
    fitted_to_ladder,
)
from horovod_runner.prediction.job import PATTERNS, evenly
from horovod_runner.prediction.nulls import nulls
from horovod_runner.statistics.bootstrap import percentiles
from horovod_runner.statistics.interval import Interval

COLUMNS = (
    "model",
    "parameters",
    "bytes_per_gradient",
    "workers",
    "workers_per_host",
    "local_batch",
    "images_per_second",
    "use",
)
NUMBERS = COLUMNS[1:7]
WHOLE = ("parameters", "workers", "workers_per_host", "local_batch")
USES = ("fit", "judge", "show")
SEED = 0


@dataclass(frozen=True)
class Rung:
    """A row of a ladder."""

    model: str
    parameters: float
    bytes_per_gradient: float
    workers: int
    workers_per_host: int
    local_batch: int
    images_per_second: float
    use: str

    @property
    def step_seconds(self) -> float:
        """Seconds of a step of all workers."""
        return self.workers * self.local_batch / self.images_per_second


@dataclass(frozen=True)
class Judged:
    """A rung beside what was predicted for it; errors are of the step time, predicted over measured less 1.

    `nulls`: images a second by each null. All None or empty where the ladder cannot be fitted.
    """

    rung: Rung
    images_per_second: Interval | None = None
    nulls: Mapping[str, float | None] | None = None

    @property
    def error(self) -> float | None:
        """The prediction's error."""
        return None if self.images_per_second is None else _error(self.images_per_second.mean, self.rung)

    @property
    def null_errors(self) -> dict[str, float | None]:
        """Each null's error."""
        made = self.nulls or {}
        return {name: None if rate is None else _error(rate, self.rung) for name, rate in made.items()}

    @property
    def covered(self) -> bool | None:
        """Whether the interval holds what was measured."""
        return (
            None
            if self.images_per_second is None
            else not self.images_per_second.leaves_out(self.rung.images_per_second)
        )


@dataclass(frozen=True)
class Ladder:
    """One model's rungs of a file; `reason` says why there is no fit, where there is none."""

    file: Path
    model: str
    rungs: tuple[Rung, ...]
    fitted: Calibrated | None
    judged: tuple[Judged, ...]
    reason: str | None = None

    @property
    def scored(self) -> tuple[Judged, ...]:
        """What counts for the score."""
        return tuple(one for one in self.judged if one.rung.use == "judge")


def score(file: Path) -> list[Ladder]:
    """Return every ladder of a file, fitted and judged; UserError in one sentence for what cannot be."""
    rungs = read(file)
    models = list(dict.fromkeys(rung.model for rung in rungs))
    return [_ladder(file, model, tuple(rung for rung in rungs if rung.model == model)) for model in models]


def read(file: Path) -> list[Rung]:
    """Return the rungs of a CSV file in its order; UserError names file, line and column."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines, skipinitialspace=True)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise UserError(f"{file}: column {missing[0]} is missing; a ladder has {','.join(COLUMNS)}")
            rungs = [_rung(file, reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no CSV text"
        raise UserError(f"{file}: {reason}; give a CSV file with the columns {','.join(COLUMNS)}") from None
    if not rungs:
        raise UserError(f"{file}: it has no rows; give two sizes that say fit, and one that says judge")
    return rungs


def _rung(file: Path, line: int, row: Mapping[str, str | None]) -> Rung:
    numbers = {}
    for name in NUMBERS:
        text = (row[name] or "").strip()
        if not text:
            raise UserError(f"{file}: line {line}: {name}: is empty; write a number, or leave the row out")
        try:
            numbers[name] = float(text)
        except ValueError:
            numbers[name] = math.nan
        whole = name not in WHOLE or numbers[name].is_integer()
        if not (0 < numbers[name] < math.inf and whole):
            kind = "a whole number" if name in WHOLE else "a number"
            raise UserError(
                f"{file}: line {line}: {name}: {text} is not {kind} above 0; correct it, or leave the row out"
            )
    use = (row["use"] or "").strip()
    if use not in USES:
        raise UserError(f"{file}: line {line}: use: {use or 'nothing'} is none of {', '.join(USES)}; write one of them")
    return Rung(
        model=(row["model"] or "").strip(),
        parameters=numbers["parameters"],
        bytes_per_gradient=numbers["bytes_per_gradient"],
        workers=int(numbers["workers"]),
        workers_per_host=int(numbers["workers_per_host"]),
        local_batch=int(numbers["local_batch"]),
        images_per_second=numbers["images_per_second"],
        use=use,
    )


def _ladder(file: Path, model: str, rungs: Sequence[Rung]) -> Ladder:
    where = f"{file}: {model}"
    for before, rung in itertools.pairwise(rungs):
        if rung.workers <= before.workers:
            raise UserError(
                f"{where}: workers: {rung.workers} comes after {before.workers}; sort the rows, one for each number"
            )
        for name in ("parameters", "bytes_per_gradient", "workers_per_host"):
            if getattr(rung, name) != getattr(before, name):
                raise UserError(f"{where}: {name}: it changes from row to row; a ladder has one, so name another model")
    fits = [rung for rung in rungs if rung.use == "fit"]
    judges = [rung for rung in rungs if rung.use == "judge"]
    if not fits and not judges:
        return Ladder(
            file,
            model,
            tuple(rungs),
            None,
            tuple(map(Judged, rungs)),
            "no row is to be fitted",
        )
    if not judges:
        raise UserError(f"{where}: use: no row says judge; give that to the largest numbers of workers")
    if len({rung.workers for rung in fits}) < 2:
        raise UserError(
            f"{where}: use: a fit needs two numbers of workers, and {len(fits)} of the rows say fit; mark another"
        )
    if fits[-1].workers <= fits[-1].workers_per_host:
        raise UserError(
            f"{where}: use: no row that says fit has several hosts, so nothing is known of what links them; mark one of"
            f" more than {fits[-1].workers_per_host} workers"
        )
    if judges[0].workers < fits[-1].workers:
        raise UserError(
            f"{where}: use: {judges[0].workers} workers are to be judged and {fits[-1].workers} to be fitted;"
            " judge beyond what is fitted"
        )
    return _judged(file, model, rungs, fits)


def _judged(file: Path, model: str, rungs: Sequence[Rung], fits: Sequence[Rung]) -> Ladder:
    first, generator = rungs[0], np.random.default_rng(SEED)
    setup = Setup(
        evenly(first.parameters * first.bytes_per_gradient),
        PATTERNS["fused"],
        first.workers_per_host,
    )
    rows = [Observed(rung.workers, rung.local_batch, rung.step_seconds) for rung in fits]
    fitted = fitted_to_ladder(setup, rows, generator)
    counts, batches = (
        [rung.workers for rung in rungs],
        [rung.local_batch for rung in rungs],
    )
    seconds = setup.step(fitted.draws, counts, batches)
    drawn = fitted.uncertain(seconds, counts, generator)
    judged = []
    for place, rung in enumerate(rungs):
        images = rung.workers * rung.local_batch
        interval = percentiles(images / float(np.median(seconds[:, place])), images / drawn[:, place])
        others = nulls(
            [fit.workers for fit in fits],
            [fit.images_per_second for fit in fits],
            rung.workers,
        )
        judged.append(Judged(rung, interval, others))
    return Ladder(file, model, tuple(rungs), fitted, tuple(judged))


def _error(images_per_second: float, rung: Rung) -> float:
    return rung.images_per_second / images_per_second - 1
