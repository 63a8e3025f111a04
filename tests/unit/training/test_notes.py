"""What a run's length leaves no room for is said before it trains, and nothing is said of what has room."""

from __future__ import annotations

from typing import Any

import pytest

from horovod_runner.config.schema import RunConfig, decode
from horovod_runner.training.notes import lag, notes, of_matrix
from horovod_runner.training.plan import plan_of

STEPS = 10  # of an epoch


def config(workers: int = 1, **settings: Any) -> RunConfig:
    plain = {"framework": "torch", "workers": workers, "optimizer": {"learning_rate": 0.1}, "epochs": 3}
    return decode({**plain, **settings}, "test")


def said(made: RunConfig, validation: int = 100) -> list[str]:
    return notes(made, plan_of(made, STEPS), validation)


def schedule(**settings: Any) -> dict[str, Any]:
    return {"schedule": settings}


@pytest.mark.parametrize(
    ("made", "words"),
    [
        # 30 steps of a ramp of 50 from 0.1 to 0.4: 0.1 + 0.3 * 30 / 50
        (config(4, **schedule(scaling="linear_workers", warmup_epochs=5)), ["peak of 0.4, 0.28", "50 steps", "has 30"]),
        (config(**schedule(warmup="from_zero", warmup_epochs=6)), ["peak of 0.1, 0.05 is the nearest"]),
        # A small batch under linear scaling has a peak below the base rate: 0.1 - 0.075 * 30 / 50
        (config(global_batch=64, **schedule(scaling="linear_samples", warmup_epochs=5)), ["of 0.025, 0.055 is the"]),
        (config(4, **schedule(scaling="linear_workers", warmup="constant", warmup_epochs=3)), ["peak of 0.4, 0.1 is"]),
        (config(2, **schedule(scaling="linear_workers", warmup="constant", warmup_epochs=2, decay="step",
                              milestones=[1])), ["a milestone lies within the warmup"]),
        (config(**schedule(decay="step", milestones=[1, 3, 60])), ["milestones 3, 60 lie past", "at epoch 3 "]),
        (config(**schedule(decay="step", milestones=[2, 7.5])), ["milestone 7.5 lies past"]),
    ],
)  # fmt: skip
def test_what_will_not_come_to_pass_is_said_once(made: RunConfig, words: list[str]) -> None:
    assert len(said(made)) == 1
    assert all(word in said(made)[0] for word in words), said(made)


@pytest.mark.parametrize(
    "made",
    [
        config(),
        config(4, **schedule(scaling="linear_workers", warmup_epochs=3)),  # the last step is at the peak
        config(4, **schedule(scaling="linear_workers", warmup_epochs=0.25)),
        config(4, **schedule(scaling="linear_workers", warmup_epochs=1, decay="cosine")),
        config(**schedule(warmup_epochs=50)),  # a ramp from the rate to itself
        config(**schedule(decay="step", milestones=[1, 2.9])),
        config(**schedule(milestones=[60])),  # of a decay that the run does not have
    ],
)
def test_what_has_room_is_not_spoken_of(made: RunConfig) -> None:
    assert said(made) == []


def test_a_validation_set_smaller_than_the_workers() -> None:
    assert said(config(4), validation=4) == []
    assert said(config(4), validation=3) == [
        "there are fewer validation examples than workers, 3 and 4, of which some have nothing to validate (workers)"
    ]


def test_a_matrix_says_it_once_with_the_number_of_runs() -> None:
    rates = schedule(scaling="linear_workers", warmup_epochs=5)
    runs = [config(workers, seed=seed, global_batch=64, **rates) for workers in (1, 2) for seed in (0, 1, 2)]
    sentences = of_matrix(runs)
    assert len(sentences) == 1 and sentences[0].startswith("3 of 6 runs: the learning rate never reaches its peak")


@pytest.mark.parametrize(
    ("settings", "normalises", "said_of"),
    [
        ({}, True, 10),
        ({"validate_steps": 3}, True, 3),
        ({"validate_every": 2}, True, 20),
        ({"epochs": 12, "validate_every": 10}, True, None),  # the hundredth step
        ({"validate_every": 0}, True, None),
        ({"validation_statistics": "precise"}, True, None),
        ({}, False, None),
        ({"measure": "loading"}, True, None),
    ],
)
def test_an_early_validation_by_statistics_that_lag(
    settings: dict[str, Any], normalises: bool, said_of: int | None
) -> None:
    made = config(**settings)
    sentence = lag(made, plan_of(made, STEPS), normalises)
    assert (sentence is None) == (said_of is None)
    assert sentence is None or f"after {said_of} steps" in sentence
