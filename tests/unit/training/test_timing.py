"""What a step's time is, and what of a run's time it leaves out."""

from __future__ import annotations

import pytest

from horovod_runner.results.record import StepRecord
from horovod_runner.training.finish import wall_rate
from horovod_runner.training.timing import StepTimer


def timer_of(moments: list[float]) -> StepTimer:
    """Return a timer that saw one step between each two moments: begin, data ready, end."""
    clock = iter(moments)
    timer = StepTimer(lambda: next(clock))
    for _ in range(len(moments) // 3):
        timer.start()
        timer.data_ready()
        timer.stop()
    return timer


def step(number: int) -> StepRecord:
    seconds = {"step_seconds": 1.0, "data_seconds": 0.5, "worker_seconds": (1.0,)}
    return StepRecord(step=number, epoch=1, learning_rate=0.1, train_loss=1.0, **seconds)


def test_the_rate_over_all_time_has_the_pauses_between_steps() -> None:
    """Three steps of a second; the first traced, and after the second a validation took two seconds."""
    timer = timer_of([0, 8, 9, 10, 10.5, 11, 13, 13.5, 14])
    assert timer.spans.tolist() == [0, 9, 10, 11, 13, 14]
    assert wall_rate(16, [step(2), step(3)], timer) == pytest.approx(2 * 16 / (14 - 10))
    assert wall_rate(16, [step(3)], timer) == 16
    assert wall_rate(16, [], timer) is None


def test_of_a_run_that_went_on_it_is_that_of_the_last_start() -> None:
    timer = timer_of([0, 0, 1, 1, 1, 2])  # steps 11 and 12, after ten of an earlier start
    assert wall_rate(8, [step(number) for number in range(2, 13)], timer) == 8
    assert wall_rate(8, [step(2), step(3)], timer_of([])) is None  # nothing was left to do
