"""One worker's run from beginning to end: prepared, joined, resumed, trained, summed up."""

from __future__ import annotations

import contextlib
import time

from horovod_runner.config.schema import RunConfig
from horovod_runner.errors import Diverged
from horovod_runner.frameworks.build import load_backend
from horovod_runner.machine import emulated
from horovod_runner.machine.world import World
from horovod_runner.results import provenance
from horovod_runner.results.record import RunResult
from horovod_runner.results.store import RunFolder, exclusive, write_json
from horovod_runner.results.summary import summarise
from horovod_runner.training.between_steps import pauses_of
from horovod_runner.training.finish import Trained, finish
from horovod_runner.training.job import prepare
from horovod_runner.training.join import Load, Say, Worker, join
from horovod_runner.training.loop import train
from horovod_runner.training.notes import lag, notes
from horovod_runner.training.plan import Plan
from horovod_runner.training.recorder import Recorder
from horovod_runner.training.resume import resume
from horovod_runner.training.timing import StepTimer

MAX_LINES = 100_000
LOCK_WAIT_SECONDS = 15.0  # seconds that the ranks of a runner that was killed may take to end


def run(config: RunConfig, folder: RunFolder, world: World, say: Say, load: Load = load_backend) -> RunResult:
    """Do the run, or what is left of it; Diverged is not raised but recorded.

    `say` is called with lines for the user, `load` for the backend.
    """
    began = time.perf_counter()
    prepared = prepare(config, say)
    lock = exclusive(folder.path, LOCK_WAIT_SECONDS) if world.rank == 0 else contextlib.nullcontext()
    with lock:
        worker = join(prepared, folder, world, say, load)
        if worker.from_rank_0(folder.done):
            say(f"{folder.path} is done already; for another sample of this run add --set repeat=1")
            result = folder.read_result() if worker.leads else summarise(config, "completed")
        else:
            result = _train(worker, began)
        worker.backend.close()
    return result


def _train(worker: Worker, began: float) -> RunResult:
    """Train from where the run stands to its end, and sum up; `began` by time.perf_counter()."""
    plan, kept = resume(worker)
    _announce(worker, plan)
    at_once = _write_provenance(worker, plan)

    pauses, timer = pauses_of(worker), StepTimer()
    every = max(worker.config.record_every, -(-plan.total_steps // MAX_LINES))
    recorder = Recorder(worker.backend.gather_over_ranks, pauses.write, kept, every)
    error = None
    with worker.prepared.train_batches(worker.world, pauses.skipped.note) as batches:
        try:
            train(worker.backend, plan, batches, recorder, pauses, timer)
        except Diverged as diverged:
            error = diverged

    return finish(worker, Trained(recorder.steps, timer, began, at_once, pauses.skipped.count, error))


def _announce(worker: Worker, plan: Plan) -> None:
    config, threads = worker.config, worker.threads
    where = f", going on after step {plan.first_step}" if plan.first_step else ""
    worker.say(
        f"{config.workload} in {config.framework}: {plan.total_steps} step{'s'[: plan.total_steps != 1]}"
        f" of {config.global_batch} images on {config.workers} worker{'s'[: config.workers > 1]},"
        f" {threads} thread{'s'[: threads > 1]} each, {config.precision}{where}"
    )
    if (host := emulated.here()) is not None:
        worker.say(f"note: this is {emulated.in_words(host.facts())}, on one machine")
    of_one_run = lag(config, plan, worker.prepared.architecture.normalises)
    for sentence in [*notes(config, plan, len(worker.prepared.data.validation)), *filter(None, [of_one_run])]:
        worker.say(f"note: {sentence}")


def _write_provenance(worker: Worker, plan: Plan) -> int:
    """Write where the run is made; return how many runs at most shared the machine with it, this time or before."""
    at_once, file = worker.world.at_once, worker.folder.provenance_file
    if worker.leads:
        if plan.first_step:  # steps that shared the machine stay untimed when the others did not
            at_once = max(at_once, provenance.at_once_before(file))
        origin = provenance.describe(worker.world, worker.threads)
        write_json(file, {**origin, "planned_steps": plan.total_steps})
    return at_once
