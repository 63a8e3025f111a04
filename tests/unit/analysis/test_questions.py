"""Frameworks, arms, learning-rate rules and convergence: answers from runs whose truth is known, and in the report."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from horovod_runner.analysis import questions
from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.questions import ablation, converges, frameworks, rules, samples
from horovod_runner.analysis.report.answers import Answer, answered
from horovod_runner.analysis.report.write import write_report
from horovod_runner.config.settings import OptimizerConfig, ScheduleConfig
from horovod_runner.results.store import MANIFEST, write_json
from horovod_runner.statistics import seeds
from tests.made_results import add_run
from tests.simulated import crossed, simulated

BOTH = {"framework": ["tensorflow", "torch"]}
SEEDS = {"seed": [0, 1, 2, 3, 4]}


def only(answers: list[Answer]) -> Answer:
    """Return the one answer."""
    (answer,) = answers
    return answer


def moved(runs: list[Run], folder: Path) -> list[Run]:
    """Return the runs as if they lay in this experiment's folder."""
    return [Run(folder / run.folder.name, run.config, run.result, run.provenance) for run in runs]


def noisy(seed: int, size: float) -> np.random.Generator | Any:
    """Return a function that draws noise of this size."""
    generator = np.random.default_rng(seed)
    return lambda: float(size * generator.normal())


# Frameworks


def framework_runs(gap: float, noise: float, seed: int = 0, own: float = 0.02) -> list[Run]:
    """Return runs in which TensorFlow ends `gap` above PyTorch, paired within `noise`; seeds spread by `own`."""
    draw, of_seed = noisy(seed, noise), np.random.default_rng(seed + 1).normal(size=5) * own

    def truth(point: dict[str, Any]) -> float:
        return 0.8 + of_seed[point["seed"]] + (gap if point["framework"] == "tensorflow" else 0.0) + draw()

    return crossed({}, {"local_batch": [16, 32, 64], **BOTH, **SEEDS}, truth)


def stated(tmp_path: Path, when: str = "2026-01-01T00:00:00+00:00") -> Path:
    """Return an experiment's folder with margins written down at that time."""
    write_json(tmp_path / MANIFEST, {"schema": 1, "stated": when, "margins": {"val_metric": 0.02, "val_loss": 0.1}})
    return tmp_path


def test_a_difference_between_frameworks_is_found_through_the_seeds_scatter() -> None:
    answer = only(answered(frameworks, framework_runs(gap=0.01, noise=0.001)))
    assert len(answer.rows) == 3
    assert all(row["val_metric_difference"] == pytest.approx(0.01, abs=0.003) for row in answer.rows)
    assert "+0.01" in answer.sentences[0] and ": a difference." in answer.sentences[0]
    assert "In 3 of the 3 settings" in answer.sentences[0]


def test_without_a_margin_nothing_is_said_to_be_equivalent() -> None:
    told = " ".join(only(answered(frameworks, framework_runs(gap=0.0, noise=0.001))).sentences)
    assert "No margin was stated" in told and "equivalent within" not in told


def test_equivalence_is_shown_at_a_margin_stated_before(tmp_path: Path) -> None:
    answer = only(answered(frameworks, moved(framework_runs(0.0, 0.004), stated(tmp_path))))
    told = " ".join(answer.sentences)
    assert "final top1: equivalent within the stated margin of ±0.02" in told
    assert "before the first of these runs began" in told
    assert all(row["val_metric_equivalence_p"] < 0.05 for row in answer.rows)


def test_equivalence_is_not_shown_where_frameworks_differ_or_scatter(tmp_path: Path) -> None:
    for gap, noise in ((0.03, 0.004), (0.0, 0.2)):
        told = " ".join(only(answered(frameworks, moved(framework_runs(gap, noise), stated(tmp_path)))).sentences)
        assert "final top1: equivalence is not shown at the stated margin of ±0.02" in told


def test_a_margin_stated_afterwards_is_told_as_such(tmp_path: Path) -> None:
    folder = stated(tmp_path, "2026-06-01T00:00:00+00:00")
    assert "is not on record" in " ".join(only(answered(frameworks, moved(framework_runs(0, 0.004), folder))).sentences)


def to_target(runs: list[Run], missed: set[tuple[int, int]]) -> list[Run]:
    """Give runs steps to a target: 6,400 images, 10 steps a seed, 3 in TensorFlow; none to a missed (batch, seed)."""
    made = []
    for run in runs:
        result = run.result
        steps = 6400 // result.local_batch + 10 * result.seed + (3 if result.framework == "tensorflow" else 0)
        reached = None if (result.local_batch, result.seed) in missed else steps
        changed = result.model_copy(update={"target": 0.7, "steps_to_target": reached})
        made.append(Run(run.folder, run.config, changed, run.provenance))
    return made


def test_a_setting_that_misses_its_target_does_not_take_a_seed_from_the_others(tmp_path: Path) -> None:
    folder = stated(tmp_path)
    margins = {"schema": 1, "stated": "2026-01-01T00:00:00+00:00", "margins": {"steps_to_target": 5}}
    write_json(folder / MANIFEST, margins)
    runs = moved(framework_runs(0.0, 0.004), folder)
    answer = only(answered(frameworks, to_target(runs, {(64, 0), (64, 1)})))
    told = next(sentence for sentence in answer.sentences if "steps to target" in sentence)
    assert "over 2 settings (1 left out, in which a seed lacks it) and 5 seeds, paired by seed: +3" in told
    assert "steps to target: equivalent within the stated margin of ±5" in " ".join(answer.sentences)

    nowhere = to_target(runs, {(batch, 2) for batch in (16, 32, 64)})
    told = " ".join(only(answered(frameworks, nowhere)).sentences)
    assert "The stated margin of ±5 in steps to target cannot be tested: no setting has it for all seeds." in told


def test_seeds_that_miss_the_target_count_as_misses(tmp_path: Path) -> None:
    """Steps 6400 / batch + 10 a seed, 3 more in TensorFlow; where TensorFlow alone misses, it took longer."""
    folder = stated(tmp_path)
    margins = {"schema": 1, "stated": "2026-01-01T00:00:00+00:00", "margins": {"steps_to_target_ratio": 1.1}}
    write_json(folder / MANIFEST, margins)
    runs = to_target(moved(framework_runs(0.0, 0.004), folder), {(64, 0)})
    answer = only(answered(frameworks, runs))
    ratio = next(sentence for sentence in answer.sentences if sentence.startswith("Steps to target"))
    assert "over 3 settings: 1.0" in ratio and "by both in 1, of which nothing can be said" in ratio
    assert "equivalent within the stated factor of 1.1 either way" in " ".join(answer.sentences)

    def lost(run: Run) -> Run:
        if run.result.framework == "torch" or run.result.seed > 2:
            return run
        return replace(run, result=run.result.model_copy(update={"steps_to_target": None}))

    answer = only(answered(frameworks, [lost(run) for run in runs]))
    told = " ".join(answer.sentences)
    assert "missed by TensorFlow alone in 8 pairs, by PyTorch alone in 0, and by both in 1" in told
    assert "equivalence is not shown at the stated factor of 1.1" in told


def test_what_was_amended_is_said_with_its_date(tmp_path: Path) -> None:
    folder = stated(tmp_path)
    manifest = {"schema": 1, "stated": "2026-01-01T00:00:00+00:00", "margins": {"val_metric": 0.02}}
    amended = {"date": "2026-03-01T12:34:56+00:00", "was": {"margins": {"val_metric": 0.01}, "axes": {}}}
    write_json(folder / MANIFEST, manifest | {"amendments": [amended]})
    told = " ".join(only(answered(frameworks, moved(framework_runs(0.0, 0.004), folder))).sentences)
    assert "Changed after the first run, on 2026-03-01T12:34 UTC: margins, axes." in told
    assert "is not on record" in told, "an amended margin did not come first"


def test_two_seeds_are_too_few_to_compare_frameworks() -> None:
    assert answered(frameworks, [run for run in framework_runs(0, 0.1) if run.result.seed < 2]) == []


# Arms


ARMS = {"base": 0.80, "LARS": 0.84, "sqrt": 0.80, "late": None, "worse": 0.75}


def armed(noise: float = 0.002) -> list[Run]:
    """Return runs of arms with known effects, of which `late` diverges in every second seed."""
    draw = noisy(5, noise)

    def truth(point: dict[str, Any]) -> float | None:
        final = ARMS[point["arm"]]
        if final is None:
            return None if point["seed"] % 2 else 0.8 + draw()
        return final + 0.02 * point["seed"] + draw()

    runs = crossed({}, {"arm": list(ARMS), **BOTH, **SEEDS}, truth)
    bundled: dict[str, dict[str, Any]] = {
        "LARS": {"optimizer": OptimizerConfig(name="lars")},
        "sqrt": {"schedule": ScheduleConfig(scaling="sqrt_samples")},
    }
    return [replace(run, config=run.config.model_copy(update=bundled.get(str(run.config.arm)))) for run in runs]


def test_arms_are_set_against_the_base_paired_by_seed() -> None:
    answer = only(answered(ablation, armed()))
    verdicts = {(row["framework"], row["arm"]): row["verdict"] for row in answer.rows}
    for who in ("tensorflow", "torch", "both"):
        assert verdicts[who, "base"] == "base" and verdicts[who, "LARS"] == "better"
        assert verdicts[who, "sqrt"] == "indistinguishable" and verdicts[who, "worse"] == "worse"
    (row,) = (row for row in answer.rows if (row["framework"], row["arm"]) == ("both", "late"))
    assert row["diverged"] == 4
    assert "4 runs of 50 diverged" in answer.sentences[-1]


def test_arms_without_effect_are_a_null_result() -> None:
    draw = noisy(2, 0.01)
    runs = crossed({}, {"arm": ["base", "b", "c"], **BOTH, **SEEDS}, lambda point: 0.8 + draw())
    told = only(answered(ablation, runs)).sentences
    assert sum("no arm is shown to change anything" in sentence for sentence in told) == 3


def test_one_arm_of_many_is_not_told_better_by_chance() -> None:
    """An effect whose own interval leaves 0 out, p = 0.01 or so, is none among twelve arms, and is one alone."""
    draw = noisy(7, 0.01)
    arms = ["base", "lucky", *(f"null {number}" for number in range(11))]

    def told(names: list[str]) -> str:
        made = crossed({}, {"arm": names, **BOTH, **SEEDS}, lambda point: 0.8 + effects[point["arm"], point["seed"]])
        return next(row["verdict"] for row in only(answered(ablation, made)).rows if row["arm"] == "lucky")

    effects = {(arm, seed): draw() for arm in arms for seed in range(5)}
    for seed, gain in enumerate((0.005, 0.012, 0.02, 0.009, 0.016)):
        effects["lucky", seed] = effects["base", seed] + gain
    assert told(["base", "lucky"]) == "better"
    assert told(arms) == "indistinguishable"


def test_the_base_is_the_files_first_arm(tmp_path: Path) -> None:
    write_json(tmp_path / MANIFEST, {"arms": {"worse": {}, "LARS": {}, "base": {}, "sqrt": {}, "late": {}}})
    answer = only(answered(ablation, moved(armed(), tmp_path)))
    assert [row["arm"] for row in answer.rows[:3]] == ["worse", "LARS", "base"]
    assert {row["arm"] for row in answer.rows if row["verdict"] == "base"} == {"worse"}


def test_arms_at_other_batches_are_not_mixed() -> None:
    runs = crossed({}, {"arm": ["base", "b"], "local_batch": [16, 32], **SEEDS}, lambda point: 0.8)
    assert sorted(answer.name for answer in answered(ablation, runs)) == [
        "ablation-global_batch_16",
        "ablation-global_batch_32",
    ]


# Learning-rate rules


def test_a_rule_that_helps_at_the_large_batch_alone_is_told_so() -> None:
    draw = noisy(9, 0.001)

    def truth(point: dict[str, Any]) -> float:
        helped = 0.05 if point["schedule.scaling"] == "linear_samples" and point["local_batch"] == 512 else 0.0
        return 0.8 + 0.01 * point["seed"] + helped + draw()

    axes = {"schedule.scaling": ["none", "linear_samples"], "local_batch": [256, 512], **BOTH, **SEEDS}
    answer = only(answered(rules, crossed({}, axes, truth)))
    verdicts = {(row["batch"], row["framework"]): row["verdict"] for row in answer.rows}
    assert verdicts[512, "both"] == "better" and verdicts[256, "both"] == "indistinguishable"


def test_a_rule_that_needs_warmup_is_judged_with_it() -> None:
    """Without warmup the scaled rate fails, with it it is better: over all warmups worse, each at its best better."""
    draw = noisy(3, 0.001)

    def truth(point: dict[str, Any]) -> float:
        if point["schedule.scaling"] == "none":
            return 0.8 + draw()
        return (0.3 if point["schedule.warmup_epochs"] == 0 else 0.85) + draw()

    axes = {"schedule.scaling": ["none", "linear_samples"], "schedule.warmup_epochs": [0.0, 5.0], "local_batch": [512]}
    answer = only(answered(rules, crossed({}, axes | BOTH | SEEDS, truth)))
    assert {row["verdict"] for row in answer.rows} == {"worse"}
    assert {row["verdict_at_best"] for row in answer.rows} == {"better"}
    for row in answer.rows:
        assert row["gain_at_best_warmups"] == pytest.approx(0.05, abs=0.003)
        assert row["gain_at_best_warmups_ci95_low"] < 0.05 < row["gain_at_best_warmups_ci95_high"]
    assert "each rule with the warmup that suits it best: +0.0" in answer.sentences[1]
    assert answer.draw is not None and len(answer.draw().axes) == 2


# Convergence


def scaled(point: dict[str, Any]) -> float | None:
    """Return a final metric: weak scaling on 8 workers falls off, and half of its runs without warmup diverge."""
    if point["scaling"] == "strong" or point["virtual_workers"] < 8:
        return 0.9 + 0.002 * point["seed"]
    if point["schedule.warmup_epochs"] == 0 and point["seed"] % 2:
        return None
    return 0.7 + 0.01 * point["seed"]


def scaling_runs() -> list[Run]:
    """Return runs on one to eight workers, weak and strong, with warmup and without, in both frameworks."""
    axes = {"virtual_workers": [1, 2, 8], "schedule.warmup_epochs": [0.0, 2.0], **BOTH, **SEEDS}
    weak = crossed({"local_batch": 16}, {"scaling": ["weak"], **axes}, scaled)
    return weak + crossed({"global_batch": 16}, {"scaling": ["strong"], **axes}, scaled)


def test_weak_scaling_that_fails_is_told_with_the_share_that_converges() -> None:
    answer = only(answered(converges, scaling_runs()))
    shares, differences = answer.sentences[0], " ".join(answer.sentences)
    assert "weak, warmup 0 3 of 5 [" in shares and "strong, warmup 2 5 of 5 [" in shares
    assert "PyTorch on 8 workers, final metric, weak, warmup 2 less strong, warmup 2: -0.18" in differences
    (row,) = (
        row
        for row in answer.rows
        if (row["framework"], row["scaling"], row["workers"], row["warmup_epochs"]) == ("torch", "weak", 8, 0.0)
    )
    assert (row["diverged"], row["runs"], row["batch"]) == (2, 5, 128)


def test_steps_to_the_target_are_those_of_the_seeds_that_reach_it() -> None:
    """Strong scaling needs 100 steps and as many more as its seed; weak scaling on 8 workers gets there with seed 4."""
    runs = []
    for run in scaling_runs():
        result = run.result
        lost = result.scaling == "weak" and converges.all_workers(run) == 8 and result.seed < 4
        reached = {"target": 0.6, "steps_to_target": None if lost or not run.completed else 100 + result.seed}
        runs.append(replace(run, result=result.model_copy(update=reached)))
    answer = only(answered(converges, runs))
    told = " ".join(answer.sentences)
    assert "PyTorch, steps to target on 8 workers, over the seeds that reach it: strong, warmup 0 102 [100" in told
    assert "weak, warmup 0 104 [–] (1 of 5 seeds)" in told
    row = next(row for row in answer.rows if (row["scaling"], row["workers"]) == ("weak", 8))
    assert (row["steps_to_target"], row["steps_to_target_ci95_low"], row["seeds_to_target"]) == (104, None, 1)
    assert answer.draw is not None and len(answer.draw().axes) == 2 * 4
    without = only(answered(converges, scaling_runs()))
    assert without.draw is not None and len(without.draw().axes) == 2 * 3
    assert "steps to target" not in " ".join(without.sentences)


def test_wilsons_interval_is_the_published_one() -> None:
    interval = seeds.share(0, 10)
    assert interval.ci95_low == 0.0 and interval.ci95_high == pytest.approx(0.2775, abs=1e-4)
    assert seeds.share(5, 5).ci95_low == pytest.approx(0.5655, abs=1e-4)


# In common


def test_settings_that_go_together_are_named_once() -> None:
    runs = crossed({}, {"local_batch": [16, 32], "width": [8, 16], "seed": [0]}, lambda point: 0.5)
    assert next(label for label, _ in samples.split(runs, ())) == {"global_batch": 16, "width": 8}


def test_failed_runs_say_nothing_of_convergence() -> None:
    runs = [simulated({"seed": 0}, [0.5]), simulated({"seed": 1}, [], "failed"), simulated({"seed": 2}, [], "diverged")]
    ((_, members),) = questions.by_job(runs)
    assert [run.result.status for run in members] == ["completed", "diverged"]


def test_the_report_answers_before_its_groups_which_become_one_table(tmp_path: Path) -> None:
    for warmup in (0.0, 1.0, 2.0):
        for batch in (16, 32):
            for seed in range(3):
                raw = {"workload": "resnet50", "framework": "torch", "seed": seed, "local_batch": batch}
                add_run(tmp_path, raw | {"schedule": {"warmup_epochs": warmup}})
    printed = io.StringIO()
    html = write_report(tmp_path, console=Console(file=printed, width=200)).read_text()
    assert "Does the best warmup grow with the batch?" in html and "Does the best warmup" in printed.getvalue()
    assert "6 groups of settings, 18 runs: 18 completed" in printed.getvalue()
    assert html.index("Does the best warmup") < html.index("All settings")
    assert "images a worker</h3>" not in html  # no group has a section of its own
    home = tmp_path / "bench"
    assert {file.name for file in (home / "figures").iterdir()} == {
        f"{name}.{kind}" for name in ("warmup", "warmup-enough") for kind in ("svg", "png")
    }
    assert len((home / "tables" / "warmup.csv").read_text().splitlines()) == 1 + 6
    assert len((home / "tables" / "cells.csv").read_text().splitlines()) == 1 + 6


def test_the_report_of_several_studies_says_what_they_say_together(tmp_path: Path) -> None:
    for experiment in ("one", "two"):
        for framework in ("tensorflow", "torch"):
            for seed in range(3):
                raw = {"workload": "resnet50", "framework": framework, "seed": seed, "local_batch": 16}
                add_run(tmp_path, raw | {"experiment": experiment})
        write_json(
            tmp_path / experiment / MANIFEST, {"schema": 1, "stated": "2026-01-01", "margins": {"val_metric": 0.5}}
        )
    printed = io.StringIO()
    html = write_report(tmp_path, console=Console(file=printed, width=200)).read_text()
    assert html.index("What the studies say together") < html.index("<h2>one</h2>")
    assert "Of 2 margins" in html and "all studies: Does the framework matter?" in printed.getvalue()
    assert (tmp_path / "figures" / "across.png").exists()
    assert len((tmp_path / "tables" / "across.csv").read_text().splitlines()) == 1 + 2
    alone = write_report(tmp_path / "one", console=Console(file=io.StringIO())).read_text()
    assert "What the studies say together" not in alone
