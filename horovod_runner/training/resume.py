"""Where a run stands when it is started: the steps behind it, its state after them, and what was recorded of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from horovod_runner.errors import SharedError
from horovod_runner.results.checkpoint import take_over
from horovod_runner.results.record import StepRecord
from horovod_runner.results.summary import first_reaching
from horovod_runner.training.join import Worker, require_same_state
from horovod_runner.training.plan import Plan


def resume(worker: Worker) -> tuple[Plan, list[StepRecord]]:
    """Load the newest state of the run, and return what is left to do and the records of what has been done.

    Rank 0 alone has the records.
    """
    first = _load_newest(worker)
    require_same_state(worker.backend)
    kept = worker.folder.rewind_steps(first) if worker.leads else []
    plan = replace(worker.prepared.plan, first_step=first)
    return (replace(plan, total_steps=first) if _ended(worker, kept) else plan), kept


def _load_newest(worker: Worker) -> int:
    """Load the newest saved state on every worker, this run's or the one to go on from; return the steps done."""
    saved, start = worker.checkpoints.steps(), worker.config.checkpoint.resume_from
    newest = int(worker.from_rank_0(saved[-1] if saved else 0))
    if newest:
        if newest not in saved:
            raise SharedError(
                f"{worker.folder.checkpoints} is not seen by every worker; choose a shared folder with --results"
            )
        worker.backend.load_state(worker.checkpoints.load(newest, worker.config, worker.prepared.shapes))
    return newest if newest or start is None else _take_over(worker, start)


def _take_over(worker: Worker, path: str) -> int:
    """Load another run's state, say in what that run differs, and return the steps it has behind it."""
    state = take_over(path, worker.config, worker.prepared.shapes, worker.prepared.plan.total_steps)
    worker.backend.load_state(state.arrays)
    apart = "; ".join(state.differences) or "the same settings"
    worker.say(f"taking over {path} after step {state.step}; its run has {apart}")
    return state.step


def _ended(worker: Worker, kept: Sequence[StepRecord]) -> bool:
    """Whether the run had reached the target that ends it, and only its result was not written any more."""
    target = worker.config.target
    if target.metric is None or not target.stop:
        return False
    return worker.from_rank_0(first_reaching(target.metric, kept) is not None) > 0
