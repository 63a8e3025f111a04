"""What bounds a number of workers, in words: computing, communication, input or a slow worker, or that nobody can tell.

Waiting for data, imbalance and communication are lost as a whole; of computing, what exceeds the baseline's (for as
many images a worker) is lost. The cause is the largest loss, if it takes 5 % of a step or more; where no loss does, the
workers are bound by computing, as they should be. It is named where 95 % of the resamples name the same one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from horovod_runner.analysis.load.groups import Cell
from horovod_runner.analysis.questions.scaling.parts import NAMES, Split
from horovod_runner.analysis.report import words
from horovod_runner.statistics.bootstrap import percentiles, resampled
from horovod_runner.statistics.interval import FEWEST_SAMPLES, Interval
from horovod_runner.statistics.throughput import lateness

NEGLIGIBLE = 0.05
AGREEMENT = 0.95
SEED = 0
NOTHING_LOST, REST = "nothing lost", "rest"
CAUSES = {
    "input": "by input: waiting for data takes {share} of a step",
    "computing": "by computing: even compute-only workers take longer than the baseline, by {share} of a step",
    "imbalance": "by a slow worker: the slowest compute-only one takes longer than the mean one, by {share} of a step",
    "communication": "by communication: {share} of a step is communication that no computing hides",
    NOTHING_LOST: "by computing, as it should be: nothing else takes 5 % of a step",
}
Array = NDArray[np.float64]


def verdict(workers: int, own: Split, baseline: Split, images: float) -> str:
    """Return a sentence about this number of workers.

    `own` and `baseline`: where their steps go; `images`: a worker's images in a step over those of the baseline's.
    """
    start = f"What bounds {words.count(workers, 'worker')} cannot be told"
    complete = own.complete and baseline.complete
    if own.drawn is None or baseline.drawn is None:
        return f"{start} from fewer than three runs of each kind."
    names, losses = (NAMES, _losses) if complete else (("input", REST), _rough_losses)
    means, drawn = losses(own.mean, baseline.mean, images), losses(own.drawn, baseline.drawn, images)
    columns = zip(names, means[0], drawn.T, strict=True)
    shares = {name: _share(percentiles(mean, column)) for name, mean, column in columns}
    likely = _likely(drawn, names)
    if REST in likely:
        lost = f"{shares[REST]} of a step is lost beside the {shares['input']} of waiting for data"
        return f"{start}: {lost}, and only compute-only workers (strategy: none) would tell to what."
    causes = " or ".join(CAUSES[name].format(share=shares.get(name)) for name in likely)
    if len(likely) > 1:
        return f"{start}: they are bound {causes}."
    return f"{words.count(workers, 'worker')} {'is' if workers == 1 else 'are'} bound {causes}."


def slow_worker(cell: Cell) -> str | None:
    """Return a sentence that names the worker which the others wait for; None where there is none, or nobody can tell.

    Told from when workers reach their first reduction, since from there on they wait for each other, and their steps
    take equally long. It is named if it comes 5 % later than the median of the others, or more, in 95 % of resampled
    runs; of fewer than three runs, if it does so throughout each of them.
    """
    runs = [run.result for run in cell.completed if len(run.result.ready_seconds) > 1]
    if len(runs) < FEWEST_SAMPLES:
        named = [run.last_to_reduce for run in runs if run.last_to_reduce]
        certain = [worker for worker in named if (worker.later.ci95_low or 0) >= NEGLIGIBLE]
        if not certain or len(certain) < len(runs) or len({worker.rank for worker in certain}) > 1:
            return None
        return _slow(cell, certain[0].rank, certain[0].later)
    seconds = np.array([run.ready_seconds for run in runs])
    rank = int(seconds.mean(axis=0).argmax())
    drawn = resampled(seconds, np.random.default_rng(SEED))
    later = lateness(drawn, rank)
    if ((later >= NEGLIGIBLE) & (drawn.argmax(axis=1) == rank)).mean() < AGREEMENT:
        return None
    return _slow(cell, rank, percentiles(float(lateness(seconds.mean(axis=0), rank)), later))


def _slow(cell: Cell, rank: int, later: Interval) -> str:
    where = f"{cell.framework} on {words.count(cell.workers, 'worker')} has a slow worker"
    return f"{where}: rank {rank} reaches its first reduction {_share(later)} later than the median of the others."


def _losses(own: Array, baseline: Array, images: float) -> Array:
    """Return what each part loses, as shares of a step, shape (rows, 4); the columns are those of `Split`."""
    lost = own[:, 1:].copy()
    lost[:, NAMES.index("computing")] -= images * baseline[:, 1 + NAMES.index("computing")]
    return lost / own[:, :1]


def _rough_losses(own: Array, baseline: Array, images: float) -> Array:
    """Return what input loses and what all else together does, as shares of a step, shape (rows, 2)."""
    step, wait = own[:, 0], own[:, 1]
    rest = step - wait - images * (baseline[:, 0] - baseline[:, 1])
    return np.stack([wait, rest], axis=-1) / own[:, :1]


def _likely(drawn: Array, names: Sequence[str]) -> list[str]:
    """Return the fewest causes that together 95 % of the resamples name, the likeliest first."""
    largest = np.where(drawn.max(axis=1) >= NEGLIGIBLE, drawn.argmax(axis=1), len(names))
    counted = Counter([*names, NOTHING_LOST][place] for place in largest).most_common()
    named, likely = 0, []
    for name, times in counted:
        if named < AGREEMENT * len(drawn):
            likely.append(name)
        named += times
    return likely


def _share(interval: Interval) -> str:
    low, high = words.percent(interval.ci95_low), words.percent(interval.ci95_high)
    return f"{words.percent(interval.mean)} % [{low}, {high}]"
