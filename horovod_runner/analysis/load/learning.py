"""Which runs have learned: whatever is said of runs that have not, such as that they do not differ, says nothing.

The rule is that of benchmarks/objectives/trivial.py, and `RunResult.learned` applies it; it is not known of results of
before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from horovod_runner.analysis.load.runs import Run


@dataclass(frozen=True)
class Unlearned:
    """How many runs have not learned, of those of which it is known.

    `scores`: by metric, the least and the largest that the trivial predictor scores.
    """

    runs: int = 0
    of: int = 0
    scores: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def column(self, count: int | None) -> dict[str, int | None]:
        """Return the column of a table with a part's number of such runs; no column where it is known of none."""
        return {"not_learned": count} if self.of else {}


def unlearned(runs: Iterable[Run]) -> Unlearned:
    """Return how many of these runs have not learned."""
    known = [run.result for run in runs if run.result.learned is not None]
    lost = [result for result in known if not result.learned]
    scores: dict[str, list[float]] = defaultdict(list)
    for result in lost:
        if result.val_metric and result.trivial_metric is not None:
            scores[result.val_metric.name].append(result.trivial_metric)
    return Unlearned(len(lost), len(known), {name: (min(of), max(of)) for name, of in sorted(scores.items())})


def not_learned(runs: Iterable[Run]) -> int | None:
    """Return the number of runs that have not learned, for a table; None where it is known of none."""
    found = unlearned(runs)
    return found.runs if found.of else None
