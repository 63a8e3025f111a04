"""What do synchronised batch normalisation and virtual workers cost?

`python -m benchmarks.peers.norm_cost` runs the suite with two workers and local statistics (local-2), the same with
synchronised ones (synchronised-2), both with `strategy: blocking` too (mpi-local-2, mpi-synchronised-2: layers then
meet by MPI, without Horovod's rounds), one worker (plain-1) and one that trains on four virtual workers' shards in a
step (virtual-1), in random order, round after round. Ratios of images a second are taken within a round, and their
median and range are printed: synchronised over local should be at least 1 / 1.20, virtual-1 over plain-1 1 / 1.05.
ResNet-50, synthetic 64x64 images, 16 a worker, one thread a worker. `--out FILE` keeps the rounds, and goes on from
those it finds.
"""

from __future__ import annotations

import sys

from benchmarks.peers import arms
from benchmarks.peers.rounds import Rounds, Sample, parser
from benchmarks.peers.speed import print_ratios
from horovod_runner.machine.terminal import alone

ARMS = {
    "local-2": (2, ()),
    "synchronised-2": (2, ("batch_norm=synchronised",)),
    "mpi-local-2": (2, ("strategy=blocking",)),
    "mpi-synchronised-2": (2, ("strategy=blocking", "batch_norm=synchronised")),
    "plain-1": (1, ()),
    "virtual-1": (1, ("virtual_workers=4",)),
}
VIRTUAL = 4
TARGETS = {
    ("synchronised-2", "local-2"): 1 / 1.20,
    ("mpi-synchronised-2", "mpi-local-2"): 1 / 1.20,
    ("virtual-1", "plain-1"): 1 / 1.05,
}


def main() -> int:
    """Measure and print; return 1 if a median misses its target."""
    given = parser(__doc__).parse_args()

    def measure(framework: str, arm: str) -> Sample:
        workers, settings = ARMS[arm]
        length = max(10, given.steps // VIRTUAL) if arm == "virtual-1" else given.steps
        return arms.suite(framework, workers, length, settings)

    rounds = Rounds({"steps": given.steps}, given.out)
    rounds.measure({framework: list(ARMS) for framework in given.frameworks}, measure, given.rounds)
    return print_ratios(rounds, given.frameworks, TARGETS)


if __name__ == "__main__":
    sys.exit(alone(main))
