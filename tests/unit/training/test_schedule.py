"""The learning rate, against hand-computed values and the papers' formulas."""

from __future__ import annotations

import math

import pytest

from horovod_runner.config.settings import ScheduleConfig
from horovod_runner.training.schedule import Schedule, scaling_factor


def schedule(
    factor: float = 8.0, base: float = 0.1, steps_per_epoch: int = 10, epochs: int = 90, **settings: object
) -> Schedule:
    return Schedule(ScheduleConfig(**settings), base, factor, steps_per_epoch, steps_per_epoch * epochs)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("none", 1),
        ("linear_workers", 60),
        ("linear_samples", 30),
        ("sqrt_workers", math.sqrt(60)),
        ("sqrt_samples", math.sqrt(30)),
    ],
)
def test_rules_for_the_poster_s_7680_images_on_60_workers(rule: str, expected: float) -> None:
    settings = ScheduleConfig(scaling=rule)  # type: ignore[arg-type]
    assert scaling_factor(settings, workers=60, global_batch=7680) == pytest.approx(expected, rel=1e-15)


def test_gradual_warmup_is_horovods_formula() -> None:
    # horovod/examples: lr = base * size * (1 / size) * (e' * (size - 1) / W + 1), e' = epoch + (batch + 1) /
    # len(loader)
    size, warmup_epochs, loader = 8, 5, 10
    made = schedule(factor=size, warmup_epochs=5.0)
    for step in range(warmup_epochs * loader):
        e = step // loader + (step % loader + 1) / loader
        assert made(step) == pytest.approx(0.1 * (e * (size - 1) / warmup_epochs + 1), rel=1e-14)
    assert made(warmup_epochs * loader) == pytest.approx(0.8)


def test_constant_warmup_jumps_and_from_zero_ramps_even_without_scaling() -> None:
    constant = schedule(warmup_epochs=2.0, warmup="constant")
    assert [constant(0), constant(19), constant(20)] == pytest.approx([0.1, 0.1, 0.8])
    zero = schedule(factor=1.0, warmup_epochs=2.0, warmup="from_zero")
    assert [zero(0), zero(9), zero(19), zero(20)] == pytest.approx([0.005, 0.05, 0.1, 0.1])


def test_fractional_warmup_ends_within_an_epoch() -> None:
    made = schedule(warmup_epochs=0.5)
    assert made(4) == pytest.approx(0.8) and made(5) == pytest.approx(0.8) and made(3) < 0.8


def test_steps_down_at_30_60_80() -> None:
    made = schedule(decay="step")
    rates = [made(epoch * 10) for epoch in (0, 29, 30, 59, 60, 79, 80, 89)]
    assert rates == pytest.approx([0.8, 0.8, 0.08, 0.08, 0.008, 0.008, 0.0008, 0.0008])


def test_polynomial_and_cosine_go_from_peak_to_the_end_factor() -> None:
    poly = schedule(decay="polynomial", power=2.0, warmup_epochs=10.0)
    assert poly(100) == pytest.approx(0.8) and poly(500) == pytest.approx(0.8 * 0.25)
    cosine = schedule(decay="cosine", end_factor=0.1)
    assert cosine(0) == pytest.approx(0.8) and cosine(450) == pytest.approx(0.8 * 0.55)
    assert cosine(899) == pytest.approx(0.08, rel=1e-3)


@pytest.mark.parametrize("decay", ["constant", "step", "polynomial", "cosine"])
@pytest.mark.parametrize("warmup", ["gradual", "constant", "from_zero"])
def test_every_rate_is_positive_and_never_above_the_peak(decay: str, warmup: str) -> None:
    made = schedule(decay=decay, warmup=warmup, warmup_epochs=5.0)
    rates = [made(step) for step in range(900)]
    assert min(rates) > 0 and max(rates) <= 0.8 * (1 + 1e-12)
