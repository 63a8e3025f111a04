"""Steps to target against batch: recovered from simulated trials of a known law, and told without claiming too much."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import curve_fit

from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.load.tables import epoch_table
from horovod_runner.analysis.questions import targets
from horovod_runner.analysis.report.answers import answered
from horovod_runner.config.schema import decode
from horovod_runner.errors import UserError
from horovod_runner.results.record import Metric
from horovod_runner.results.summary import summarise
from horovod_runner.statistics import batch_limits
from horovod_runner.statistics.batch_limits import Trials, best_rate, fit, limits, widened
from horovod_runner.statistics.interval import Interval
from horovod_runner.training.plan import Plan
from horovod_runner.training.schedule import Schedule

BATCHES = (4, 8, 16, 32, 64, 128, 256, 512)
BUDGET = 2000
S_MIN, B_CRIT = 40.0, 64.0
BASE = {"workload": "resnet50", "steps": BUDGET, "validate_steps": 1, "target": {"metric": 0.9}, "scaling": "strong"}


def law(batch: float, b_crit: float = B_CRIT) -> float:
    return S_MIN * (1 + b_crit / batch)


def best(batch: float, b_crit: float = B_CRIT) -> float:
    """A best rate that grows with the batch and levels off, as McCandlish et al. have it."""
    return 0.4 / (1 + b_crit / batch)


def trials(generator: np.random.Generator, seeds: int = 5, scatter: float = 0.1, rates: int = 5) -> Trials:
    """Return trials of the law: a rate costs more steps the further it lies from the best one, a seed scatters."""
    grid = 2.0 ** (np.arange(rates) - rates // 2)
    table = []
    for batch in BATCHES:
        noise = np.exp(scatter * generator.normal(size=(rates, seeds)))
        table.append(law(batch) * (1 + 0.2 * np.log2(grid) ** 2)[:, None] * noise)
    return Trials(BATCHES, tuple(tuple(best(b) * grid) for b in BATCHES), tuple(range(seeds)), tuple(table))


def made(framework: str, batch: int, rate: float, seed: int, steps: float, **changes: Any) -> Run:
    """Return a finished run with these steps to target (infinite: missed); `changes` are of its config or result."""
    settings = ("optimizer", "schedule", "target", "virtual_workers", "strategy")
    given = {key: changes.pop(key) for key in settings if key in changes}
    optimizer = {"name": "sgd", "learning_rate": float(rate), **given.pop("optimizer", {})}
    raw = {"framework": framework, "seed": seed, "global_batch": batch, "optimizer": optimizer}
    config = decode(BASE | raw | given, "made")
    reached = math.isfinite(steps)
    update = {"steps_to_target": int(steps) if reached else None, "steps": int(min(steps, BUDGET))}
    result = summarise(config, "completed").model_copy(
        update=update | {"validated_steps": (1, 2), "val_metric": Metric(name="top1", values=(0.1, 0.95))} | changes
    )
    return Run(Path("study") / config.run_id, config, result, {"machine": {"id": "a"}})


def study(
    frameworks: Sequence[str] = ("torch",),
    momenta: Sequence[float] = (0.9,),
    seeds: int = 5,
    batches: Sequence[int] = BATCHES,
    **changes: Any,
) -> list[Run]:
    """Return the runs of a whole study; with momentum 0.9, B_crit is four times what it is with 0."""
    runs = []
    for framework in frameworks:
        for momentum in momenta:
            b_crit = B_CRIT * (4 if momentum == 0.9 else 1)
            for batch in batches:
                for step in range(-2, 3):
                    for seed in range(seeds):
                        generator = np.random.default_rng([batch, step + 2, seed, int(10 * momentum)])
                        steps = law(batch, b_crit) * (1 + 0.2 * step**2) * math.exp(0.06 * generator.normal())
                        optimizer = {"momentum": momentum}
                        rate = best(batch, b_crit) * 2.0**step
                        runs.append(made(framework, batch, rate, seed, steps, optimizer=optimizer, **changes))
    return runs


def test_the_law_is_recovered_within_its_intervals() -> None:
    """Of 40 studies with five seeds, at least nine in ten intervals hold the truth; ten seeds narrow them."""
    hits = {"s_min": 0, "b_crit": 0}
    widths = []
    for number in range(40):
        found = limits(trials(np.random.default_rng(number)), [1.0] * len(BATCHES))
        for name, truth in (("s_min", S_MIN), ("b_crit", B_CRIT)):
            interval = widened(float(getattr(found.fit, name)), getattr(found.drawn_fit, name), 5)
            assert interval.ci95_low is not None and interval.ci95_high is not None
            hits[name] += interval.ci95_low <= truth <= interval.ci95_high
        widths.append(math.log(interval.ci95_high / interval.ci95_low))
    assert min(hits.values()) >= 36, hits
    assert np.median(widths) < math.log(2.2), "an interval that says nothing holds everything"


def test_the_fit_is_that_of_a_general_least_squares() -> None:
    batches = np.array(BATCHES, dtype=float)
    steps = np.exp(0.2 * np.random.default_rng(3).normal(size=(20, 8))) * law(1.0, 0) * (1 + B_CRIT / batches)
    found = fit(batches, steps)
    for row in range(20):
        log_law: Callable[..., Any] = lambda b, s, c: s + np.log1p(np.exp(c) / b)  # noqa: E731
        (s, c), _ = curve_fit(log_law, batches, np.log(steps[row]), (3.0, 3.0))
        assert found.s_min[row] == pytest.approx(math.exp(s), rel=1e-4)
        assert found.b_crit[row] == pytest.approx(math.exp(c), rel=1e-3)


def test_what_the_batches_do_not_hold_is_not_fitted() -> None:
    batches = np.array(BATCHES, dtype=float)
    falling, flat = fit(batches, 5000 / batches), fit(batches, np.full(8, 50.0))
    assert math.isinf(falling.b_crit) and falling.s_min == 0
    assert flat.b_crit == 0 and flat.s_min == pytest.approx(50.0)
    few = np.where(batches > 8, np.inf, 10.0)
    assert math.isnan(fit(batches, few).b_crit)
    missed = fit(batches, np.where(batches == 16, np.inf, S_MIN * (1 + B_CRIT / batches)))
    assert missed.b_crit == pytest.approx(B_CRIT, rel=1e-4), "a missed batch is left out, and nothing else changes"


def test_the_best_rate_has_all_its_seeds_and_then_the_fewest_steps() -> None:
    inf = math.inf
    assert best_rate(np.array([[10.0, 10, inf], [90, 95, 99], [80, 85, 99]])) == 2
    assert best_rate(np.array([[50.0, 50, 50], [50, 50, 50]])) == 0, "of equals the smaller rate"
    assert best_rate(np.array([[inf, inf, inf], [inf, inf, 30], [20, inf, inf]])) == 1
    assert best_rate(np.array([[inf, inf, inf], [20, inf, 30]])) == 1


def test_a_plateau_is_found_where_steps_stop_falling() -> None:
    """Steps fall like 1/B up to 64, and stay from there on: the smallest batch of the plateau is the most useful."""
    generator = np.random.default_rng(5)
    flat = [np.maximum(64 / batch, 1) * 50 * np.exp(0.04 * generator.normal(size=(1, 7))) for batch in BATCHES]
    whole = Trials(BATCHES, ((0.1,),) * 8, tuple(range(7)), tuple(flat))
    found = limits(whole, [0.0] * 8)
    assert found.plateau is not None and BATCHES[found.plateau] == 64
    assert found.perfect is not None and BATCHES[found.perfect] == 64
    assert [found.regime(place) for place in (0, 7)] == ["perfect scaling", "maximal data parallelism"]

    falling = Trials(
        BATCHES, ((0.1,),) * 8, tuple(range(7)), tuple(0 * f + 6400 / b for f, b in zip(flat, BATCHES, strict=True))
    )
    assert limits(falling, [0.0] * 8).plateau is None, "the largest batch may not be called too large"
    assert batch_limits.plateau_start(np.array([30.0, 20.0]), np.tile([30.0, 20.0], (9, 1)), [20, 20]) == 0


def test_a_study_is_answered_for_both_frameworks_and_momenta() -> None:
    runs = study(("tensorflow", "torch"), (0.0, 0.9))
    batches, fits = answered(targets, runs)
    assert batches.name == "targets" and fits.name == "targets-fit"
    assert len(batches.rows) == 4 * len(BATCHES) and len(fits.rows) == 4
    for row in batches.rows:
        truth = law(row["global_batch"], B_CRIT * (4 if "0.9" in row["optimizer"] else 1))
        assert row["steps_to_target"] == pytest.approx(truth, rel=0.15) and row["reached"] == row["seeds"] == 5
        assert row["steps_to_target_ci95_low"] <= row["steps_to_target"] <= row["steps_to_target_ci95_high"]
        assert row["at_edge"] == "" and row["rates"] == 5
    for row in fits.rows:
        assert row["b_crit_ci95_low"] <= B_CRIT * (4 if "0.9" in row["optimizer"] else 1) <= row["b_crit_ci95_high"]
    json.dumps([*batches.rows, *fits.rows], allow_nan=False)
    told = " ".join(fits.sentences)
    assert told.count("extends perfect scaling beyond momentum 0.0") == 2
    assert "no difference between the frameworks is shown" in told, "both have the same numbers"
    assert "Times were not measured" in " ".join(batches.sentences)


def test_momentum_that_changes_nothing_is_said_to_change_nothing() -> None:
    generator, with_momentum = np.random.default_rng(1), study()
    without = []
    for run in with_momentum:
        batch, rate = run.result.global_batch, (run.config.optimizer.learning_rate or 0)
        steps = (run.result.steps_to_target or math.inf) * math.exp(0.06 * generator.normal())
        without.append(made("torch", batch, rate, run.result.seed, steps, optimizer={"momentum": 0.0}))
    (sentence,) = [
        s for s in answered(targets, with_momentum + without)[1].sentences if "momentum 0.9 " in s and "ratio" in s
    ]
    assert "is not shown to extend or shorten" in sentence


def test_the_edge_of_the_grid_is_noticed() -> None:
    """Without the rates above the true best one, the best is the highest that was tried."""
    low = [
        run
        for run in study()
        if (run.config.optimizer.learning_rate or 0) < 1.01 * best(run.result.global_batch, 4 * B_CRIT)
    ]
    answer = answered(targets, low)[0]
    assert {row["at_edge"] for row in answer.rows} == {"highest"}
    assert "a wider grid may find fewer steps" in answer.sentences[0]


def test_misses_and_divergence_count_as_such_and_are_said() -> None:
    """At batch 8 nothing arrives; at 16 the fastest rate diverges for one seed, and a slower one is taken."""
    runs = []
    for run in study(batches=(4, 8, 16, 32, 64)):
        batch, rate, seed = run.result.global_batch, (run.config.optimizer.learning_rate or 0), run.result.seed
        fastest = math.isclose(rate, best(batch, 4 * B_CRIT))
        if batch == 8 or (batch == 16 and fastest and seed == 0):
            status = "completed" if batch == 8 else "diverged"
            run = made("torch", batch, rate, seed, math.inf, status=status)
        runs.append(run)
    batches, fits = answered(targets, runs)
    rows = {row["global_batch"]: row for row in batches.rows}
    assert rows[8]["steps_to_target"] is None and rows[8]["reached"] == 0 and rows[8]["budget_steps"] == BUDGET
    assert not math.isclose(rows[16]["best_rate"], best(16, 4 * B_CRIT)) and rows[16]["reached"] == 5
    assert any("at batch 8 no rate took most of the 5 seeds" in sentence for sentence in batches.sentences)
    assert fits.rows[0]["b_crit"] is not None
    whole = answered(targets, [made("torch", b, 0.1, s, math.inf) for b in (4, 8, 16) for s in range(3)])
    assert "nothing is fitted" in whole[1].sentences[0] and whole[1].rows[0]["b_crit"] is None
    assert whole[0].draw is not None
    whole[0].draw()


def test_a_missing_seed_leaves_its_rate_out_and_is_said() -> None:
    runs = study(batches=(4, 8, 16, 32))
    gone = next(run for run in runs if run.result.global_batch == 16 and run.result.seed == 2)
    answer = answered(targets, [run for run in runs if run is not gone])[0]
    assert next(row["rates"] for row in answer.rows if row["global_batch"] == 16) == 4
    assert any("left out are 1 rate " in sentence for sentence in answer.sentences)


def test_scaled_rates_are_compared_as_what_they_come_to() -> None:
    """A base rate of 0.1 under the linear rule, at four times the reference batch, is a peak of 0.4."""
    schedule = {"scaling": "linear_samples", "reference_batch": 16}
    runs = [made("torch", b, 0.1, s, 100, schedule=schedule) for b in (16, 64) for s in range(3)]
    assert [row["best_rate"] for row in answered(targets, runs)[0].rows] == [0.1, 0.4]


def test_time_to_target_is_steps_times_batch_over_measured_throughput() -> None:
    def timed(batch: int, rate: float) -> dict[str, Any]:
        return {"images_per_second": Interval(mean=rate, ci95_low=0.99 * rate, ci95_high=1.01 * rate)}

    runs = [
        made("torch", b, 0.1, s, steps, **timed(b, rate))
        for b, steps, rate in ((8, 800, 100.0), (32, 220, 200.0), (128, 160, 220.0))
        for s in range(3)
    ]
    answer = answered(targets, runs)[0]
    rows = {row["global_batch"]: row["seconds_to_target"] for row in answer.rows}
    assert rows == pytest.approx({8: 800 * 8 / 100, 32: 220 * 32 / 200, 128: 160 * 128 / 220})
    assert any("is that of batch 32 of 3 timed" in sentence for sentence in answer.sentences)
    virtual = [made("torch", b, 0.1, s, 100, virtual_workers=2, **timed(b, 9.0)) for b in (8, 32) for s in range(3)]
    assert all("seconds_to_target" not in row for row in answered(targets, virtual)[0].rows)


def test_compute_only_runs_lend_their_times_to_the_trials_that_they_repeat() -> None:
    """Trials share the machine and have no times; the same worker, compute-only and timed, is no second study."""
    speed = {"images_per_second": Interval(mean=200.0, ci95_low=None, ci95_high=None), "strategy": "none"}
    trials = study(seeds=3, batches=(8, 32, 128))
    compute_only = [made("torch", b, best(b, 4 * B_CRIT), s, 50, **speed) for b in (8, 32, 128) for s in range(3)]
    plain, told = answered(targets, trials), answered(targets, trials + compute_only)
    assert len(told) == len(plain) == 2
    assert [row["steps_to_target"] for row in told[0].rows] == [row["steps_to_target"] for row in plain[0].rows]
    for row in told[0].rows:
        assert row["seconds_to_target"] == pytest.approx(row["steps_to_target"] * row["global_batch"] / 200.0)


def test_runs_without_a_target_or_with_one_batch_ask_nothing() -> None:
    assert answered(targets, study(batches=(16,))) == []
    assert answered(targets, study(batches=(8, 16), target={"metric": None})) == []


def test_targets_are_answered_apart() -> None:
    both = study(batches=(8, 16)) + study(batches=(8, 16), target={"metric": 0.95})
    names = [answer.name for answer in answered(targets, both)]
    assert len(set(names)) == len(names) == 4


def test_the_figure_has_a_panel_for_whatever_was_measured() -> None:
    speed = Interval(mean=100.0, ci95_low=None, ci95_high=None)
    plain = answered(targets, study(seeds=3, batches=(8, 32, 128)))[0].draw
    timed = answered(targets, study(seeds=3, batches=(8, 32, 128), images_per_second=speed))[0].draw
    assert plain is not None and timed is not None
    titles = [[axes.get_title(loc="left") for axes in figure.axes] for figure in (plain(), timed())]
    assert titles[0] == ["PyTorch: steps to target", "PyTorch: best learning rate"]
    assert titles[1] == [titles[0][0], "Throughput", "PyTorch: time to target", titles[0][1]]


def plan(total: int, **changes: Any) -> Plan:
    config = decode({"framework": "torch", "steps": total}, "test")
    schedule = Schedule(config.schedule, 0.1, 1.0, 10, total)
    return Plan(
        schedule, steps_per_epoch=10, total_steps=total, first_step=0, checkpoint_every=0, validate_every=1, **changes
    )


def test_validations_come_every_so_many_steps_and_at_the_end() -> None:
    every = plan(25, validate_steps=7)
    assert [step + 1 for step in range(25) if every.validates(step)] == [7, 14, 21, 25]
    assert [step + 1 for step in range(25) if plan(25).validates(step)] == [10, 20, 25]
    assert every.flushes(6), "a validation that is not written is lost with the process"
    assert not plan(25).reached(1.0) and plan(25, stop_at=0.9).reached(0.9) and not plan(25, stop_at=0.9).reached(0.89)
    assert not plan(25, stop_at=0.9).reached(math.nan)


def test_epochs_with_several_validations_show_their_last() -> None:
    run = made("torch", 8, 0.1, 0, 100)
    figures = {"train_loss": (3.0, 2.0), "val_loss": (5.0, 4.0, 3.0), "validated_epochs": (1, 1, 2)}
    figures |= {"val_metric": Metric(name="top1", values=(0.1, 0.2, 0.3))}
    run = Run(run.folder, run.config, run.result.model_copy(update=figures), {})
    table = epoch_table([run]).set_index("epoch")
    assert table["val_loss"].to_dict() == {1: 4.0, 2: 3.0} and table["val_metric"].to_dict() == {1: 0.2, 2: 0.3}


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"validate_steps": 5, "validate_every": 2}, "validate_steps: validate_every is given as well; keep one"),
        (
            {"target": {"metric": 0.9}, "validate_every": 0},
            "target.metric: with validate_every: 0 nothing is validated",
        ),
        ({"target": {"metric": 0.9}, "measure": "loading"}, "target.metric: with measure: loading nothing is trained"),
        ({"target": {"metric": 90}}, "target.metric: should be at most 1, but it is 90"),
        ({"target": {"metrics": 0.9}}, "target.metrics: is not a setting of a run; write target.metric"),
        ({"validate_steps": 0}, "validate_steps: should be at least 1"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_a_sentence(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        decode({"framework": "torch"} | settings, "a.yaml")
