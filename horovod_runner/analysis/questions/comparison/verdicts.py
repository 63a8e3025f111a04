"""What may be said of two sets of equal runs, figure by figure: slower, faster, the same, or that it cannot be told.

The rule. Throughput is *slower* when the rank test rejects that the newer runs reach (1 - margin) times the older ones
(p below 0.05 after Holm's correction for all comparisons) and the ratio of the two is below 1 - margin: not any
difference that can be shown is a regression, but one beyond the margin. Losses and metrics likewise: a loss is *worse*
above 1 + margin, a metric below 1 - margin. *Faster* and *better* are the same on the other side. *Same* means that
the whole 95 % interval of the ratio lies within the margin. Anything else is *inconclusive*.

A run is one sample of throughput. Of losses and metrics it is a seed, whose repeats are averaged: they begin with the
same weights and see the same batches, and so tell little that is new. Where no run completed of a cell that completed
before, that is a regression as well; where a side has one run, nothing is.

Seeds that both sides have begin alike on both, so losses and metrics of at least three such seeds are compared seed by
seed, by Student's t of the log ratios, in place of the rank test. *Identical* are figures that are equal to the last
digit, seed by seed.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.questions.comparison.pairs import Pair
from horovod_runner.statistics import ratios
from horovod_runner.statistics.interval import FEWEST_SAMPLES, LEVEL, Interval, ratio

RANDOM_SEED = 0
SAME, IDENTICAL, INCONCLUSIVE, LOST = "same", "identical", "inconclusive", "none completed"


@dataclass(frozen=True)
class Figure:
    """A figure of a run: its value or None, whether more of it is better, and what is one sample of it.

    `rate`: it is averaged as time (runs of equal work: all samples over all time).
    """

    name: str
    value: Callable[[Run], float | None]
    larger_is_better: bool
    sample: str
    worse: str
    better: str
    rate: bool = False


def _throughput(run: Run) -> float | None:
    speed = run.result.images_per_second
    return speed.mean if speed else None


def _last_loss(run: Run) -> float | None:
    return run.result.val_loss[-1] if run.result.val_loss else None


def _last_metric(run: Run) -> float | None:
    metric = run.result.val_metric
    return metric.values[-1] if metric and metric.values else None


THROUGHPUT = Figure("images/s", _throughput, True, "run", "slower", "faster", rate=True)
FIGURES = (
    THROUGHPUT,
    Figure("val loss", _last_loss, False, "seed", "worse", "better"),
    Figure("val metric", _last_metric, True, "seed", "worse", "better"),
)


@dataclass(frozen=True)
class Verdict:
    """What is said of one figure of a pair. `older` and `newer` are its samples, `ratio` is newer over older.

    `p_worse` and `p_better` are corrected for all comparisons, None for those that could not be tested: so few samples
    have no p-value below 0.05. `runs_needed` is about how many samples a side would tell, where that can be said. With
    `by_seed` the samples are of the same seeds, in one order, and compared pair by pair.
    """

    pair: Pair
    figure: Figure
    older: tuple[float, ...]
    newer: tuple[float, ...]
    ratio: Interval | None
    p_worse: float | None = None
    p_better: float | None = None
    word: str = INCONCLUSIVE
    runs_needed: int | None = None
    by_seed: bool = False

    @property
    def regression(self) -> bool:
        """Whether it is for this that `compare` exits with 1."""
        return self.word in (self.figure.worse, LOST)

    @property
    def testable(self) -> bool:
        """Whether so many samples could have a p-value below 0.05, if this were the only comparison."""
        if self.by_seed or self.word == IDENTICAL:
            return self.by_seed
        return self.ratio is not None and ratios.smallest_p(len(self.older), len(self.newer)) < LEVEL


def mean(figure: Figure, values: Sequence[float]) -> float | None:
    """Return the samples of a figure as one; None where there are none."""
    if not values:
        return None
    return float(1 / np.mean(1 / np.asarray(values))) if figure.rate else float(np.mean(values))


def judge(pairs: Sequence[Pair], margin: float) -> list[Verdict]:
    """Return the verdicts of all pairs and figures that both sides have, in their order; `margin` is a fraction."""
    plain = [verdict for pair in pairs for verdict in _compared(pair)]
    tested = [place for place, verdict in enumerate(plain) if verdict.testable]
    worse = ratios.holm([_p(plain[place], margin, better=False) for place in tested])
    better = ratios.holm([_p(plain[place], margin, better=True) for place in tested])
    for place, bad, good in zip(tested, worse, better, strict=True):
        plain[place] = replace(plain[place], p_worse=bad, p_better=good)
    comparisons = sum(verdict.ratio is not None for verdict in plain)
    return [_with_word(verdict, margin, ratios.runs_to_reach(comparisons)) for verdict in plain]


def _compared(pair: Pair) -> Iterator[Verdict]:
    """Yield every figure with its samples and the ratio, not yet judged."""
    if any(run.completed for run in pair.older) and not any(run.completed for run in pair.newer):
        yield Verdict(pair, THROUGHPUT, _samples(THROUGHPUT, pair.older), (), None, word=LOST)
    for figure in FIGURES:
        one, other = _of_seeds(figure, pair.older), _of_seeds(figure, pair.newer)
        older, newer = _samples(figure, pair.older), _samples(figure, pair.newer)
        if not (older and newer and min(older) > 0):
            continue
        if one == other:
            yield Verdict(pair, figure, older, newer, Interval(1.0, 1.0, 1.0), word=IDENTICAL)
        elif figure.sample == "seed" and len(shared := sorted(one.keys() & other.keys())) >= FEWEST_SAMPLES:
            yield _seed_by_seed(pair, figure, [one[seed][0] for seed in shared], [other[seed][0] for seed in shared])
        else:
            yield Verdict(pair, figure, older, newer, _ratio(pair, figure, older, newer))


def _seed_by_seed(pair: Pair, figure: Figure, older: Sequence[float], newer: Sequence[float]) -> Verdict:
    """Return a figure of the seeds that both sides have, not yet judged; one of 0 has no ratio, and is unpaired."""
    if min(*older, *newer) <= 0:
        return Verdict(pair, figure, tuple(older), tuple(newer), _ratio(pair, figure, older, newer))
    return Verdict(pair, figure, tuple(older), tuple(newer), ratios.paired_ratio(newer, older), by_seed=True)


def _samples(figure: Figure, runs: Sequence[Run]) -> tuple[float, ...]:
    """Return the figure's independent samples: one a run, or one a seed."""
    return tuple(value for values in _of_seeds(figure, runs).values() for value in values)


def _of_seeds(figure: Figure, runs: Sequence[Run]) -> dict[int, tuple[float, ...]]:
    """Return the figure's independent samples by seed: all its runs', or their mean alone."""
    by_seed: dict[int, list[float]] = defaultdict(list)
    for run in runs:
        value = figure.value(run) if run.completed else None
        if value is not None and math.isfinite(value):
            by_seed[run.result.seed].append(value)
    if figure.sample == "run":
        return {seed: tuple(values) for seed, values in by_seed.items()}
    return {seed: (math.fsum(values) / len(values),) for seed, values in by_seed.items()}


def _ratio(pair: Pair, figure: Figure, older: Sequence[float], newer: Sequence[float]) -> Interval:
    """Return newer over older; of a single run a side, with the interval from the blocks of their steps."""
    if figure.rate and len(older) == len(newer) == 1:
        return ratio(_only_speed(pair.newer), _only_speed(pair.older))
    generator = np.random.default_rng(RANDOM_SEED)
    if figure.rate:
        return ratios.bootstrap_ratio(1 / np.asarray(older), 1 / np.asarray(newer), generator)
    return ratios.bootstrap_ratio(newer, older, generator)


def _only_speed(runs: Sequence[Run]) -> Interval:
    return next(run.result.images_per_second for run in runs if run.completed and run.result.images_per_second)


def _p(verdict: Verdict, margin: float, better: bool) -> float:
    """Return the p-value that the newer samples lie beyond the margin, on the better side or the worse."""
    older, newer = np.asarray(verdict.older), np.asarray(verdict.newer)
    test = ratios.paired_test if verdict.by_seed else ratios.rank_test
    if better == verdict.figure.larger_is_better:
        return test((1 + margin) * older, newer)
    return test(newer, (1 - margin) * older)


def _with_word(verdict: Verdict, margin: float, reach: int) -> Verdict:
    """Return the verdict with its word; `reach`: the samples a side without which no rank test can show anything."""
    ratio = verdict.ratio
    if ratio is None or verdict.word == IDENTICAL:
        return verdict
    gain = ratio.mean - 1 if verdict.figure.larger_is_better else 1 - ratio.mean
    if _shown(verdict.p_worse) and gain < -margin:
        return replace(verdict, word=verdict.figure.worse)
    if _shown(verdict.p_better) and gain > margin:
        return replace(verdict, word=verdict.figure.better)
    samples = min(len(verdict.older), len(verdict.newer))
    if samples >= FEWEST_SAMPLES and _within(ratio, margin):
        return replace(verdict, word=SAME)
    return replace(verdict, runs_needed=_runs_needed(ratio, samples, margin, reach))


def _shown(p: float | None) -> bool:
    return p is not None and p < LEVEL


def _within(ratio: Interval, margin: float) -> bool:
    low, high = ratio.ci95_low, ratio.ci95_high
    return low is not None and high is not None and 1 - margin <= low and high <= 1 + margin


def _runs_needed(ratio: Interval, samples: int, margin: float, reach: int) -> int | None:
    """Return about how many samples a side would tell, or None where that is unknown or no more than there are."""
    if samples < FEWEST_SAMPLES:
        return None
    needed = ratios.runs_to_tell(ratio, samples, margin)
    if needed is not None and abs(ratio.mean - 1) > margin:
        needed = max(needed, reach)
    return needed if needed is not None and needed > samples else None
