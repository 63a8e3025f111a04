"""One worker's run from beginning to end: open the data, join the others, go on from where the run stands, train, sum
up."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from benchmarks.architecture import Architecture, draw_initial
from benchmarks.data import open_dataset
from benchmarks.data.pipeline import TrainBatches, steps_per_epoch, validation_batches
from benchmarks.objectives import reference
from horovod_runner.allreduce import timeline
from horovod_runner.config.schema import RunConfig
from horovod_runner.errors import Diverged, SharedError
from horovod_runner.frameworks.base import Backend, Job, load_backend
from horovod_runner.machine.world import World, threads_for
from horovod_runner.results import provenance
from horovod_runner.results.checkpoint import Checkpoints, Shapes, take_over
from horovod_runner.results.record import Division, RunResult, StepRecord
from horovod_runner.results.store import RunFolder, exclusive, write_json
from horovod_runner.results.summary import first_reaching, summarise
from horovod_runner.training.loop import Plan, share_statistics, train, validation
from horovod_runner.training.recorder import Recorder
from horovod_runner.training.schedule import Schedule, scaling_factor
from horovod_runner.training.state import expected_shapes
from horovod_runner.training.timing import StepTimer

MAX_LINES = 100_000
LOCK_PATIENCE = 15.0  # seconds that the ranks of a runner that was killed may take to end

Talk = Callable[[str], None]
Load = Callable[[Job], Backend]


class Training:
    """One worker of one run.

    Every worker takes the same path; rank 0 alone writes and talks. `say` is called with lines for the user, `load`
    for the backend.
    """

    def __init__(
        self, config: RunConfig, folder: RunFolder, world: World, say: Talk, load: Load = load_backend
    ) -> None:
        self.config, self.folder, self.world, self.say, self._load = config, folder, world, say, load
        self.leads = world.rank == 0
        self.threads, self.at_once = threads_for(world, config.threads), world.at_once
        self.began = time.perf_counter()
        self.checkpoints = Checkpoints(folder.checkpoints, config.checkpoint.keep)
        self.data = open_dataset(config.data, config.job.task, config.seed)
        self.steps_per_epoch = steps_per_epoch(len(self.data.train), config.global_batch or 0)
        self.architecture = self._architecture()
        self.metric = reference.METRICS[config.job.task]

    def run(self) -> RunResult:
        """Do the run, or what is left of it; Diverged is not raised but recorded."""
        lock = exclusive(self.folder.path, LOCK_PATIENCE) if self.leads else contextlib.nullcontext()
        with lock:
            self.join()
            done = self._from_rank_0(float(self.folder.done))
            result = self.folder.read_result() if done and self.leads else None
            if done:
                self.say(f"{self.folder.path} is done already; for another sample of this run add --set repeat=1")
            else:
                result = self._train()
            self.backend.close()
        return result or summarise(self.config, "completed")

    def join(self) -> Backend:
        """Build the backend, which joins the other workers, and see that all of them are in the same run."""
        os.environ.update(timeline.timeline_environment(self.config, self.folder.timeline_file))
        self.backend: Backend = self._load(self._job())
        check_agreement(self.backend, self.config)
        return self.backend

    def _train(self) -> RunResult:
        plan, recorder = self._prepare()
        if self.leads:
            if plan.first_step:  # steps that shared the machine stay untimed when the others did not
                self.at_once = max(self.at_once, provenance.at_once_before(self.folder.provenance_file))
            origin = provenance.describe(self.world, self.threads)
            write_json(self.folder.provenance_file, {**origin, "planned_steps": plan.total_steps})
        batches = self.batches()
        error, timer = None, StepTimer()
        try:
            train(self.backend, plan, batches, recorder, self.validate, self._save, timer)
        except Diverged as diverged:
            error = diverged
        finally:
            batches.close()
        return self._finish(recorder, error, batches.skipped, timer)

    def _prepare(self) -> tuple[Plan, Recorder]:
        """Return what is to be done and the records of what has been done before."""
        first = self._resume()
        kept = self.folder.rewind_steps(first) if self.leads else []
        plan = self.plan(first)
        if self._over(kept):
            plan = replace(plan, total_steps=first)
        every = max(self.config.record_every, -(-plan.total_steps // MAX_LINES))
        self._announce(plan)
        return plan, Recorder(self.backend.gather_over_ranks, self._write, kept, every)

    def _over(self, kept: Sequence[StepRecord]) -> bool:
        """Whether the run had reached the target that ends it, and only its result was not written any more."""
        target = self.config.target
        if target.metric is None or not target.stop:
            return False
        return self._from_rank_0(float(first_reaching(target.metric, kept) is not None)) > 0

    def _resume(self) -> int:
        """Load the newest saved state on every worker, this run's or the one to go on from; return the steps done."""
        saved = self.checkpoints.steps()
        newest = int(self._from_rank_0(float(saved[-1] if saved else 0)))
        if newest:
            if newest not in saved:
                raise SharedError(
                    f"{self.folder.checkpoints} is not seen by every worker; choose a shared folder with --results"
                )
            self.backend.load_state(self.checkpoints.load(newest, self.config, self._shapes))
        elif self.config.checkpoint.resume_from is not None:
            newest = self._take_over(self.config.checkpoint.resume_from)
        check_weights(self.backend)
        return newest

    def _take_over(self, path: str) -> int:
        """Load another run's state, say in what that run differs, and return the steps it has behind it."""
        state = take_over(path, self.config, self._shapes, self.plan(0).total_steps)
        self.backend.load_state(state.arrays)
        apart = "; ".join(state.differences) or "the same settings"
        self.say(f"taking over {path} after step {state.step}; its run has {apart}")
        return state.step

    @property
    def _shapes(self) -> Shapes:
        return expected_shapes(self.architecture, self.config)

    def plan(self, first_step: int) -> Plan:
        """Return what is to be done from this step on."""
        config = self.config
        total = config.steps or (config.epochs or 0) * self.steps_per_epoch
        every, trains = config.checkpoint.every, config.measure == "training"
        return Plan(
            schedule=self._schedule(total),
            steps_per_epoch=self.steps_per_epoch,
            total_steps=total,
            first_step=first_step,
            checkpoint_every=0 if not trains else self.steps_per_epoch if every is None else every,
            validate_every=config.validate_every if trains else 0,
            mark_batches=config.data.digests,
            validate_steps=config.validate_steps if trains else None,
            stop_at=config.target.metric if config.target.stop else None,
        )

    def _schedule(self, total_steps: int) -> Schedule:
        config = self.config
        factor = scaling_factor(config.schedule, workers=config.all_workers, global_batch=config.global_batch or 0)
        base = config.optimizer.learning_rate or 0.0
        return Schedule(config.schedule, base, factor, self.steps_per_epoch, total_steps)

    def _architecture(self) -> Architecture:
        data, width = self.data, self.config.width or 0
        architecture = self.config.job.architecture(
            width=width,
            channels=data.channels,
            classes=data.classes,
            image_size=data.image_size,
            **self.config.options,
        )
        return architecture.with_identity_residuals() if self.config.zero_init_last_gamma else architecture

    def _job(self) -> Job:
        initial = draw_initial(self.architecture.arrays, self.config.seed)
        meeting = self.folder.meetings / launch_token()
        return Job(self.config, self.architecture, initial, self.world, self.threads, meeting)

    def batches(self) -> TrainBatches:
        """Return this worker's part of the training data."""
        config = self.config
        return TrainBatches(
            self.data,
            global_batch=config.global_batch or 0,
            rank=self.world.rank,
            workers=self.world.size,
            seed=config.seed,
            processes=config.data.processes,
            broken=config.data.broken,
            local_workers=self.world.local_size,
        )

    def validate(self) -> tuple[float, float]:
        """Validate with statistics that all workers share; return (loss, metric)."""
        self.backend.settle()
        share_statistics(self.backend, self.architecture, self.world.size)
        batches = validation_batches(
            self.data.validation,
            local_batch=self.config.local_batch or 1,
            rank=self.world.rank,
            workers=self.world.size,
            processes=self.config.data.processes,
            broken=self.config.data.broken,
            local_workers=self.world.local_size,
        )
        loss, _, value = validation(self.backend, batches, self.config, self.data.classes)
        return loss, value

    def _save(self, step: int) -> None:
        """Save the state that all workers share; none goes on before it is on the disk."""
        self.backend.settle()
        share_statistics(self.backend, self.architecture, self.world.size)
        state = self.backend.state()
        if self.leads:
            self.checkpoints.save(step, state, self.config)
        self._from_rank_0(0.0)

    def _write(self, steps: Sequence[StepRecord]) -> None:
        if not self.leads:
            return
        self.folder.append_steps(steps)
        for step in steps:
            if step.val_loss is not None:
                self.say(
                    f"epoch {step.epoch:3d}  step {step.step:6d}  loss {step.train_loss:8.4f}"
                    f"  validation loss {step.val_loss:8.4f}  {self.metric} {step.val_metric:.4f}"
                )

    def _finish(self, recorder: Recorder, error: Diverged | None, skipped: int, timer: StepTimer) -> RunResult:
        """Sum up over all workers; rank 0 writes the result last of all."""
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        everyone = self.backend.gather_over_ranks(np.array([memory, skipped], dtype=np.float64))
        result = summarise(
            self.config,
            "completed" if error is None else "diverged",
            steps=recorder.steps,
            metric=self.metric,
            wall_seconds=time.perf_counter() - self.began,
            peak_memory_bytes=int(everyone[:, 0].max()),
            threads=self.threads,
            at_once=self.at_once,
            skipped_examples=int(everyone[:, 1].sum()),
            error=None if error is None else str(error),
        )
        if self.leads:
            if not self.config.checkpoint.keep_final:
                self.checkpoints.clear()
            result = result.model_copy(
                update={"timeline": self._division(recorder.steps[result.discarded_steps :], timer)}
            )
            self.folder.write_result(result)
        return result

    def _division(self, timed: Sequence[StepRecord], timer: StepTimer) -> Division | None:
        """Return how the timed steps of this start divide by Horovod's timeline, where the run has one."""
        file = self.folder.timeline_file
        if not timed or not timeline.timeline_environment(self.config, file) or not file.exists():
            return None
        since_epoch = time.time() - time.perf_counter()
        windows = since_epoch + np.array(timer.spans).reshape(-1, 2)
        steps = timed[-1].step - timed[0].step + 1
        return timeline.divide(timeline.read(file), windows[-steps:])

    def _from_rank_0(self, value: float) -> float:
        """Return rank 0's value on every worker; nobody goes on before all have come."""
        return float(self.backend.gather_over_ranks(np.array([value]))[0, 0])

    def _announce(self, plan: Plan) -> None:
        config = self.config
        where = f", going on after step {plan.first_step}" if plan.first_step else ""
        self.say(
            f"{config.workload} in {config.framework}: {plan.total_steps} steps of {config.global_batch} images on"
            f" {config.workers} worker{'s'[: config.workers > 1]}, {self.threads} thread{'s'[: self.threads > 1]}"
            f" each, {config.precision}{where}"
        )


def check_agreement(backend: Backend, config: RunConfig) -> None:
    """Compare all workers' settings; SharedError names the first setting that differs."""
    plain = config.to_dict()
    marks = np.array([_mark(json.dumps(plain[key], sort_keys=True).encode()) for key in sorted(plain)])
    everyone = backend.gather_over_ranks(marks)
    differing = np.flatnonzero((everyone != everyone[0]).any(axis=0))
    if differing.size:
        key = sorted(plain)[int(differing[0])]
        rank = int(np.flatnonzero(everyone[:, differing[0]] != everyone[0, differing[0]])[0])
        raise SharedError(
            f"the workers disagree about {key}: rank {rank} has another one than rank 0 ({plain[key]} here);"
            " start all of them with the same options"
        )


def check_weights(backend: Backend) -> None:
    """Compare all workers' states, byte by byte; they are equal by construction, and training relies on it."""
    digest = hashlib.sha256()
    for name, array in sorted(backend.state().items()):
        digest.update(name.encode() + array.tobytes())
    everyone = backend.gather_over_ranks(np.array([_mark(digest.digest())]))
    if (everyone != everyone[0]).any():
        raise AssertionError("the workers start from different weights")


def launch_token() -> str:
    """Return a name that all workers of one launch share and no other launch has."""
    for name in ("SUITE_JOB", "PMIX_NAMESPACE", "HOROVOD_GLOO_RENDEZVOUS_PORT"):
        if name in os.environ:
            return os.environ[name]
    return "-".join(os.environ.get(name, "0") for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))


def _mark(content: bytes) -> float:
    """Return a hash that a float64 holds exactly."""
    return float(int.from_bytes(hashlib.sha256(content).digest()[:6], "big"))
