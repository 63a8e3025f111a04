"""Named arms and margins in experiment files: decoded, crossed with axes, refused with a line, and written down."""

from __future__ import annotations

from pathlib import Path

import pytest

from horovod_runner.errors import UserError
from horovod_runner.matrix.experiment import load_experiment, runs
from horovod_runner.matrix.manifest import write_down
from horovod_runner.results.store import Store, read_manifest
from tests.made_results import add_run

ARMED = """description: what each remedy changes
base: {workload: resnet50, local_batch: 64, epochs: 3}
axes: {framework: [torch, tensorflow], seed: [0, 1]}
arms:
  base: {}
  square root: {schedule.scaling: sqrt_samples}
  LARS, ghost: {optimizer: {name: lars, learning_rate: 1.0}, batch_norm: ghost, ghost_batch: 16}
margins: {val_metric: 0.02}
smoke: {arms: [base, square root], axes: {seed: [0]}}
"""


def written(folder: Path, text: str) -> Path:
    """Write an experiment file."""
    file = folder / "armed.yaml"
    file.write_text(text)
    return file


def test_arms_cross_with_axes_and_carry_their_name(tmp_path: Path) -> None:
    file = written(tmp_path, ARMED)
    made = runs(load_experiment(file), file)
    assert len(made) == 3 * 2 * 2
    assert [run.arm for run in made[::4]] == ["base", "square root", "LARS, ghost"]
    settings = {run.arm: (run.schedule.scaling, run.optimizer.name, run.ghost_batch) for run in made}
    assert settings == {
        "base": ("none", "sgd", None),
        "square root": ("sqrt_samples", "sgd", None),
        "LARS, ghost": ("none", "lars", 16),
    }


def test_the_smoke_variant_keeps_the_arms_that_it_names(tmp_path: Path) -> None:
    file = written(tmp_path, ARMED)
    assert [run.arm for run in runs(load_experiment(file).smoked(), file)] == ["base"] * 2 + ["square root"] * 2


def test_a_setting_of_the_command_line_goes_before_the_arms(tmp_path: Path) -> None:
    file = written(tmp_path, ARMED)
    changed = load_experiment(file).changed({"arm": "LARS, ghost", "batch_norm": "local", "ghost_batch": None})
    left = {(run.arm, run.batch_norm, run.ghost_batch) for run in runs(changed, file)}
    assert left == {("LARS, ghost", "local", None)}
    with pytest.raises(UserError, match="there is no arm 'x'; choose one of base, square root, LARS, ghost"):
        load_experiment(file).changed({"arm": "x"})


JOBS = """description: two jobs, each with settings of its own
base: {width: 8}
arms:
  a: {workload: resnet50, epochs: 8, global_batch: 64}
  b: {workload: unet, epochs: 16, global_batch: 16}
axes: {framework: [torch], workers: [1, 2]}
scaling: strong
smoke: {base: {steps: 3}}
"""


def test_arms_of_another_job_than_the_command_lines_go(tmp_path: Path) -> None:
    file = written(tmp_path, JOBS)
    left = runs(load_experiment(file).changed({"workload": "unet"}), file)
    assert [(run.arm, run.workload, run.epochs, run.local_batch) for run in left] == [
        ("b", "unet", 16, n) for n in (16, 8)
    ]
    both = runs(load_experiment(file).changed({"workload": "vgg16", "data.image_size": 32}), file)
    assert {(run.arm, run.workload) for run in both} == {("a", "vgg16"), ("b", "vgg16")}, "none is of it"
    shorter = runs(load_experiment(file).changed({"epochs": 8}), file)
    assert {(run.arm, run.epochs) for run in shorter} == {("a", 8), ("b", 8)}, "all jobs, in so many epochs"


def test_steps_stand_in_place_of_epochs_and_one_batch_in_place_of_the_other(tmp_path: Path) -> None:
    file = written(tmp_path, JOBS)
    for short in (load_experiment(file).smoked(), load_experiment(file).changed({"steps": 3})):
        assert {(run.steps, run.epochs) for run in runs(short, file)} == {(3, None)}
    local = runs(load_experiment(file).changed({"local_batch": 4}), file)
    assert {(run.workers, run.local_batch, run.global_batch) for run in local} == {(1, 4, 4), (2, 4, 8)}
    plain = written(tmp_path, "description: x\nbase: {epochs: 2}\naxes: {framework: [torch]}\n")
    assert [run.steps for run in runs(load_experiment(plain).changed({"steps": 3}), plain)] == [3]


def test_an_arm_can_be_excluded(tmp_path: Path) -> None:
    text = ARMED + "exclude: [{when: {arm: square root, framework: torch}, because: it is known}]\n"
    file = written(tmp_path, text)
    assert len(runs(load_experiment(file), file)) == 10


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("sqrt_samples", "sqrt_sample", ":6: schedule.scaling: should be"),
        ("ghost_batch: 16", "ghost_bach: 16", ":7: ghost_bach: is not a setting of a run; write ghost_batch"),
        ("base: {}", "base: {seed: 3}", ":5: arms.base.seed: makes no arm; make it an axis"),
        (
            "seed: [0, 1]}",
            "seed: [0, 1], schedule.scaling: [none]}",
            ":6: arms.square root.schedule.scaling: axes.schedule",
        ),
        ("arms: [base, square root]", "arms: [bas]", ':9: smoke.arms: "bas" is not an arm; choose one of base'),
        ("epochs: 3}", "epochs: 3, arm: x}", ":2: base.arm: is the name of an arm"),
        ("val_metric: 0.02", "val_metric: -1", ":8: margins.val_metric: should be above 0"),
        ("val_metric: 0.02", "accuracy: 0.02", ":8: margins.accuracy"),
        ("val_metric: 0.02", "steps_to_target_ratio: 0.9", ":8: margins: steps_to_target_ratio is a factor"),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in ARMED
    file = written(tmp_path, ARMED.replace(old, new))
    with pytest.raises(UserError) as refused:
        runs(load_experiment(file), file)
    assert f"armed.yaml{said}" in str(refused.value)


def test_what_is_asked_is_written_down_before_the_runs(tmp_path: Path) -> None:
    file = written(tmp_path, ARMED)
    write_down(load_experiment(file), file, Store(tmp_path))
    manifest = read_manifest(tmp_path / "armed")
    assert manifest["margins"] == {"val_metric": 0.02} and list(manifest["arms"]) == [
        "base",
        "square root",
        "LARS, ghost",
    ]
    stated = manifest["stated"]
    add_run(tmp_path, {"framework": "torch", "experiment": "armed"})
    write_down(load_experiment(file), file, Store(tmp_path))  # the same margins: it goes on
    assert read_manifest(tmp_path / "armed")["stated"] == stated


def test_margins_are_not_changed_once_runs_began(tmp_path: Path) -> None:
    file = written(tmp_path, ARMED)
    write_down(load_experiment(file), file, Store(tmp_path))
    wider = written(tmp_path, ARMED.replace("0.02", "0.05"))
    write_down(load_experiment(wider), wider, Store(tmp_path))  # nothing has begun
    add_run(tmp_path, {"framework": "torch", "experiment": "armed"})
    late = written(tmp_path, ARMED.replace("0.02", "0.5"))
    with pytest.raises(UserError, match=r"margins: are val_metric: 0.5, and the runs in .* begun with"):
        write_down(load_experiment(late), late, Store(tmp_path))
    assert read_manifest(tmp_path / "armed")["margins"] == {"val_metric": 0.05}


def test_a_grid_that_is_changed_once_runs_began_is_an_amendment_with_its_date(tmp_path: Path) -> None:
    file = written(tmp_path, ARMED.replace("epochs: 3", "epochs: 2"))
    write_down(load_experiment(file), file, Store(tmp_path))
    file = written(tmp_path, ARMED)
    write_down(load_experiment(file), file, Store(tmp_path))
    assert "amendments" not in read_manifest(tmp_path / "armed"), "nothing had begun"
    stated = read_manifest(tmp_path / "armed")["stated"]
    add_run(tmp_path, {"framework": "torch", "experiment": "armed"})
    late = written(tmp_path, ARMED.replace("seed: [0, 1]}", "seed: [0, 1, 2]}"))
    for _ in range(2):  # the second time there is no change, and no amendment
        write_down(load_experiment(late), late, Store(tmp_path))
    manifest = read_manifest(tmp_path / "armed")
    assert manifest["stated"] == stated and manifest["axes"]["seed"] == [0, 1, 2]
    (amendment,) = manifest["amendments"]
    assert amendment["was"] == {"axes": {"framework": ["torch", "tensorflow"], "seed": [0, 1]}}
    assert stated <= amendment["date"]
