"""How much warmup does a batch need? The shortest that costs no more than what counts as no difference.

Where many lengths of warmup are equally good, which of them is best is chance; where that plateau begins is not. What
counts as no difference is the margin that the experiment file stated for the metric, or else one validation example.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from horovod_runner.analysis.load.learning import unlearned
from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.questions import Finding
from horovod_runner.analysis.questions import samples as of
from horovod_runner.analysis.questions.warmup import Growth, Samples, asking, growths, sampled
from horovod_runner.results.store import read_manifest
from horovod_runner.statistics import seeds

ENDS = ("above", "at_most")
"""The columns of a threshold's bracket; nothing stands above where the shortest warmup may be enough."""


@dataclass(frozen=True)
class MinimumSufficient(Finding):
    """The shortest warmup that is sufficient at each batch; `slack`: what counts as no difference."""

    question: ClassVar[str] = "warmup-enough"

    growths: Sequence[Growth]
    samples: Samples
    final: of.Final
    slack: float
    stated: bool  # whether the experiment file states it; or else it is one validation example's

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Thresholds of each framework and rule as they stand in CSV."""
        return [
            {"framework": growth.framework, "rule": growth.rule}
            | {f"batch {b} {name}": end for b, ends in _brackets(growth) for name, end in zip(ENDS, ends, strict=True)}
            | dict(zip(("least_per_thousand", "most_per_thousand"), growth.slopes, strict=True))
            | {"seeds": growth.seeds}
            for growth in self.growths
        ]


def _brackets(growth: Growth) -> Iterator[tuple[int, tuple[float | None, float]]]:
    return zip(growth.batches, growth.brackets, strict=True)


def findings(runs: Sequence[Run]) -> list[MinimumSufficient]:
    """Find it for each job whose runs have three lengths of warmup or more at two batches or more."""
    return [found for names, equal in asking(runs) if (found := _found_in(names, equal)).growths]


def _found_in(names: tuple[str, ...], runs: Sequence[Run]) -> MinimumSufficient:
    final = of.Final(runs)
    _, samples = sampled(runs, final)
    stated = (read_manifest(runs[0].folder.parent).get("margins") or {}).get("val_metric")
    slack = (of.resolution(runs) or 0.0) if stated is None else stated
    found = growths(samples, partial(seeds.minimum_sufficient, slack=slack))
    lost = unlearned(runs)
    return MinimumSufficient(names, found, samples, final, slack, stated is not None, unlearned=lost)
