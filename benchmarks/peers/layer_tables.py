"""The layer's tables in Markdown, from the rows of layer_rows.py."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks.peers.layer_rows import (
    ALLREDUCE,
    CEILING,
    DDP,
    MINIMAL,
    LayerJob,
    TargetRow,
    exposed_ms,
    memory_over_compute_only,
)
from benchmarks.peers.rounds import ratios

NOTES = """\
Two workers of one thread on two cores, synthetic 64x64 images; a value is taken within a round, where all arms of a job
run one after the other in random order. {choice} `lag1` is measured and never chosen: its gradients are a step late.
*Compute-only* workers compute as much and reduce nothing, without Horovod. DistributedDataParallel and minimal Horovod
are scripts written by hand (benchmarks/peers), Horovod in its default settings, and train on cross-entropy alone, where
the suite's U-Net adds Dice. DistributedDataParallel is given the suite's layout of memory, channels last. Horovod
refuses tensors in it, so its script has PyTorch's usual one, in which ResNet-50 alone takes 1.15 times as
long: that much of its row is no merit of the layer. With one worker nothing is reduced whatever the strategy is, and no
Horovod runs: the row compares two runs of one and the same code, and shows that nothing is left of the layer, as far as
the noise lets one see. Memory is the peak of the largest worker's process less that of the compute-only ones, so it
includes what Horovod's and MPI's libraries take, over the size of the gradients in float32."""


def page(
    jobs: Sequence[LayerJob], rows: Sequence[TargetRow], strategies: Sequence[str], told: Mapping[str, Any]
) -> str:
    """Return the whole page; `told` has the command, the origin of the rounds, and how the best was chosen."""
    machine, versions = told["machine"], told["versions"]
    where = f"{machine['cpu']}, {machine['cores']} cores; Horovod {versions['horovod']}, PyTorch {versions['torch']},"
    parts = [
        "# The reduction layer beside its ceiling and its peers",
        f"`{told['command']}`, begun {told['started']}.\n{where} TensorFlow {versions['tensorflow']}.",
        NOTES.format(choice=told["choice"]),
        "## Targets",
        targets_table(rows),
        "## Every strategy",
        strategies_table(jobs, strategies),
    ]
    return "\n\n".join([*parts, *_failures(jobs)]) + "\n"


def targets_table(rows: Iterable[TargetRow]) -> str:
    """Return a line for every target: what it asks, what came out, and which strategies stood for ours."""
    head = ["case", "target", "median", "range", "", "strategy (rounds)"]
    return _table(head, [_target_line(row) for row in rows])


def _target_line(row: TargetRow) -> list[str]:
    counted = f"{len(row.values)} of {row.rounds} rounds" if len(row.values) < row.rounds else ""
    picks = ", ".join(f"{name} ({count})" for name, count in row.strategies.most_common())
    verdict = ", ".join(word for word in (row.verdict, counted) if word)
    return [row.case, f"{row.sense} {row.target:g}", _median(row.values, 3), _range(row.values, 3), verdict, picks]


def strategies_table(jobs: Iterable[LayerJob], strategies: Sequence[str]) -> str:
    """Return a line for every arm of every job with two workers."""
    head = ["workload", "framework", "arm", "images/s", "over compute-only", "range", "exposed ms", "range", "memory"]
    return _table(head, [line for job in jobs for line in _arm_lines(job, strategies)])


def _arm_lines(job: LayerJob, strategies: Sequence[str]) -> Iterator[list[str]]:
    for arm in (CEILING, *strategies, DDP, MINIMAL, ALLREDUCE):
        if arm in job.arms:
            rates = [rate for arms in job.rounds if (rate := arms[arm].images_per_second) is not None]
            name = [job.workload, job.framework, arm]
            over = ratios(job.rounds, arm, CEILING) if arm != CEILING else []
            exposed = _exposed(job, arm)
            memory = memory_over_compute_only(job, arm) if arm != CEILING else ()
            shown = [_median(over, 3), _range(over, 3), _median(exposed, 1), _range(exposed, 1), _median(memory, 2)]
            yield [*name, _median(rates, 1), *shown]


def _exposed(job: LayerJob, arm: str) -> Sequence[float]:
    if arm == CEILING:
        return ()
    if arm == ALLREDUCE:
        return [1000 * seconds for arms in job.rounds if (seconds := arms[arm].seconds) is not None]
    return exposed_ms(job, arm)


def _failures(jobs: Iterable[LayerJob]) -> Iterator[str]:
    """Yield a section that names every arm that failed, if any did."""
    lines = [
        f"- {job.workload}, {job.framework}, {arm}, round {number}: {sample.failed}"
        for job in jobs
        for number, arms in enumerate(job.rounds, 1)
        for arm, sample in sorted(arms.items())
        if sample.failed is not None
    ]
    if lines:
        yield "## What failed"
        yield "\n".join(lines)


def _median(values: Sequence[float], digits: int) -> str:
    return f"{statistics.median(values):.{digits}f}" if values else ""


def _range(values: Sequence[float], digits: int) -> str:
    return f"{min(values):.{digits}f} to {max(values):.{digits}f}" if values else ""


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
