"""Does the best warmup grow with the batch? Asked of runs whose truth is known."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from horovod_runner.analysis.questions import minimum_sufficient, warmup
from horovod_runner.analysis.questions.samples import Final, resolution
from horovod_runner.analysis.report.answers import answered
from horovod_runner.statistics import seeds
from tests.simulated import crossed, risen, simulated

LARGE = {"data": {"name": "synthetic", "examples": 100_000}}
BATCHES, WARMUPS = (1000, 2000, 4000), (0.0, 5.0, 10.0, 20.0)
AXES: dict[str, Any] = {
    "framework": ["tensorflow", "torch"],
    "local_batch": list(BATCHES),
    "schedule.warmup_epochs": list(WARMUPS),
    "seed": [0, 1, 2, 3, 4],
}


def planted(point: dict[str, Any], generator: np.random.Generator, growth: float, noise: float) -> float:
    """Return an accuracy that is best at `growth` epochs of warmup for 1,000 images, with a seed's noise."""
    off = point["schedule.warmup_epochs"] - growth * point["local_batch"] / 1000
    return float(0.95 - 0.0004 * off**2 + noise * generator.normal())


def samples(growth: float, noise: float, seed: int, flat: bool = False) -> warmup.Samples:
    """Return the samples of one simulated study in one framework."""
    generator = np.random.default_rng(seed)

    def table(batch: int, length: float) -> dict[int, float]:
        point = {"local_batch": batch, "schedule.warmup_epochs": length}
        return {
            s: 0.9 + noise * generator.normal() if flat else planted(point, generator, growth, noise) for s in range(5)
        }

    place = [warmup.Place("torch", "none", batch) for batch in BATCHES]
    return {at: {length: table(at.batch, length) for length in WARMUPS} for at in place}


def test_the_interval_covers_a_planted_slope() -> None:
    covered = found = 0
    for seed in range(100):
        (growth,) = warmup.growths(samples(5.0, 0.012, seed))
        interval = growth.per_thousand
        assert interval.ci95_low is not None and interval.ci95_high is not None
        covered += interval.ci95_low <= 5.0 <= interval.ci95_high  # slopes are rounded, so 5 is 5
        found += interval.leaves_out(0)
    assert covered >= 90
    assert found >= 60  # and it is not so wide that it says nothing


def test_without_an_effect_a_slope_is_rarely_claimed() -> None:
    made = (warmup.growths(samples(0, 0.01, seed, flat=True))[0] for seed in range(100))
    claimed = sum(growth.per_thousand.leaves_out(0) for growth in made)
    assert claimed <= 10


WITHIN = partial(seeds.minimum_sufficient, slack=0.02)


def plateaus(needed: float, noise: float, seed: int) -> warmup.Samples:
    """Return the samples of a study in which any warmup of `needed` epochs for 1,000 images, or more, is as good."""
    generator = np.random.default_rng(seed)

    def value(batch: int, length: float) -> float:
        short = max(0.0, needed * batch / 1000 - length)
        return float(0.95 - 0.02 * short + noise * generator.normal())

    place = [warmup.Place("torch", "none", batch) for batch in BATCHES]
    return {at: {length: {s: value(at.batch, length) for s in range(5)} for length in WARMUPS} for at in place}


def test_the_minimum_sufficient_warmup_grows_where_the_best_one_is_chance() -> None:
    """Above what is needed all warmups are equal: which is best says little, where the plateau begins does."""
    best = found = covered = 0
    for seed in range(40):
        made = plateaus(5.0, 0.01, seed)
        (growth,), (least,) = warmup.growths(made), warmup.growths(made, WITHIN)
        best += growth.per_thousand.leaves_out(0)
        found += least.per_thousand.leaves_out(0)
        low, high = least.per_thousand.ci95_low, least.per_thousand.ci95_high
        covered += low is not None and high is not None and low <= 5.0 <= high
    assert found >= 36 > best and covered >= 36


def test_where_no_warmup_is_needed_none_is_claimed_to_be() -> None:
    """A stated margin of twice the seeds' scatter: none is sufficient everywhere."""
    for seed in range(40):
        (growth,) = warmup.growths(samples(0, 0.01, seed, flat=True), WITHIN)
        assert not growth.per_thousand.leaves_out(0) and growth.chosen == (0, 0, 0)


def test_the_minimum_sufficient_is_the_first_within_the_slack() -> None:
    means, settings = [[0.90, 0.96, 0.95, 0.97], [0.99, 0.1, 0.2, 0.3]], [0, 5, 10, 20]
    assert seeds.minimum_sufficient(means, settings, 0.015).tolist() == [5, 0]
    assert seeds.minimum_sufficient(means, settings, 0.0).tolist() == [20, 0]


def test_best_of_equal_warmups_is_their_mean() -> None:
    assert seeds.best_setting([[1.0, 1.0, 0.5], [0.1, 0.2, 0.3]], [0, 10, 20]).tolist() == [5.0, 20.0]


def test_each_framework_and_both_together_are_told_with_their_interval() -> None:
    generator = np.random.default_rng(1)
    (answer,) = answered(warmup, crossed(LARGE, AXES, lambda point: planted(point, generator, 5.0, 0.002)))
    for who in ("TensorFlow", "PyTorch", "All frameworks together"):
        (told,) = (sentence for sentence in answer.sentences if sentence.startswith(who))
        assert "5 at 1,000, 10 at 2,000, 20 at 4,000" in told and "grows with the batch" in told and "[" in told
        assert "5 seeds" in told
    assert len(answer.rows) == 2 * len(BATCHES) * len(WARMUPS)
    assert sum(row["verdict"] == "best" for row in answer.rows) == 6


def test_the_minimum_sufficient_is_told_by_framework_with_its_slope_and_drawn() -> None:
    def truth(point: dict[str, Any]) -> float:
        short = max(0.0, 5.0 * point["local_batch"] / 1000 - point["schedule.warmup_epochs"])
        return 0.9 - 0.02 * short + 0.01 * point["seed"]

    (answer,) = answered(minimum_sufficient, crossed(LARGE, AXES, truth))
    assert "no more than one validation example" in answer.sentences[0]
    for who in ("TensorFlow", "PyTorch", "All frameworks together"):
        (told,) = (sentence for sentence in answer.sentences if sentence.startswith(who))
        assert "more than 0 and at most 5 at 1,000, more than 5 and at most 10 at 2,000" in told
        assert "it grows with the batch, by 1.43 to 6.79 epochs for 1,000 images more" in told, "5 of truth"
    assert [row["framework"] for row in answer.rows] == ["tensorflow", "torch", "both"]
    assert answer.draw is not None
    (panel,) = answer.draw().axes
    assert len(panel.containers) == 2 * len(BATCHES), "a curve a framework and batch"
    assert answered(minimum_sufficient, crossed(LARGE, AXES | {"local_batch": [1000]}, truth)) == [], (
        "one batch has no slope"
    )


def test_no_effect_is_told_as_none() -> None:
    generator = np.random.default_rng(3)
    runs = crossed(LARGE, AXES, lambda point: float(0.9 + 0.01 * generator.normal()))
    (answer,) = answered(warmup, runs)
    told = " ".join(answer.sentences)
    assert told.count("the best warmup changes with the batch is not shown") == 3 and "grows with" not in told
    assert "null result" in told


def test_equal_accuracies_are_indistinguishable() -> None:
    (answer,) = answered(warmup, crossed(LARGE, AXES, lambda point: 0.9))
    assert any("in 6 from all others: a null result" in sentence for sentence in answer.sentences)


def test_a_diverged_run_counts_as_the_worst_and_is_counted() -> None:
    def truth(point: dict[str, Any]) -> float | None:
        return None if point["schedule.warmup_epochs"] == 0 and point["local_batch"] == 4000 else 0.9

    (answer,) = answered(warmup, crossed(LARGE, AXES, truth))
    gone = [row for row in answer.rows if row["diverged"]]
    assert [(row["diverged"], row["final_metric"], row["verdict"]) for row in gone] == [(5, 0.1, "worse")] * 2
    assert "10 runs of 120 diverged" in answer.sentences[-1]


def test_it_is_asked_of_three_warmups_and_more() -> None:
    assert answered(warmup, crossed(LARGE, AXES | {"schedule.warmup_epochs": [0.0, 5.0]}, lambda point: 0.9)) == []


def test_final_metric_is_the_median_of_the_last_five_or_of_the_last_quarter() -> None:
    long = simulated({}, [0.1] * 15 + [0.5, 0.6, 0.9, 0.7, 0.8])
    assert Final([long]).last == 5 and Final([long])(long) == 0.7
    short = simulated({}, [0.1, 0.2, 0.3, 0.9])
    assert Final([short]).last == 1 and Final([short])(short) == 0.9


def test_resolution_is_one_example_of_the_validation_set() -> None:
    runs = [simulated({"seed": k}, [k / 360, (k + 1) / 360]) for k in range(5)]
    assert resolution(runs) == pytest.approx(1 / 360)
    assert resolution([simulated({}, risen(0.9, epochs=1))]) is None
