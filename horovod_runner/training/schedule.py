"""The learning rate as a pure function of the step, computed here for every framework.

A rate is base x factor(step): a scaling rule sets the peak, warmup leads up to it, decay leads down from it. Steps
count from 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from horovod_runner.config.settings import ScheduleConfig


def scaling_factor(schedule: ScheduleConfig, *, workers: int, global_batch: int) -> float:
    """Return peak rate over base rate.

    The rules are named for what they count: `linear_workers` is Horovod's x size, `linear_samples` is Goyal et al.'s
    eta = eta_ref x B / B_ref (arXiv:1706.02677, section 2.1); they differ by local batch over reference batch.
    """
    count = workers if schedule.scaling.endswith("workers") else global_batch / schedule.reference_batch
    if schedule.scaling == "none":
        return 1.0
    return float(count) if schedule.scaling.startswith("linear") else math.sqrt(count)


@dataclass(frozen=True)
class Schedule:
    """The rate of every step of one run."""

    settings: ScheduleConfig
    base: float
    factor: float
    steps_per_epoch: int
    total_steps: int

    def __call__(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        warmup = self.settings.warmup_epochs * self.steps_per_epoch
        if step < warmup:
            return self.base * self._warmup((step + 1) / warmup)
        return self.base * self.factor * self._decay(step, warmup)

    def _warmup(self, progress: float) -> float:
        """Return rate over base during warmup; `progress` runs from just above 0 to 1.

        Gradual: from the base rate to the peak, by the same amount each step (Goyal et al., section 2.2; the formula
        with the step's end as its time is that of Horovod's ImageNet example). Constant: the base rate throughout.
        From zero: the same ramp begun at 0, which also means something when the peak is the base rate.
        """
        ramps = {
            "gradual": 1.0 + (self.factor - 1.0) * min(progress, 1.0),
            "constant": 1.0,
            "from_zero": self.factor * min(progress, 1.0),
        }
        return ramps[self.settings.warmup]

    def _decay(self, step: int, warmup: float) -> float:
        """Return rate over peak after warmup."""
        return _DECAYS[self.settings.decay](self, step, warmup)

    def _constant(self, step: int, warmup: float) -> float:
        return 1.0

    def _step(self, step: int, warmup: float) -> float:
        epoch = step / self.steps_per_epoch
        return self.settings.factor ** sum(epoch >= milestone for milestone in self.settings.milestones)

    def _polynomial(self, step: int, warmup: float) -> float:
        return self._between(1.0, (1.0 - self._decay_progress(step, warmup)) ** self.settings.power)

    def _cosine(self, step: int, warmup: float) -> float:
        return self._between(1.0, 0.5 * (1.0 + math.cos(math.pi * self._decay_progress(step, warmup))))

    def _decay_progress(self, step: int, warmup: float) -> float:
        """Return 0 for the first step after warmup, approaching 1 at the end of the run."""
        return (step - warmup) / max(self.total_steps - warmup, 1.0)

    def _between(self, top: float, shape: float) -> float:
        return self.settings.end_factor + (top - self.settings.end_factor) * shape


_DECAYS = {
    "constant": Schedule._constant,
    "step": Schedule._step,
    "polynomial": Schedule._polynomial,
    "cosine": Schedule._cosine,
}
