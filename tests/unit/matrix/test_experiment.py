"""Experiment files: the matrix they stand for, and every mistake said before anything starts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from horovod_runner.config.defaults import put
from horovod_runner.config.schema import RunConfig
from horovod_runner.errors import UserError
from horovod_runner.matrix.design import Experiment
from horovod_runner.matrix.estimate import planned_steps
from horovod_runner.matrix.experiment import load_experiment, runs
from horovod_runner.training.schedule import scaling_factor
from horovod_runner.verbs.matrix import read
from tests.conftest import ROOT

WHOLE: dict[str, Any] = {
    "description": "a question",
    "base": {"workload": "resnet50", "local_batch": 16, "schedule": {"scaling": "linear_workers"}},
    "axes": {"framework": ["torch", "tensorflow"], "workers": [1, 2], "schedule.warmup_epochs": [0, 5]},
    "repeats": 3,
    "exclude": [{"when": {"workers": 2, "framework": "tensorflow"}, "because": "a reason"}],
}


def written(tmp_path: Path, plain: Any) -> Path:
    file = tmp_path / "question.yaml"
    file.write_text(plain if isinstance(plain, str) else yaml.safe_dump(plain, sort_keys=False))
    return file


def refusal(tmp_path: Path, plain: Any) -> str:
    file = written(tmp_path, plain)
    with pytest.raises(UserError) as caught:
        runs(load_experiment(file), file)
    assert "question.yaml" in str(caught.value)
    return str(caught.value)


def arms(configs: list[RunConfig]) -> list[tuple[str, int, float]]:
    return [(c.framework, c.workers, c.schedule.warmup_epochs) for c in configs]


def test_base_times_axes_less_exclusions_in_blocks(tmp_path: Path) -> None:
    file = written(tmp_path, WHOLE)
    experiment = load_experiment(file)
    configs = runs(experiment, file)
    points = Counter(arms(configs))
    assert len(points) == 6 and set(points.values()) == {3}
    assert all(c.schedule.scaling == "linear_workers" and c.experiment == "question" for c in configs)
    assert len({c.run_id for c in configs}) == 18
    blocks = [[c.repeat for c in configs[i : i + 6]] for i in (0, 6, 12)]
    assert blocks == [[0] * 6, [1] * 6, [2] * 6], "a block holds every point once, so that drift hits all alike"
    assert experiment.left_out() == [("a reason", 2)]


def test_every_block_of_repeats_is_shuffled_the_same_way_every_time(tmp_path: Path) -> None:
    file = written(tmp_path, {**WHOLE, "repeats": 20})
    configs = runs(load_experiment(file), file)
    blocks = [arms(configs[i : i + 6]) for i in range(0, 120, 6)]
    once = written(tmp_path, {**WHOLE, "repeats": 1})
    in_order = arms(runs(load_experiment(once), once))
    assert in_order == sorted(in_order, key=lambda arm: (arm[0] == "tensorflow", *arm[1:])), "one block: file's order"
    assert blocks[0] != in_order, "drift would always hit the same arm first"
    assert len({block[0] for block in blocks}) >= 4, "no arm is always first"
    file = written(tmp_path, {**WHOLE, "repeats": 20})
    assert [c.run_id for c in runs(load_experiment(file), file)] == [c.run_id for c in configs]
    other = file.rename(tmp_path / "another.yaml")
    assert arms(runs(load_experiment(other), other)) != arms(configs), "another experiment has another order"


def test_weak_and_strong_scaling(tmp_path: Path) -> None:
    weak = {**WHOLE, "exclude": []}
    file = written(tmp_path, weak)
    assert {(c.workers, c.global_batch) for c in runs(load_experiment(file), file)} == {(1, 16), (2, 32)}
    strong = {**weak, "scaling": "strong", "base": {"global_batch": 32}}
    file = written(tmp_path, strong)
    assert {(c.workers, c.local_batch) for c in runs(load_experiment(file), file)} == {(1, 32), (2, 16)}


def test_an_exclusion_keeps_what_it_does_not_hold_for(tmp_path: Path) -> None:
    """Compute-only workers at one seed alone: what is timed need not be timed at every place of the matrix."""
    axes = {"framework": ["torch"], "strategy": ["fused", "none"], "seed": [0, 1, 2], "width": [8, 16]}
    kept = {"when": {"strategy": "none"}, "unless": {"seed": 1, "width": 8}, "because": "speed asks no seeds"}
    file = written(tmp_path, {"description": "x", "axes": axes, "exclude": [kept]})
    experiment = load_experiment(file)
    compute_only = [c for c in runs(experiment, file) if c.strategy == "none"]
    assert [(c.seed, c.width) for c in compute_only] == [(1, 8)]
    assert len(runs(experiment, file)) == 6 + 1 and experiment.left_out() == [("speed asks no seeds", 5)]


def test_settings_given_on_the_command_line_replace_axes(tmp_path: Path) -> None:
    file = written(tmp_path, WHOLE)
    changed = load_experiment(file).changed({"framework": "torch", "schedule.scaling": "none", "data": "synthetic"})
    configs = runs(changed, file)
    assert {c.framework for c in configs} == {"torch"} and {c.schedule.scaling for c in configs} == {"none"}
    assert {c.data.name for c in configs} == {"synthetic"}
    assert changed.left_out() == [], "what is excluded elsewhere is not excluded here"
    held = load_experiment(file).changed({"framework": "tensorflow"})
    assert {c.workers for c in runs(held, file)} == {1}, "an exclusion also holds for a value that was set"
    assert load_experiment(file).changed({"base.framework": "torch"}) == load_experiment(file).changed(
        {"framework": "torch"}
    )
    strong = load_experiment(file).changed({"scaling": "strong"})
    assert {c.scaling for c in runs(strong, file)} == {"strong"}


def test_a_whole_group_does_not_undo_an_axis_inside_it(tmp_path: Path) -> None:
    axes = {"data.image_size": [32, 64], "data": ["digits", "synthetic"], "framework": ["torch"]}
    file = written(tmp_path, {"description": "x", "axes": axes})
    points = {(c.data.name, c.data.image_size) for c in runs(load_experiment(file), file)}
    assert points == {("digits", 32), ("digits", 64), ("synthetic", 32), ("synthetic", 64)}


MANY = """\
description: many mistakes
base:
  workload: alexnet
  optimizer: {name: sgd, momentun: 0.9}
  local_batch: 16
  local_batch: 17
  seed: x
axes:
  framework:
    - torch
    - jax
  workers: [1, 2, -3]
exclude:
  - when: {nothing: 1}
    because: none
repeat: 3
smoke:
  base: {steps: 2}
  axes: {seed: [0]}
"""


def test_all_mistakes_at_once_each_once_with_line_key_and_remedy(tmp_path: Path) -> None:
    lines = refusal(tmp_path, MANY).splitlines()
    file = tmp_path / "question.yaml"
    found = {int(line.split(":")[1]): line.split(": ")[1] for line in lines if line.startswith(f"{file}:")}
    assert found == {
        3: "workload",
        4: "optimizer.momentun",
        6: "base.local_batch",
        7: "seed",
        11: "framework",
        12: "workers",
        14: "exclude.0.when.nothing",
        16: "repeat",
        19: "smoke.axes.seed",
    }
    assert len(lines) == len(found), "each once, not once a run"
    assert list(found) == sorted(found)
    assert "write optimizer.momentum" in lines[1] and "write repeats" in lines[7] and '"jax"' in lines[4]


def test_mistakes_of_the_smoke_variant_and_of_options_have_their_own_origin(tmp_path: Path) -> None:
    text = "description: x\naxes:\n  framework: [torch]\n  workers: [1, 2]\nsmoke:\n  base:\n    seed: -1\n"
    file = written(tmp_path, text + "  axes:\n    workers: [1,\n      0]\n")
    experiment = load_experiment(file)
    assert len(runs(experiment, file)) == 2
    with pytest.raises(UserError) as caught:
        runs(experiment.smoked().changed({"width": "wide", "framework": "jax", "data.siez": 3}), file)
    said = {line.removeprefix(str(file)).rpartition(": ")[0] for line in str(caught.value).splitlines()}
    assert said == {":7: seed", ":10: workers", ": --set width: width", ": --set framework: framework"} | {
        ": --set data.siez: data.siez"
    }


def test_without_a_small_variant_smoke_does_not_do_the_whole_study(tmp_path: Path) -> None:
    text = "description: x\nbase: {steps: 500}\naxes:\n  framework: [torch]\n  seed: [0, 1]\n  data.name: [digits]\n"
    file = written(tmp_path, text + "repeats: 3\n")
    with pytest.raises(UserError) as caught:
        read(file, {}, smoke=True)
    proposed = "smoke: {base: {steps: 10}, axes: {seed: [0]}, repeats: 1}"
    assert (
        str(caught.value) == f"{file}: smoke: is missing, so all 6 runs would be done; add it, for example {proposed}"
    )
    file.write_text(file.read_text() + proposed)
    assert [config.steps for config in read(file, {}, smoke=True)[1]] == [10], "the remedy can be followed"


def test_a_base_may_name_settings_by_their_path(tmp_path: Path) -> None:
    text = (
        "description: x\nbase:\n  optimizer.momentum: 0.8\n  optimizer: {learning_rate: 0.5}\n  data.image_size: 48\n"
    )
    file = written(tmp_path, text + "axes: {framework: [torch]}\n")
    (config,) = runs(load_experiment(file), file)
    assert (config.optimizer.momentum, config.optimizer.learning_rate, config.data.image_size) == (0.8, 0.5, 48)
    file.write_text(file.read_text().replace("0.8", "8"))
    with pytest.raises(UserError, match=r":3: optimizer\.momentum: should be below 1"):
        runs(load_experiment(file), file)


def test_a_thousand_mistakes_are_counted(tmp_path: Path) -> None:
    plain = {"description": "x", "base": {"framework": "torch"}, "axes": {"seed": list(range(-1000, 0))}}
    lines = refusal(tmp_path, plain).splitlines()
    assert len(lines) == 21 and lines[-1] == "… and 980 more"


BILLION = "\n".join(["a0: &a0 [1, 1]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9))])
MERGED = "\n".join(["a0: &a0 {b: 1}", *(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 9))])


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BILLION, ["stands for more than"]),
        (MERGED, ["stands for more than"]),
        ("description: &x [*x]", [":1: ", "holds itself"]),
        ("[" * 100_000, ["nests"]),
        ("{description: x, repeats: 10000, axes: {seed: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}}", ["100000 runs"]),
        ("x" * 2_000_000, ["larger"]),
        ("a: 1\nseed: " + "9" * 5000, [":2: ", "fix it"]),
        ("a: 1\nb: !!python/object:os.system x", [":2: ", "write text"]),
        ("a: 1\n\n? [b]\n: 3", [":3: ", "write it as a word"]),
    ],
)
def test_texts_that_stand_for_too_much_or_for_nothing(tmp_path: Path, text: str, words: list[str]) -> None:
    message = refusal(tmp_path, text)
    assert all(word in message for word in words), message[:300]
    assert len(message) < 3000


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"axis": {}}, ["axis", "axes"]),
        ({"axes": {"framewrok": ["torch"]}}, ["framewrok"]),
        ({"axes": {"framework": ["torch", "jax"]}}, ["framework", "jax"]),
        ({"axes": {"framework": ["torch", "torch"]}}, ["torch", "twice"]),
        ({"scaling": "sideways"}, ["scaling"]),
        ({"repeats": 0}, ["repeats"]),
        ({"description": ""}, ["description"]),
        (
            {"axes": {"framework": ["torch"]}, "exclude": [{"when": {"framework": "torch"}, "because": "x"}]},
            ["every run"],
        ),
        ({"exclude": [{"when": {"worker": 1}, "because": "x"}]}, ["exclude.0.when.worker", "not an axis", "workers"]),
        ({"exclude": [{"when": {"workers": 3}, "because": "x"}]}, ["exclude.0.when.workers", "3", "one of 1, 2"]),
        ({"exclude": [{"when": {}, "because": "x"}]}, ["exclude.0.when"]),
        (
            {"exclude": [{"when": {"workers": 1}, "unless": {"worker": 1}, "because": "x"}]},
            ["exclude.0.unless.worker", "not an axis"],
        ),
        ({"axes": {"framework": []}}, ["axes.framework"]),
        ({"exclude": [], "axes": {"framework": ["torch"], "data": ["digits", {"name": "digits"}]}}, ["axes", "twice"]),
        ({"axes": {"framework": ["torch"], "repeat": [1, 2]}}, ["axes.repeat", "repeats"]),
        ({"base": {"scaling": "strong"}}, ["base.scaling", "beside base"]),
        ({"smoke": {"axes": {"epochs": [1]}}}, ["smoke.axes.epochs", "smoke.base"]),
        (
            {"base": {"workload": ["unet"], "data": {"name": ["x"]}, "optimizer": {"name": {}}}},
            ["workload", "data.name"],
        ),
        ({"base": {"local_batch": 1000}}, ["local_batch", "1437 training examples"]),
        ({"exclude": [{"when": {"workers": 1}}]}, ["because"]),
        ({"axes": {"framework": ["torch"], "workload.x": [1]}}, ["workload"]),
    ],
)
def test_mistakes(tmp_path: Path, change: dict[str, Any], words: list[str]) -> None:
    message = refusal(tmp_path, {**WHOLE, **change})
    assert all(word in message for word in words), message


@pytest.mark.parametrize("text", ["", "- a\n- b", "a: [1", "description: x\n\tbase: 1", "\x00"])
def test_what_is_no_experiment(tmp_path: Path, text: str) -> None:
    refusal(tmp_path, text)


EXPERIMENTS = sorted((ROOT / "benchmarks" / "experiments").glob("*.yaml"))


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_every_shipped_file_is_valid_and_its_smoke_variant_is_small(file: Path) -> None:
    """Nothing is opened: the folders that some of them name are not here."""
    experiment = load_experiment(file)
    assert runs(experiment, file)
    smoke = runs(experiment.smoked(), file)
    assert experiment.smoke != Experiment(description="x").smoke, "it has no smoke variant"
    assert {c.framework for c in smoke} == {"tensorflow", "torch"} and {c.workers for c in smoke} <= {1, 2}
    training = [c for c in smoke if c.measure == "training"]  # loading alone takes no time
    assert len(training) <= 12 * experiment.at_once and all((planned_steps(c) or 1000) <= 24 for c in smoke), (
        "it takes minutes on two cores"
    )
    assert "smoke variant takes" in " ".join(experiment.description.split()) or file.stem == "bench"


@pytest.mark.parametrize(
    ("name", "workers", "local_batches", "global_batches"),
    [
        ("talk-strong", [1, 2, 4, 8], [128, 256, 512, 1024], [1024]),
        ("talk-weak", [1, 2, 4, 8], [128], [128, 256, 512, 1024]),
        ("talk-unet-weak", [1, 2, 4, 8], [16], [16, 32, 64, 128]),
        ("talk-unet-strong", [1, 2, 4, 8], [2, 4, 8, 16], [16]),
        ("goyal", [2**i for i in range(3, 12)], [32], [2**i for i in range(8, 17)]),
        ("mccord", [60, 240], [128], [7680, 30720]),
        ("lee", [2**i for i in range(9)], [2**i for i in range(11)], [256, 512, 1024]),
        ("horovod-512", [1, 4, 16, 64, 128, 256, 512], [64], [64, 256, 1024, 4096, 8192, 16384, 32768]),
    ],
)
def test_presets_have_the_batches_of_their_papers(
    name: str, workers: list[int], local_batches: list[int], global_batches: list[int]
) -> None:
    file = ROOT / "benchmarks" / "experiments" / f"{name}.yaml"
    configs = runs(load_experiment(file), file)
    assert sorted({c.workers for c in configs}) == workers
    assert sorted({c.local_batch or 0 for c in configs}) == local_batches
    assert sorted({c.global_batch or 0 for c in configs}) == global_batches


@pytest.mark.parametrize(
    ("name", "batch", "peak"),
    [("goyal", 256, 0.1), ("goyal", 8192, 3.2), ("mccord", 7680, 0.75), ("mccord", 30720, 3.0)],
)
def test_presets_reach_the_rates_of_their_papers(name: str, batch: int, peak: float) -> None:
    """Goyal et al., section 2.1: 0.1 x batch / 256; McCord and Dash: 0.0125 x workers, of 60 and of 240."""
    file = ROOT / "benchmarks" / "experiments" / f"{name}.yaml"
    scaled = [c for c in runs(load_experiment(file), file) if c.global_batch == batch and c.schedule.scaling != "none"]
    for config in scaled:
        factor = scaling_factor(config.schedule, workers=config.workers, global_batch=batch)
        assert (config.optimizer.learning_rate or 0) * factor == pytest.approx(peak)
    assert scaled


def test_putting_at_a_path_leaves_the_rest() -> None:
    assert put({"data": "/a/folder"}, "data.image_size", 32) == {"data": {"path": "/a/folder", "image_size": 32}}
    assert put({"data": "digits"}, "data.image_size", 32) == {"data": {"name": "digits", "image_size": 32}}
    plain = {"a": {"b": 1, "c": 2}, "d": 3}
    assert put(plain, "a.b", 9) == {"a": {"b": 9, "c": 2}, "d": 3} and plain["a"] == {"b": 1, "c": 2}
