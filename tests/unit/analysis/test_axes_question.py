"""A plain axis is answered as arms are: from runs whose truth is known, and from too few seeds to tell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from horovod_runner.analysis.load import tables
from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.questions import ablation, axes
from horovod_runner.analysis.report.answers import Answer, answered, answers
from horovod_runner.results.store import MANIFEST, write_json
from horovod_runner.statistics import seeds
from tests.simulated import crossed

BOTH = {"framework": ["tensorflow", "torch"]}
NESTEROV = {"optimizer.nesterov": [False, True]}
NAMED = ("nesterov false", "nesterov true")


def study(
    folder: Path, axes: dict[str, list[Any]], truth: Callable[[dict[str, Any]], float | None], **base: Any
) -> list[Run]:
    """Return the runs of an experiment file with these axes."""
    write_json(folder / MANIFEST, {"axes": axes})
    runs = crossed(base, axes, truth)
    return [Run(folder / run.folder.name, run.config, run.result, run.provenance) for run in runs]


def drawn(size: float, seed: int = 0) -> Callable[[], float]:
    generator = np.random.default_rng(seed)
    return lambda: float(size * generator.normal())


def verdicts(answer: Answer) -> dict[tuple[str, str], str]:
    return {(row["framework"], row["setting"]): row["verdict"] for row in answer.rows}


@pytest.mark.parametrize(("gain", "verdict"), [(0.02, "better"), (-0.02, "worse"), (0.0, "indistinguishable")])
def test_two_values_are_told_apart_through_the_scatter_of_seeds(gain: float, verdict: str, tmp_path: Path) -> None:
    noise = drawn(0.002)

    def truth(point: dict[str, Any]) -> float:
        return 0.8 + 0.03 * point["seed"] + gain * point["optimizer.nesterov"] + noise()

    (answer,) = answered(axes, study(tmp_path, {**NESTEROV, **BOTH, "seed": [0, 1, 2, 3, 4]}, truth))
    assert (answer.title, answer.name) == ("What does optimizer.nesterov change?", "optimizer.nesterov")
    expected = {who: {NAMED[0]: "base", NAMED[1]: verdict} for who in ("tensorflow", "torch", "both")}
    assert verdicts(answer) == {(who, name): word for who, of in expected.items() for name, word in of.items()}
    assert answer.sentences[0].startswith("TensorFlow, against nesterov false (0.86")
    assert ("no value is shown to change anything" in answer.sentences[0]) == (gain == 0)
    told = (
        "Of 1 value no difference from nesterov false is shown."
        if gain == 0
        else f"{verdict.capitalize()} than nesterov"
    )
    assert answer.short.startswith(told)
    assert answer.draw is not None and len(answer.draw().axes) == 2


def test_the_first_value_of_the_file_is_the_base_and_several_are_corrected_for(tmp_path: Path) -> None:
    values = {"optimizer.momentum": [0.9, 0.0, 0.5], "seed": [0, 1, 2, 3]}
    noise = drawn(0.001)
    runs = study(tmp_path, values, lambda point: 0.5 + 0.1 * point["optimizer.momentum"] + noise())
    (answer,) = answered(axes, runs)
    assert [row["setting"] for row in answer.rows] == ["momentum 0.9", "momentum 0.0", "momentum 0.5"]
    assert [row["verdict"] for row in answer.rows] == ["base", "worse", "worse"]
    assert answer.rows[1]["change"] == pytest.approx(-0.09, abs=0.003)
    alone = seeds.p_value(
        [runs[4 + s].result.val_metric.values[-1] - runs[s].result.val_metric.values[-1] for s in range(4)]
    )
    assert alone is not None and answer.rows[1]["p_holm"] >= alone


def test_crossed_axes_are_asked_in_turn_over_the_settings_of_the_others(tmp_path: Path) -> None:
    """Nesterov gains 0.02 at every batch and smoothing; smoothing costs 0.03 at one batch and 0.01 at the other."""
    crossing = {**NESTEROV, "loss.label_smoothing": [0.0, 0.1], "local_batch": [16, 32], "seed": [0, 1, 2, 3, 4]}
    noise = drawn(0.002)

    def truth(point: dict[str, Any]) -> float:
        cost = 0.03 if point["local_batch"] == 16 else 0.01
        smoothed = cost * (point["loss.label_smoothing"] > 0)
        return 0.8 + 0.02 * point["optimizer.nesterov"] - smoothed + noise()

    nesterov, smoothing = answered(axes, study(tmp_path, crossing, truth))
    assert (nesterov.rows[1]["verdict"], smoothing.rows[1]["verdict"]) == ("better", "worse")
    assert nesterov.rows[1]["change"] == pytest.approx(0.02, abs=0.003)
    assert smoothing.rows[1]["change"] == pytest.approx(-0.02, abs=0.003), "the mean over batches"
    assert "5 seeds, paired, over 4 settings of the other axes" in nesterov.sentences[0]


def test_a_setting_that_lacks_a_value_does_not_tilt_the_comparison(tmp_path: Path) -> None:
    """The larger batch ends worse and lacks nesterov: a mean over what there is would call it better."""
    crossing = {**NESTEROV, "local_batch": [16, 32], "seed": [0, 1, 2, 3, 4]}
    runs = study(tmp_path, crossing, lambda point: (0.8 if point["local_batch"] == 16 else 0.4) + 0.01 * point["seed"])
    kept = [run for run in runs if run.result.local_batch == 16 or not run.config.optimizer.nesterov]
    (answer,) = answered(axes, kept)
    assert answer.rows[1]["change"] == pytest.approx(0.0, abs=1e-9) and answer.rows[0]["final_metric"] > 0.8


def test_what_a_value_brings_along_is_its_own(tmp_path: Path) -> None:
    """The learning rate follows from the optimizer where the file does not give one."""
    optimizers = {"optimizer.name": ["sgd", "adam"], "seed": [0, 1, 2]}
    noise = drawn(0.001)
    runs = study(tmp_path, optimizers, lambda point: 0.8 + 0.1 * (point["optimizer.name"] == "adam") + noise())
    assert len({run.config.optimizer.learning_rate for run in runs}) == 2
    (answer,) = answered(axes, runs)
    assert verdicts(answer) == {("torch", "name sgd"): "base", ("torch", "name adam"): "better"}


def test_two_seeds_are_too_few_to_tell_and_it_is_said_how_many_would_do(tmp_path: Path) -> None:
    gains = [0.01, 0.03]

    def truth(point: dict[str, Any]) -> float:
        return 0.8 + (gains[point["seed"]] if point["optimizer.nesterov"] else 0.0)

    (answer,) = answered(axes, study(tmp_path, {**NESTEROV, "seed": [0, 1]}, truth))
    (row,) = answer.rows[1:]
    assert row["verdict"] == "too few to tell" and row["seeds_needed"] == 5
    assert "too few to tell: nesterov true +0.020 [–] (about 5 seeds)." in answer.sentences[0]
    assert "change anything" not in " ".join(answer.sentences)
    assert answer.short == "2 seeds: too few to tell nesterov true +0.020 [–] (about 5 seeds)."
    (alone,) = answered(axes, study(tmp_path, {**NESTEROV, "seed": [0]}, truth))
    assert "(3 seeds at least)" in alone.sentences[0] and alone.rows[1]["verdict"] == "too few to tell"


def test_an_effect_below_the_scatter_says_how_many_seeds_would_show_it(tmp_path: Path) -> None:
    gains = [0.03, -0.01, 0.02, -0.02, 0.03]

    def truth(point: dict[str, Any]) -> float:
        return 0.8 + (gains[point["seed"]] if point["optimizer.nesterov"] else 0.0)

    (answer,) = answered(axes, study(tmp_path, {**NESTEROV, "seed": [0, 1, 2, 3, 4]}, truth))
    (row,) = answer.rows[1:]
    needed = row["seeds_needed"]
    assert row["verdict"] == "indistinguishable" and 5 < needed < 100
    assert f"(about {needed} seeds)" in answer.sentences[0]


def test_so_many_seeds_as_are_said_to_be_needed_show_it_as_a_rule() -> None:
    generator = np.random.default_rng(3)
    pilot = generator.normal(1.0, 1.5, 400)
    count = seeds.needed(pilot)
    assert count is not None and 8 < count < 16
    shown = [seeds.over_seeds(generator.normal(1.0, 1.5, count)).lies_above(0) for _ in range(400)]
    assert 0.4 < np.mean(shown) < 0.75, "the interval just leaves 0 out where the difference comes out as it is"
    assert seeds.needed([0.1]) is None and seeds.needed([0.1, -0.1]) is None and seeds.needed([0.1, 0.1]) == 3


def test_axes_of_other_questions_and_long_ones_are_left_to_them(tmp_path: Path) -> None:
    others = {"schedule.warmup_epochs": [0, 1, 2], "local_batch": [8, 16], **BOTH, "seed": [0, 1, 2]}
    assert not answered(axes, study(tmp_path, others, lambda point: 0.8))
    rates = {"optimizer.learning_rate": [0.1 / 2**k for k in range(7)], "seed": [0, 1, 2]}
    assert not answered(axes, study(tmp_path, rates, lambda point: 0.8))
    few = {"optimizer.learning_rate": [0.1, 0.05], "seed": [0, 1, 2]}
    assert answered(axes, study(tmp_path, few, lambda point: 0.8))
    warmed = {"schedule.warmup_epochs": [0, 1], "seed": [0, 1, 2]}
    assert answered(axes, study(tmp_path, warmed, lambda point: 0.8)), "two lengths, of which `warmup` says nothing"
    to_target = {"target": {"metric": 0.9, "stop": False}}
    runs = study(tmp_path, few, lambda point: 0.8, **to_target)
    runs = [Run(r.folder, r.config, r.result.model_copy(update={"target": 0.9}), r.provenance) for r in runs]
    assert not answered(axes, runs), "rates are tuned where there is a target"


def test_arms_are_crossed_like_any_axis(tmp_path: Path) -> None:
    crossing = {"arm": ["base", "b"], **NESTEROV, "seed": [0, 1, 2]}
    noise = drawn(0.001)
    runs = study(tmp_path, crossing, lambda point: 0.8 + 0.02 * point["optimizer.nesterov"] + noise())
    write_json(tmp_path / MANIFEST, {"axes": {**NESTEROV, "seed": [0, 1, 2]}, "arms": {"base": {}, "b": {}}})
    (answer,) = answered(axes, runs)
    assert answer.rows[1]["verdict"] == "better" and "over 2 settings" in answer.sentences[0]
    assert len(answered(ablation, runs)) == 2


@pytest.mark.parametrize("name", ["gap", "noise", "small-data", "warmup", "equivalence", "steps-to-target"])
def test_committed_studies_are_asked_no_new_question(name: str) -> None:
    root = Path(__file__).parents[3] / "results" / name
    assert not axes.findings(tables.read(root))


def test_a_report_answers_it_beside_the_frameworks(tmp_path: Path) -> None:
    runs = study(tmp_path, {**NESTEROV, **BOTH, "seed": [0, 1, 2]}, lambda point: 0.8 + 0.01 * point["seed"])
    assert [answer.name for answer in answers(runs)] == ["optimizer.nesterov", "frameworks"]
