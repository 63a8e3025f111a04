"""What does reducing gradients cost, by every strategy, beside workers that do not and beside what others run?

`python -m benchmarks.peers.layer --out results/layer/layer.json` measures, for each framework and workload, two workers
of one thread each: compute-only ones (strategy none: the ceiling), every strategy of the suite, torch's
DistributedDataParallel, a minimal Horovod script, and one blocking allreduce of as many bytes alone; for ResNet-50 also
one worker with the default strategy and with none. All arms of a job run once a round in random order, and ratios are
taken within a round. The strategy that stands for ours in a round is the fastest of all other rounds, unless `--best`
fixes one beforehand. Beside FILE a table.md is written. Exit code 1 if a target is missed. A round of one job takes
about four minutes; a call that finds rounds in FILE goes on from them.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence

from benchmarks.peers import arms
from benchmarks.peers.jobs import gradient_bytes
from benchmarks.peers.layer_rows import (
    ALLREDUCE,
    ALONE,
    ALONE_COMPUTE_ONLY,
    CEILING,
    DDP,
    MINIMAL,
    LayerJob,
    target_rows,
)
from benchmarks.peers.layer_tables import page, targets_table
from benchmarks.peers.rounds import Rounds, Sample, parser
from horovod_runner.config.strategies import COMPUTE_ONLY, STRATEGIES, USUAL
from horovod_runner.errors import EXIT_USER_ERROR, UserError
from horovod_runner.machine.terminal import alone, err, tell

WORKERS = 2
WORKLOADS = ("resnet50", "unet", "vgg16")
REDUCING = tuple(name for name in STRATEGIES if name != COMPUTE_ONLY)
_RUNS = {CEILING: (WORKERS, COMPUTE_ONLY), ALONE: (1, USUAL), ALONE_COMPUTE_ONLY: (1, COMPUTE_ONLY)}


def main() -> int:
    """Measure, print and write; return 1 if a target is missed."""
    given = _options()
    blocks = {f"{w} {f}": block_arms(f, w, given.strategies) for w in given.workloads for f in given.frameworks}
    rounds = Rounds({"steps": given.steps, "strategies": given.strategies, "set": given.set}, given.out)
    try:
        rounds.measure(blocks, lambda block, arm: _measure(block, arm, given), given.rounds)
    except UserError as error:
        print(f"layer: {error}", file=err())
        return EXIT_USER_ERROR
    jobs = [_job(rounds, block) for block in blocks]
    rows = [row for job in jobs for row in target_rows(job, given.strategies, given.best)]
    tell(targets_table(rows))
    if given.out:
        told = {**rounds.origin, "command": _command(), "choice": _choice(given.best)}
        given.out.with_name("table.md").write_text(page(jobs, rows, given.strategies, told))
    return int(any(row.verdict != "hit" for row in rows))


def block_arms(framework: str, workload: str, strategies: Sequence[str]) -> list[str]:
    """Return the arms of one framework and workload."""
    torch_only = [DDP] if framework == "torch" else []
    alone = [ALONE, ALONE_COMPUTE_ONLY] if workload == "resnet50" else []
    return [CEILING, *strategies, *torch_only, MINIMAL, ALLREDUCE, *alone]


def _measure(block: str, arm: str, given: argparse.Namespace) -> Sample:
    (workload, framework), steps = block.split(), given.steps
    if arm == DDP:
        return arms.ddp(workload, WORKERS, steps)
    if arm == MINIMAL:
        return arms.minimal_horovod(framework, workload, WORKERS, steps)
    if arm == ALLREDUCE:
        return arms.allreduce(workload, WORKERS, steps)
    workers, strategy = _RUNS.get(arm, (WORKERS, arm))
    return arms.suite(framework, workers, steps, (f"strategy={strategy}", *given.set), workload)


def _job(rounds: Rounds, block: str) -> LayerJob:
    workload, framework = block.split()
    return LayerJob(framework, workload, rounds.of(block), gradient_bytes(workload, arms.IMAGE_SIZE))


def _options() -> argparse.Namespace:
    made = parser(__doc__)
    made.set_defaults(steps=24)
    made.add_argument("--workloads", nargs="+", default=list(WORKLOADS), choices=WORKLOADS)
    made.add_argument("--strategies", nargs="+", default=list(REDUCING), choices=REDUCING)
    made.add_argument("--best", help="the strategy that stands for ours, fixed beforehand")
    made.add_argument("--set", nargs="+", default=[], metavar="PATH=VALUE", help="settings of all runs of the suite")
    given = made.parse_args()
    if given.best is not None and given.best not in given.strategies:
        made.error(f"--best {given.best} is not among --strategies {' '.join(given.strategies)}")
    if given.best is None and given.rounds < 2:
        made.error("one round cannot both choose the best strategy and judge it; give --rounds 2 or --best")
    if given.steps <= arms.DISCARD:
        made.error(f"--steps must be more than the {arms.DISCARD} that are left out")
    return given


def _command() -> str:
    return shlex.join(["python", "-m", "benchmarks.peers.layer", *sys.argv[1:]])


def _choice(best: str | None) -> str:
    if best is not None:
        return f"The strategy that stands for ours is `{best}`, fixed beforehand."
    return "The strategy that stands for ours in a round is the one that was the fastest in all other rounds."


if __name__ == "__main__":
    sys.exit(alone(main))
