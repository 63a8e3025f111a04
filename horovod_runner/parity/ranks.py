"""The rows about several workers: real ranks, started by a launcher, against one process, and across frameworks.

Strong scaling (the global batch stays) with statistics over all workers is the same computation on any number of
workers; with every worker's own statistics it is another one, and one process with so many virtual workers does that
one exactly. A saved state goes on in the other framework, on another number of workers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from horovod_runner.config.frameworks import PAIR, title
from horovod_runner.config.schema import decode
from horovod_runner.launch.processes import launch
from horovod_runner.parity.compare import same_batches, with_void
from horovod_runner.parity.rows import Claim, Row, worst, worst_step
from horovod_runner.parity.settings import plain
from horovod_runner.parity.sides import Side, Trajectory
from horovod_runner.results.checkpoint import Checkpoints
from horovod_runner.results.store import RunFolder, Store
from horovod_runner.training.job import prepare

STEPS, CROSSED_AFTER, BATCH = 5, 2, 16
SAME, EXACT, PARTED = 1e-9, 1e-10, 1e-6
OTHER = dict(zip(PAIR, reversed(PAIR), strict=True))


def settings(**changes: Any) -> dict[str, Any]:
    """Return the job that workers share: a U-Net, 16 images a step, a velocity, a state saved on the way."""
    optimizer = {"name": "sgd", "learning_rate": 0.05, "weight_decay": 1e-4}
    checkpoint = {"every": CROSSED_AFTER, "keep": 9}
    return plain(
        "unet", **{"global_batch": BATCH, "steps": STEPS, "optimizer": optimizer, "checkpoint": checkpoint, **changes}
    )


def run_ranks(framework: str, results: Path, **changes: Any) -> tuple[Trajectory, RunFolder]:
    """Do a run of the suite with a launcher and real ranks; return what it recorded and last saved."""
    config = decode({**settings(**changes), "framework": framework}, "parity")
    folder = Store(results).open_run(config)
    with folder.log_file.open("ab") as log:
        ended = launch(config, folder, log=log)
    if ended.code:
        raise RuntimeError(f"a run of the proof ended with exit code {ended.code}; see {folder.log_file}")
    return recorded(folder), folder


def recorded(folder: RunFolder) -> Trajectory:
    """Return what a finished run recorded and last saved."""
    config, steps = folder.read_config(), folder.read_steps()
    saved = Checkpoints(folder.checkpoints, config.checkpoint.keep)
    state = saved.load(saved.steps()[-1], config, prepare(config).shapes)
    return Trajectory(tuple(s.train_loss for s in steps), tuple(int(s.batch or "0", 16) for s in steps), state)


def one_process(framework: str, **changes: Any) -> Trajectory:
    """Do the run in this process, as one worker."""
    return Side(framework, settings(**changes)).train(STEPS)


def by_workers(framework: str, results: Path, counts: tuple[int, ...] = (2, 4)) -> list[Row]:
    """Return the rows about N workers of one framework, and about crossing over from two of them."""
    name, alone = title(framework), one_process(framework)
    rows, seen = [], [alone]
    for n in counts:
        synchronised, folder = run_ranks(framework, results, workers=n, batch_norm="synchronised")
        local, _ = run_ranks(framework, results, workers=n)
        virtual = one_process(framework, virtual_workers=n)
        ghost = one_process(framework, batch_norm="ghost", ghost_batch=BATCH // n)
        seen += [synchronised, local, virtual, ghost]
        rows += [
            _same("workers", f"{name}, {n} workers with synchronised BN = 1 worker", alone, synchronised, SAME),
            _parted(f"{name}, {n} workers with local BN ≠ 1 worker", alone, local),
            _same("virtual workers", f"{name}, {n} virtual workers = {n} with local BN", local, virtual, EXACT),
            _same("virtual workers", f"{name}, ghost BN in {n} groups = {n} with local BN", local, ghost, EXACT),
        ]
        if n == counts[0]:
            rows.append(_crossed(framework, results, folder, synchronised))
            rows.append(_void(framework, results, n))
    return [*rows, same_batches(seen, f"{name}, on 1 to {counts[-1]} real and virtual workers")]


def _crossed(framework: str, results: Path, folder: RunFolder, whole: Trajectory) -> Row:
    """Go on from a state of several workers in the other framework, on one, and compare with the run that stayed."""
    other, workers = OTHER[framework], folder.read_config().workers
    state = folder.checkpoints / f"step-{CROSSED_AFTER:08d}.safetensors"
    checkpoint = {"every": CROSSED_AFTER, "keep": 9, "resume_from": str(state)}
    went_on, _ = run_ranks(other, results, checkpoint=checkpoint)
    rest = Trajectory(whole.losses[CROSSED_AFTER:], whole.fingerprints[CROSSED_AFTER:], whole.state)
    start = f"{title(framework)} on {workers} workers to step {CROSSED_AFTER}"
    return _same("crossing over", f"{start}, then {title(other)} on 1 = never crossed", rest, went_on, SAME)


def _void(framework: str, results: Path, workers: int) -> Row:
    """Compare workers whose examples weigh unequally with one that has them all."""
    data = with_void(settings()["data"])
    alone = one_process(framework, data=data)
    several, _ = run_ranks(framework, results, workers=workers, batch_norm="synchronised", data=data)
    what = f"{title(framework)}, void pixels, {workers} workers with synchronised BN = 1 worker"
    return _same("workers", what, alone, several, SAME)


def _same(claim: Claim, what: str, first: Trajectory, second: Trajectory, tolerance: float) -> Row:
    """Return a row about losses and state together."""
    difference, where = max(worst_step(first.losses, second.losses), worst(first.state, second.state))
    why = "the mean over workers is summed in another order; then as a trajectory"
    return Row(claim=claim, what=what, difference=difference, where=where, tolerance=tolerance, why=why)


def _parted(what: str, first: Trajectory, second: Trajectory) -> Row:
    difference, where = worst_step(first.losses, second.losses)
    why = "another function: each worker normalises by its own statistics"
    return Row(claim="workers", what=what, difference=difference, where=where, tolerance=PARTED, why=why, differs=True)
