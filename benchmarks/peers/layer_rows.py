"""Rounds of the reduction layer's arms -> the rows of its two tables: pure arithmetic, nothing is measured here."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.peers.rounds import Arms, Sample, ratios
from horovod_runner.config.strategies import STRATEGIES

CEILING, DDP, MINIMAL, ALLREDUCE = "compute-only", "ddp", "minimal-horovod", "allreduce"
ALONE, ALONE_COMPUTE_ONLY = "alone", "alone-none"
LATE = tuple(name for name, row in STRATEGIES.items() if row.steps_late)
"""Their updates are late, so they are measured beside the others and never chosen as the best of them."""

OVER_COMPUTE_ONLY = {
    ("resnet50", "torch"): 0.85,
    ("resnet50", "tensorflow"): 0.80,
    ("unet", "torch"): 0.92,
    ("unet", "tensorflow"): 0.92,
}
OVER_DDP, OVER_MINIMAL, OF_ONE_BLOCKING, OWN_COST, MEMORY = 1.15, 1.25, 1.10, 1.01, 2.2


@dataclass(frozen=True)
class LayerJob:
    """One block: what its arms gave, round after round, and the bytes of its gradients."""

    framework: str
    workload: str
    rounds: Sequence[Arms]
    gradient_bytes: int

    @property
    def arms(self) -> set[str]:
        """The arms that were measured."""
        return set().union(*self.rounds)


@dataclass(frozen=True)
class TargetRow:
    """A target and what was measured for it: a value for every round that gave one.

    `strategies` counts which strategy stood for ours in how many rounds.
    """

    case: str
    sense: Literal["at least", "at most"]
    target: float
    values: tuple[float, ...]
    rounds: int
    strategies: Counter[str]

    @property
    def median(self) -> float | None:
        """The middle of the rounds; None if none gave a value."""
        return statistics.median(self.values) if self.values else None

    @property
    def verdict(self) -> str:
        """Hit or missed, by the median; failed if no round gave a value."""
        if self.median is None:
            return "failed"
        hit = self.median >= self.target if self.sense == "at least" else self.median <= self.target
        return "hit" if hit else "missed"


def choices(rounds: Sequence[Arms], strategies: Sequence[str], best: str | None = None) -> list[str | None]:
    """Return for every round the strategy that stands for ours in it: `best`, if it was fixed beforehand.

    Otherwise the one with the largest median of images a second over the compute-only workers' in all other rounds, so
    that none is judged on the round that chose it. None where no other round has such a figure. Strategies that apply
    gradients of another step are not chosen from.
    """
    if best is not None:
        return [best] * len(rounds)
    fair = [strategy for strategy in strategies if strategy not in LATE]
    return [_fastest([*rounds[:number], *rounds[number + 1 :]], fair) for number in range(len(rounds))]


def _fastest(rounds: Sequence[Arms], strategies: Sequence[str]) -> str | None:
    found = {strategy: ratios(rounds, strategy, CEILING) for strategy in strategies}
    medians = {strategy: statistics.median(values) for strategy, values in found.items() if values}
    return max(medians, key=lambda strategy: medians[strategy]) if medians else None


def target_rows(job: LayerJob, strategies: Sequence[str], best: str | None = None) -> Iterator[TargetRow]:
    """Yield a row for every target that this job has the arms for."""
    chosen = choices(job.rounds, strategies, best)

    def row(
        case: str, sense: Literal["at least", "at most"], target: float, value: Callable[[Sample, Arms], float | None]
    ) -> TargetRow:
        """Return the row of one target, with its value in every round that has the arms for it."""
        given = [(pick, value(arms[pick], arms)) for pick, arms in zip(chosen, job.rounds, strict=True) if pick]
        counted = [(pick, number) for pick, number in given if number is not None]
        numbers = tuple(number for _, number in counted)
        return TargetRow(
            f"{job.workload}, {job.framework}: {case}", sense, target, numbers, len(job.rounds), _count(counted)
        )

    if (job.workload, job.framework) in OVER_COMPUTE_ONLY:
        target = OVER_COMPUTE_ONLY[job.workload, job.framework]
        yield row(
            "images/s over compute-only workers", "at least", target, lambda ours, arms: _over(ours, arms[CEILING])
        )
    if job.workload == "vgg16" and ALLREDUCE in job.arms:
        yield row("step over compute-only step + one blocking allreduce", "at most", OF_ONE_BLOCKING, _of_one_blocking)
    if DDP in job.arms:
        yield row("images/s over DistributedDataParallel", "at least", OVER_DDP, lambda o, arms: _over(o, arms[DDP]))
    if MINIMAL in job.arms:
        yield row("images/s over minimal Horovod", "at least", OVER_MINIMAL, lambda o, arms: _over(o, arms[MINIMAL]))
    yield from _alone(job)
    yield _largest_memory(job, strategies)


def _of_one_blocking(ours: Sample, arms: Arms) -> float | None:
    compute_only, collective = arms[CEILING].seconds, arms[ALLREDUCE].seconds
    if ours.seconds is None or compute_only is None or collective is None:
        return None
    return ours.seconds / (compute_only + collective)


def _alone(job: LayerJob) -> Iterator[TargetRow]:
    if ALONE in job.arms:
        numbers = [_over(arms[ALONE_COMPUTE_ONLY], arms[ALONE]) for arms in job.rounds]
        case = f"{job.workload}, {job.framework}: one worker's step, default strategy over none"
        yield TargetRow(case, "at most", OWN_COST, _present(numbers), len(job.rounds), Counter())


def _largest_memory(job: LayerJob, strategies: Sequence[str]) -> TargetRow:
    """Return the row of the strategy that takes most memory over the compute-only workers, by its median."""
    found = {strategy: memory_over_compute_only(job, strategy) for strategy in strategies}
    most = max(found, key=lambda strategy: statistics.median(found[strategy] or [0.0]))
    case = f"{job.workload}, {job.framework}: memory over none in gradients, the largest"
    return TargetRow(case, "at most", MEMORY, found[most], len(job.rounds), Counter({most: len(found[most])}))


def memory_over_compute_only(job: LayerJob, strategy: str) -> tuple[float, ...]:
    """Return the peak memory of the largest worker less the compute-only ones', in gradients' sizes, by round."""
    pairs = [(arms[strategy].peak_memory_bytes, arms[CEILING].peak_memory_bytes) for arms in job.rounds]
    return tuple((a - b) / job.gradient_bytes for a, b in pairs if a is not None and b is not None)


def exposed_ms(job: LayerJob, strategy: str) -> tuple[float, ...]:
    """Return the milliseconds of a step that are not hidden: a step less the compute-only workers', round by round."""
    pairs = [(arms[strategy].seconds, arms[CEILING].seconds) for arms in job.rounds]
    return tuple(1000 * (a - b) for a, b in pairs if a is not None and b is not None)


def _over(above: Sample, below: Sample) -> float | None:
    if above.images_per_second is None or below.images_per_second is None:
        return None
    return above.images_per_second / below.images_per_second


def _present(numbers: Sequence[float | None]) -> tuple[float, ...]:
    return tuple(number for number in numbers if number is not None)


def _count(counted: Sequence[tuple[str, float]]) -> Counter[str]:
    return Counter(pick for pick, _ in counted)
