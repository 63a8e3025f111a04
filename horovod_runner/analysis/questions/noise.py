"""How large is the gradient noise scale, and does it grow while a model is trained?

Runs with `noise_scale` answer, an arm for each framework, batch, and whatever else they vary. Seeds are the samples of
every interval. A run that diverged leaves no noise scale to average, and is counted.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from horovod_runner.analysis.load.groups import bounds
from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.questions import Answer, by_job
from horovod_runner.analysis.report import words
from horovod_runner.statistics import noise_scale
from horovod_runner.statistics.interval import Interval
from horovod_runner.statistics.noise_scale import Estimates

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WINDOWS = 10
THIRD = 3
OWN = ("framework", "global_batch", "seed", "repeat", "experiment", "noise_scale")
CAVEAT = (
    "B_simple takes all directions of the weights for equally curved: it predicts the order of magnitude of the"
    " critical batch, not its value (McCandlish et al. 2018), and along these runs' own path through the weights only."
)


@dataclass(frozen=True)
class Measured:
    """A completed run's estimates at each recorded step, and where in training it stands, in steps and epochs."""

    steps: np.ndarray
    epochs: np.ndarray
    estimates: Estimates

    def windows(self) -> list[np.ndarray]:
        """Return the indices of consecutive stretches of training, about equally long."""
        return np.array_split(np.arange(len(self.epochs)), min(WINDOWS, len(self.epochs)))

    def ratio(self, chosen: Any = slice(None)) -> float | None:
        """Return B_simple over some of the steps."""
        return noise_scale.simple(self.estimates.traces[chosen], self.estimates.squares[chosen])

    @property
    def growth(self) -> float | None:
        """B_simple of the last third of training over that of the first; None where one of them is not positive."""
        thirds = np.array_split(np.arange(len(self.epochs)), THIRD)
        first, last = (self.ratio(third) if len(third) else None for third in (thirds[0], thirds[-1]))
        return last / first if first is not None and last is not None and min(first, last) > 0 else None


@dataclass(frozen=True)
class Arm:
    """Runs that are equal but for their seed; `settings` are what else the study varies."""

    framework: str
    shard_batch: int
    global_batch: int
    settings: Mapping[str, Any]
    runs: Sequence[Measured]
    diverged: int

    @property
    def name(self) -> str:
        """The arm in words, for sentences and curves."""
        others = "".join(f", {key.rpartition('.')[2]} {value}" for key, value in self.settings.items())
        return f"{words.framework(self.framework)}, batch {self.global_batch}{others}"

    @property
    def simple(self) -> Interval | None:
        """B_simple over whole runs: the ratio of averages over seeds."""
        if not self.runs:
            return None
        means = [(run.estimates.traces.mean(), run.estimates.squares.mean()) for run in self.runs]
        return noise_scale.over_samples(*zip(*means, strict=True))

    @property
    def growths(self) -> list[float]:
        """The factors of growth of the runs that have one."""
        return [growth for run in self.runs if (growth := run.growth) is not None]


def answers(runs: Sequence[Run]) -> list[Answer]:
    """Return an answer for each job of which runs measured the noise scale."""
    asked = [run for run in runs if run.config.noise_scale]
    return [_answer(names, arms) for names, members in by_job(asked) if (arms := _arms(members))]


def _answer(names: Sequence[str], arms: Sequence[Arm]) -> Answer:
    title = ": ".join(("Gradient noise scale", ", ".join(names))) if names else "Gradient noise scale"
    drawn = [arm for arm in arms if arm.runs]
    return Answer(
        name="-".join(("noise", *names)),
        title=title,
        sentences=(*(_sentence(arm) for arm in arms), CAVEAT),
        rows=tuple(_row(arm) for arm in arms),
        draw=partial(_draw, drawn) if drawn else None,
    )


def _arms(members: Sequence[Run]) -> list[Arm]:
    """Return the arms of one job's runs, by framework and batch."""
    varied, estimated = _varied(members), measured([run for run in members if run.completed])

    def key(run: Run) -> tuple[Any, ...]:
        own = run.result.framework, run.result.global_batch
        return *own, run.config.noise_scale, *(str(run.row.get(name)) for name in varied)

    arms = []
    for _, group in itertools.groupby(sorted(members, key=key), key=key):
        equal = list(group)
        found = [estimated[run.result.run_id] for run in equal if run.result.run_id in estimated]
        of = next((run.result.gradient_noise for run in equal if run.result.gradient_noise), None)
        if of is not None:
            settings = {name: equal[0].row.get(name) for name in varied}
            diverged = sum(not run.completed for run in equal)
            arms.append(Arm(equal[0].result.framework, of.shard_batch, of.global_batch, settings, found, diverged))
    return arms


def _varied(members: Sequence[Run]) -> list[str]:
    """Return the settings in which runs of the same framework and batch differ, but for their seeds."""
    seen: dict[tuple[str, int, str], set[str]] = {}
    for run in members:
        for name, value in run.settings.items():
            if name not in OWN:
                place = (run.result.framework, run.result.global_batch, name)
                seen.setdefault(place, set()).add(str(value))
    return sorted({name for (_, _, name), values in seen.items() if len(values) > 1})


def measured(runs: Sequence[Run]) -> dict[str, Measured]:
    """Return runs' estimates from their recorded steps, by run id; a run without any is not there."""
    from horovod_runner.analysis.load.tables import step_table

    fields = ["step", "shard_squared_norm", "mean_squared_norm"]
    told = {run.result.run_id: run for run in runs if run.result.gradient_noise is not None}
    steps = step_table(list(told.values()), fields).dropna(subset=fields) if told else None
    rows = {} if steps is None else dict(iter(steps.groupby("run_id")))
    return {
        name: _estimated(told[name], *(table[field].to_numpy(float) for field in fields))
        for name, table in rows.items()
    }


def _estimated(run: Run, steps: np.ndarray, shards: np.ndarray, means: np.ndarray) -> Measured:
    of = run.result.gradient_noise
    assert of is not None
    epochs = steps * run.result.epochs / run.result.steps
    return Measured(steps, epochs, noise_scale.estimates(shards, means, of.shard_batch, of.global_batch))


def _row(arm: Arm) -> dict[str, Any]:
    growth = noise_scale.factor(arm.growths)
    row: dict[str, Any] = {"framework": arm.framework, "global_batch": arm.global_batch, "shard_batch": arm.shard_batch}
    row |= {**arm.settings, "seeds": len(arm.runs), "diverged": arm.diverged}
    row |= bounds("simple", arm.simple) | bounds("growth", growth)
    for name in ("traces", "squares") if arm.runs else ():
        row[f"mean_{name}"] = float(np.mean([getattr(run.estimates, name).mean() for run in arm.runs]))
    return row


def _sentence(arm: Arm) -> str:
    """Say an arm's noise scale and its growth, each with its interval, and how many seeds stand behind them."""
    lost = f" {arm.diverged} diverged and {'is' if arm.diverged == 1 else 'are'} left out." if arm.diverged else ""
    if not arm.runs:
        return f"{arm.name}: no run came to its end, so there is no noise scale of it.{lost}"
    seeds = f"{len(arm.runs)} seed{'s'[: len(arm.runs) > 1]}"
    if arm.simple is None:
        return f"{arm.name}: the noise leaves nothing of the gradient to divide by ({seeds}).{lost}"
    scale = words.with_entries(arm.simple)
    return f"{arm.name}: B_simple is {scale} examples over whole runs ({seeds}); {_growth(arm)}.{lost}"


def _growth(arm: Arm) -> str:
    growth = noise_scale.factor(arm.growths)
    if growth is None:
        return "whether it grows cannot be said, for a third of training has no positive estimate"
    of = f" in the {len(arm.growths)} of them that have both" if len(arm.growths) < len(arm.runs) else ""
    change = f"the last third of training has {words.with_entries(growth)} times that of the first{of}"
    if growth.ci95_low is None or growth.ci95_high is None:
        return f"{change}, of too few seeds to claim that it changes"
    if growth.lies_above(1):
        return f"{change}: it grows"
    return f"{change}: it {'shrinks' if growth.ci95_high < 1 else 'does not change beyond the scatter of seeds'}"


def _draw(arms: Sequence[Arm]) -> Figure:
    """Draw B_simple along training, a curve an arm, in a band from the least to the largest seed."""
    from horovod_runner.analysis.plots.look import sheet
    from horovod_runner.analysis.plots.noise import Curve, along_training

    figure, (axes,) = sheet(1, columns=1)
    along_training([Curve(arm.framework, arm.name, *_curve(arm.runs)) for arm in arms], axes)
    return figure


def _curve(runs: Sequence[Measured]) -> tuple[list[float], list[float | None], list[tuple[float, float] | None]]:
    """Return epochs, ratios of averages over runs, and the least and largest run's, of each stretch of training."""
    fewest = min(len(run.windows()) for run in runs)
    x, y, bands = [], [], []
    for number in range(fewest):
        parts = [run.windows()[number] for run in runs]
        sums = [
            np.mean([getattr(run.estimates, name)[part].mean() for run, part in zip(runs, parts, strict=True)])
            for name in ("traces", "squares")
        ]
        each = [one for run, part in zip(runs, parts, strict=True) if (one := run.ratio(part)) is not None]
        x.append(float(np.mean([run.epochs[part].mean() for run, part in zip(runs, parts, strict=True)])))
        y.append(noise_scale.simple([sums[0]], [sums[1]]))
        bands.append((min(each), max(each)) if len(each) == len(runs) else None)
    return x, y, bands
