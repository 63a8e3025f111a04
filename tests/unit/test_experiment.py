"""Experiment files: the matrix they stand for, and every mistake said before anything starts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from horovod_runner.design import Experiment, put
from horovod_runner.errors import UserError
from horovod_runner.experiment import load_experiment, runs
from horovod_runner.plain import load_yaml
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
    file.write_text(plain if isinstance(plain, str) else yaml.safe_dump(plain))
    return file


def refusal(tmp_path: Path, plain: Any) -> str:
    file = written(tmp_path, plain)
    with pytest.raises(UserError) as caught:
        runs(load_experiment(file), file)
    assert "question.yaml" in str(caught.value)
    return str(caught.value)


def test_base_times_axes_less_exclusions_in_blocks(tmp_path: Path) -> None:
    file = written(tmp_path, WHOLE)
    configs = runs(load_experiment(file), file)
    points = Counter((c.framework, c.workers, c.schedule.warmup_epochs) for c in configs)
    assert len(points) == 6 and set(points.values()) == {3}
    assert all(c.schedule.scaling == "linear_workers" and c.experiment == "question" for c in configs)
    assert len({c.run_id for c in configs}) == 18
    blocks = [[c.repeat for c in configs[i : i + 6]] for i in (0, 6, 12)]
    assert blocks == [[0] * 6, [1] * 6, [2] * 6], "a block holds every point once, so that drift hits all alike"
    order = [[(c.framework, c.workers, c.schedule.warmup_epochs) for c in configs[i : i + 6]] for i in (0, 6, 12)]
    assert order[0] != order[1] or order[1] != order[2]


def test_weak_and_strong_scaling(tmp_path: Path) -> None:
    weak = {**WHOLE, "exclude": []}
    file = written(tmp_path, weak)
    assert {(c.workers, c.global_batch) for c in runs(load_experiment(file), file)} == {(1, 16), (2, 32)}
    strong = {**weak, "scaling": "strong", "base": {"global_batch": 32}}
    file = written(tmp_path, strong)
    assert {(c.workers, c.local_batch) for c in runs(load_experiment(file), file)} == {(1, 32), (2, 16)}


def test_settings_given_on_the_command_line_replace_axes(tmp_path: Path) -> None:
    file = written(tmp_path, WHOLE)
    changed = load_experiment(file).changed({"framework": "torch", "schedule.scaling": "none", "data": "synthetic"})
    configs = runs(changed, file)
    assert {c.framework for c in configs} == {"torch"} and {c.schedule.scaling for c in configs} == {"none"}
    assert {c.data.name for c in configs} == {"synthetic"}


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


def test_every_shipped_file_is_valid_and_so_is_its_smoke_variant() -> None:
    files = sorted((ROOT / "benchmarks" / "experiments").glob("*.yaml"))
    assert files
    for file in files:
        experiment = load_experiment(file)
        assert runs(experiment, file) and runs(experiment.smoked(), file)
        assert experiment.smoke != Experiment(description="x").smoke, f"{file.name} has no smoke variant"


def test_numbers_are_read_as_people_write_them() -> None:
    for text, value in {"1e-3": 1e-3, "1E6": 1e6, "-2.5e-4": -2.5e-4, ".5e1": 5.0, "12": 12, "torch": "torch"}.items():
        assert load_yaml(text) == value and type(load_yaml(text)) is type(value)


def test_putting_at_a_path_leaves_the_rest() -> None:
    assert put({"data": "/a/folder"}, "data.image_size", 32) == {"data": {"path": "/a/folder", "image_size": 32}}
    assert put({"data": "digits"}, "data.image_size", 32) == {"data": {"name": "digits", "image_size": 32}}
    plain = {"a": {"b": 1, "c": 2}, "d": 3}
    assert put(plain, "a.b", 9) == {"a": {"b": 9, "c": 2}, "d": 3} and plain["a"] == {"b": 1, "c": 2}
