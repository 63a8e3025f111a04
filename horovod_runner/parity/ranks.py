"""The rows about several workers: real ranks, started by a launcher, against one process, and across frameworks.

Strong scaling (the global batch stays) with statistics over all workers is the same computation on any number of
workers; with every worker's own statistics it is another one, and one process with so many virtual workers does that
one exactly. A saved state goes on in the other framework, on another number of workers.

As in the rows about functions nothing is left at what hides it: gradients are clipped, momentum and decay are not the
defaults, and every run validates, with a last batch that is partly padding: those with statistics of their own, and the
unequal ones, with precise statistics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from horovod_runner.config.frameworks import PAIR, title
from horovod_runner.parity import precise
from horovod_runner.parity.compare import same_batches, with_void
from horovod_runner.parity.launches import here, recorded, start, started
from horovod_runner.parity.rows import Claim, Row, worst, worst_step
from horovod_runner.parity.settings import OPTIMIZERS, off_defaults, plain
from horovod_runner.parity.sides import Trajectory
from horovod_runner.results.store import RunFolder

STEPS, CROSSED_AFTER, BATCH = 5, 2, 12
SAME, EXACT, PARTED = 1e-11, 1e-12, 1e-6
STRATEGIES = ("fused", "grouped", "multistep")  # in one launch
OTHER = dict(zip(PAIR, reversed(PAIR), strict=True))


def settings(optimizer: str | Mapping[str, Any] = "sgd", **changes: Any) -> dict[str, Any]:
    """Return the job that workers share: a U-Net, 12 images a step, clipped, validated, a state saved on the way.

    The last batch of a validation is partly padding on any number of workers: 64 scenes, in batches of 12.
    """
    usual = {
        "global_batch": BATCH,
        "steps": STEPS,
        "optimizer": off_defaults(optimizer, rate=5) if isinstance(optimizer, str) else optimizer,
        "checkpoint": {"every": CROSSED_AFTER, "keep": 9},
        "validate_steps": 3,
    }
    job = plain("unet", **{**usual, **changes})
    del job["validate_every"]  # steps are given in its place
    return job


def by_workers(framework: str, results: Path, counts: Sequence[int] = (2, 4)) -> list[Row]:
    """Return the rows about N workers of one framework.

    The first number of workers also reduces by every strategy that is the same arithmetic, and leaves states, under
    every optimizer, with which the other framework goes on.
    """
    name = title(framework)
    synchronised = {"framework": framework, "batch_norm": "synchronised"}
    alone = here(results, settings(**synchronised))
    rows, seen = [], [alone]
    for n in counts:
        strategies, optimizers = (STRATEGIES, OPTIMIZERS[1:]) if n == counts[0] else ((), ())
        own: dict[str, Any] = {"framework": framework, **precise.SETTINGS}
        jobs = [settings(**synchronised), settings(**own)]
        jobs += [settings(**unclipped(framework), strategy=strategy) for strategy in strategies]
        jobs += [settings(optimizer, **synchronised) for optimizer in optimizers]
        jobs += [void(framework)] if n == counts[0] else []
        whole, local, *others = started(results, jobs, workers=n)
        fused, apart = recorded(whole), recorded(local)
        virtual = here(results, settings(**own, virtual_workers=n))
        ghost = here(results, settings(**own, batch_norm="ghost", ghost_batch=BATCH // n))
        seen += [fused, apart, virtual, ghost]
        rows += [
            _same("workers", f"{name}, {n} workers with synchronised BN = 1 worker", alone, fused, SAME),
            _parted(f"{name}, {n} workers with local BN ≠ 1 worker", alone, apart),
            _same("virtual workers", f"{name}, {n} virtual workers = {n} with local BN", apart, virtual, EXACT),
            _same("virtual workers", f"{name}, ghost BN in {n} groups = {n} with local BN", apart, ghost, EXACT),
            precise.on_workers(name, local.read_config(), apart),
        ]
        if n == counts[0]:
            found = dict(zip(strategies, map(recorded, others[: len(strategies)]), strict=True))
            rows += _by_strategy(framework, n, found | _launched_alone(framework, results, n))
            saved = dict(zip(OPTIMIZERS, [whole, *others[len(strategies) : -1]], strict=True))
            rows += [_crossed(optimizer, framework, results, folder) for optimizer, folder in saved.items()]
            unequal = here(results, void(framework)), recorded(others[-1])
            rows.append(_same("workers", f"{name}, void pixels, {n} workers with synchronised BN = 1", *unequal, SAME))
    return [*rows, same_batches(seen, f"{name}, on 1 to {counts[-1]} real and virtual workers")]


def unclipped(framework: str) -> dict[str, Any]:
    """Return what the strategies are compared under: shards cannot be clipped, and Adam has slots to be sharded."""
    optimizer = {**off_defaults("adam", rate=5), "clip_norm": None}
    return {"framework": framework, "batch_norm": "synchronised", "optimizer": optimizer}


def void(framework: str) -> dict[str, Any]:
    """Return the job with most pixels of no class, so that workers' examples weigh unequally."""
    data = with_void(settings()["data"])
    return settings(framework=framework, batch_norm="synchronised", data=data, **precise.SETTINGS)


def _launched_alone(framework: str, results: Path, workers: int) -> dict[str, Trajectory]:
    """Do the strategies that cannot share a launch: Horovod reads its settings once, and MPI alone carries one."""
    blocking = start(results, [settings(**unclipped(framework), strategy="blocking")], workers)
    unfused = start(results, [settings(**unclipped(framework), strategy="unfused")], workers, controller="gloo")
    return {"blocking": blocking[0], "unfused, over Gloo": unfused[0]}


def _by_strategy(framework: str, workers: int, found: Mapping[str, Trajectory]) -> list[Row]:
    what, (fused, *others) = f"{title(framework)}, {workers} workers by", found
    return [_same("workers", f"{what} {name} = by {fused}", found[fused], found[name], EXACT) for name in others]


def _crossed(optimizer: str, framework: str, results: Path, folder: RunFolder) -> Row:
    """Go on from a state of several workers in the other framework, on one, and compare with the run that stayed."""
    other, workers, whole = OTHER[framework], folder.read_config().workers, recorded(folder)
    state = folder.checkpoints / f"step-{CROSSED_AFTER:08d}.safetensors"
    checkpoint = {"every": CROSSED_AFTER, "keep": 9, "resume_from": str(state)}
    went_on = here(results, settings(optimizer, framework=other, checkpoint=checkpoint))
    rest = Trajectory(whole.losses[CROSSED_AFTER:], whole.fingerprints[CROSSED_AFTER:], whole.state, whole.validated)
    start = f"{optimizer}: {title(framework)} on {workers} workers to step {CROSSED_AFTER}"
    return _same("crossing over", f"{start}, then {title(other)} on 1 = never crossed", rest, went_on, SAME)


def _same(claim: Claim, what: str, first: Trajectory, second: Trajectory, tolerance: float) -> Row:
    """Return a row about losses, validations and state together."""
    validated, at = worst_step(first.validated, second.validated)
    trained = worst_step(first.losses, second.losses)
    difference, where = max(trained, worst(first.state, second.state), (validated, f"validation, {at}"))
    why = "the mean over workers is summed in another order; then as a trajectory"
    return Row(claim=claim, what=what, difference=difference, where=where, tolerance=tolerance, why=why)


def _parted(what: str, first: Trajectory, second: Trajectory) -> Row:
    difference, where = worst_step(first.losses, second.losses)
    why = "another function: each worker normalises by its own statistics"
    return Row(claim="workers", what=what, difference=difference, where=where, tolerance=PARTED, why=why, differs=True)
