"""What a run does at which step: trains, at which rate; validates, saves, exchanges its records; ends."""

from __future__ import annotations

from dataclasses import dataclass

from horovod_runner.config.schema import RunConfig
from horovod_runner.training.schedule import Schedule, scaling_factor

FLUSH_STEPS = 10


@dataclass(frozen=True)
class Plan:
    """The steps of a run, from `first_step` to `total_steps` - 1; they count from 0."""

    schedule: Schedule
    steps_per_epoch: int
    total_steps: int
    first_step: int
    checkpoint_every: int
    validate_every: int
    fingerprint_batches: bool = True
    validate_steps: int | None = None  # steps between validations, in place of epochs
    stop_at: float | None = None  # the validation metric that ends the run

    @property
    def steps(self) -> range:
        """The steps that are to be done."""
        return range(self.first_step, self.total_steps)

    def epoch(self, step: int) -> int:
        """Return the epoch of a step, both counted from 0."""
        return step // self.steps_per_epoch

    def last(self, step: int) -> bool:
        """Whether this is the last step of the run."""
        return step + 1 == self.total_steps

    def validates(self, step: int) -> bool:
        """Whether the model is validated after this step: when it is due by steps or by epochs, and at the end."""
        if self.validate_steps is not None:
            return self.last(step) or (step + 1) % self.validate_steps == 0
        if self.validate_every == 0:
            return False
        ends_epoch = (step + 1) % self.steps_per_epoch == 0
        return self.last(step) or (ends_epoch and (self.epoch(step) + 1) % self.validate_every == 0)

    def reached(self, metric: float) -> bool:
        """Whether a validation with this metric ends the run."""
        return self.stop_at is not None and metric >= self.stop_at

    def saves(self, step: int, ends: bool = False) -> bool:
        """Whether the state is saved after this step; `ends`: it is the run's last one after all."""
        return self.checkpoint_every > 0 and ((step + 1) % self.checkpoint_every == 0 or ends or self.last(step))

    def flushes(self, step: int) -> bool:
        """Whether workers exchange and write their records after this step."""
        return (step + 1) % FLUSH_STEPS == 0 or self.saves(step) or self.validates(step) or self.last(step)


def plan_of(config: RunConfig, steps_per_epoch: int) -> Plan:
    """Return the plan of a whole run; what measures something else than training neither validates nor saves."""
    total = config.steps or (config.epochs or 0) * steps_per_epoch
    every, trains = config.checkpoint.every, config.measure == "training"
    return Plan(
        schedule=_schedule(config, steps_per_epoch, total),
        steps_per_epoch=steps_per_epoch,
        total_steps=total,
        first_step=0,
        checkpoint_every=0 if not trains else steps_per_epoch if every is None else every,
        validate_every=config.validate_every if trains else 0,
        fingerprint_batches=config.data.digests,
        validate_steps=config.validate_steps if trains else None,
        stop_at=config.target.metric if config.target.stop else None,
    )


def _schedule(config: RunConfig, steps_per_epoch: int, total_steps: int) -> Schedule:
    factor = scaling_factor(config.schedule, workers=config.all_workers, global_batch=config.global_batch or 0)
    return Schedule(config.schedule, config.optimizer.learning_rate or 0.0, factor, steps_per_epoch, total_steps)
