"""What do synchronised batch normalisation and virtual workers cost?

`python -m benchmarks.peers.norm_cost` runs the suite with two workers and local statistics (local-2), the same with
synchronised ones (synchronised-2), one worker (plain-1) and one that trains on four virtual workers' shards in a step
(virtual-1), in random order, round after round. Ratios of images a second are taken within a round, and their median
and range are printed: synchronised-2 over local-2 should be at least 1 / 1.20, virtual-1 over plain-1 1 / 1.05.
ResNet-50, synthetic 64x64 images, 16 a worker, one thread a worker. `--out FILE` keeps the rounds, and goes on from
those it finds.
"""

from __future__ import annotations

import json
import random
import statistics
import sys

from benchmarks.peers.speed import options, ours

ARMS = {
    "local-2": (2, ()),
    "synchronised-2": (2, ("batch_norm=synchronised",)),
    "plain-1": (1, ()),
    "virtual-1": (1, ("virtual_workers=4",)),
}
VIRTUAL = 4
TARGETS = {("synchronised-2", "local-2"): 1 / 1.20, ("virtual-1", "plain-1"): 1 / 1.05}


def main() -> int:
    """Measure and print; return 1 if a median misses its target."""
    given = options(__doc__)
    rounds = json.loads(given.out.read_text()) if given.out and given.out.exists() else []
    while len(rounds) < given.rounds:
        rounds.append(_round(given.frameworks, given.steps, len(rounds)))
        if given.out:
            given.out.write_text(json.dumps(rounds, indent=1) + "\n")
    missed = 0
    for framework in given.frameworks:
        for (above, below), target in TARGETS.items():
            ratios = [each[framework][above] / each[framework][below] for each in rounds]
            median = statistics.median(ratios)
            missed += median < target
            told = f"median {median:.3f}  range {min(ratios):.3f} to {max(ratios):.3f}  target {target:.3f}"
            print(f"{framework}: {above} / {below}  {told}")
    return int(missed > 0)


def _round(frameworks: list[str], steps: int, number: int) -> dict[str, dict[str, float]]:
    arms = [(framework, arm) for framework in frameworks for arm in ARMS]
    random.Random(number).shuffle(arms)
    found: dict[str, dict[str, float]] = {framework: {} for framework in frameworks}
    for framework, arm in arms:
        workers, settings = ARMS[arm]
        length = max(10, steps // VIRTUAL) if arm == "virtual-1" else steps
        found[framework][arm] = ours(framework, workers, length, settings)
        print(f"round {number + 1}: {framework} {arm} {found[framework][arm]:.1f} images/s", flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
