"""How fast is the suite beside what one would write by hand, and beside two workers that never talk?

`python -m benchmarks.peers.speed` runs four arms for each framework in random order, round after round: the
hand-written step alone (bare-1) and twice at the same time (compute-only-2: nobody reduces anything, the ceiling for
two workers), and the suite with one worker (ours-1) and two (ours-2). Ratios are taken within a round; their median and
range are printed. `--out FILE` keeps the rounds as JSON, and a call that finds some there goes on from them. ResNet-50,
synthetic 64x64 images, 16 a worker, one thread a worker.
"""

from __future__ import annotations

import statistics
import sys

from benchmarks.peers import arms
from benchmarks.peers.rounds import Rounds, Sample, parser, ratios, spread
from horovod_runner.machine.terminal import alone, tell

ARMS = ("bare-1", "compute-only-2", "ours-1", "ours-2")
TARGETS = {("ours-2", "compute-only-2"): 0.70, ("ours-1", "bare-1"): 0.95}


def main() -> int:
    """Measure, print and write; return 1 if a median misses its target."""
    given = parser(__doc__).parse_args()

    def measure(framework: str, arm: str) -> Sample:
        processes = int(arm[-1])
        if arm.startswith("ours"):
            return arms.suite(framework, processes, given.steps)
        return arms.bare(framework, processes, given.steps)

    rounds = Rounds({"steps": given.steps}, given.out)
    rounds.measure(dict.fromkeys(given.frameworks, ARMS), measure, given.rounds)
    return print_ratios(rounds, given.frameworks, TARGETS)


def print_ratios(rounds: Rounds, frameworks: list[str], targets: dict[tuple[str, str], float]) -> int:
    """Print the ratios of images a second that have a target; return 1 if a median misses its own."""
    missed = False
    for framework in frameworks:
        for (above, below), target in targets.items():
            values = ratios(rounds.of(framework), above, below)
            told = spread(values) if values else "failed in every round"
            tell(f"{framework}: {above} / {below:16s} {told}  target {target:.3f}")
            missed |= not values or statistics.median(values) < target
    return int(missed)


if __name__ == "__main__":
    sys.exit(alone(main))
