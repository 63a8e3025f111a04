"""A saved state is taken over whole or not at all, and what does not fit is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from benchmarks.architecture import Arrays
from horovod_runner.config.schema import RunConfig, decode
from horovod_runner.errors import UserError
from horovod_runner.results.checkpoint import Checkpoints, Shapes, take_over
from horovod_runner.training.state import expected_shapes

TOTAL = 20


def _config(**changes: Any) -> RunConfig:
    return decode({"framework": "torch", "workload": "unet", "width": 4, "steps": TOTAL, **changes}, "test")


def _shapes(config: RunConfig) -> Shapes:
    architecture = config.job.architecture(width=config.width or 0, channels=1, classes=11, image_size=64)
    return expected_shapes(architecture, config)


def _arrays(config: RunConfig) -> Arrays:
    generator = np.random.default_rng(0)
    return {name: generator.normal(size=shape) for name, shape in _shapes(config).items()}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A run's folder with states after 4 and 8 steps."""
    config = _config()
    for step in (4, 8):
        Checkpoints(tmp_path / "checkpoints", keep=2).save(step, _arrays(config), config)
    return tmp_path


def _take(path: Path, total: int = TOTAL, **changes: Any) -> Any:
    config = _config(**changes)
    return take_over(str(path), config, _shapes(config), total)


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("", 8),
        ("checkpoints", 8),
        ("checkpoints/step-00000004.safetensors", 4),
        ("checkpoints/step-00000004.json", 4),
    ],
)
def test_a_state_is_found_by_its_run_or_its_file(saved: Path, name: str, step: int) -> None:
    state = _take(saved / name, framework="tensorflow", workers=2)
    assert state.step == step
    assert all(np.array_equal(state.arrays[key], array) for key, array in _arrays(_config()).items())
    assert any("framework: torch, not tensorflow" in text for text in state.differences)
    assert any("workers: 1, not 2" in text for text in state.differences)


def test_a_run_goes_on_from_a_state_that_was_saved_before_a_setting_came(saved: Path) -> None:
    """The setting stands at its default then, and the run has kept its name."""
    file = saved / "checkpoints" / "step-00000008.json"
    description = json.loads(file.read_text())
    del description["config"]["noise_scale"], description["config"]["allreduce"]["yield_when_idle"]
    file.write_text(json.dumps(description))
    states, config = Checkpoints(saved / "checkpoints", keep=2), _config()
    assert states.load(8, config, _shapes(config)).keys() == _arrays(config).keys()
    assert _take(saved).differences == ()
    with pytest.raises(UserError, match="belongs to another run: its allreduce is"):
        states.load(8, _config(allreduce={"yield_when_idle": False}), _shapes(config))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"workload": "resnet50"}, "its workload is unet, this run's is resnet50"),
        ({"width": 8}, "its width is 4, this run's is 8"),
        ({"optimizer": {"name": "sgd"}}, "its optimizer.name is adam, this run's is sgd"),
        ({"precision": "float64"}, "its precision is float32, this run's is float64"),
    ],
)
def test_a_state_of_another_meaning_is_refused(saved: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        _take(saved, **changes)


def _rewrite(folder: Path, change: Any, whole: bool = True) -> None:
    """Change the newest state's arrays; `whole` gives it a matching digest, as if it had been saved so."""
    import hashlib

    file = sorted(folder.glob("checkpoints/*.safetensors"))[-1]
    arrays = _arrays(_config())
    change(arrays)
    file.write_bytes(save(arrays))
    if whole:
        description = json.loads(file.with_suffix(".json").read_text())
        description["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
        file.with_suffix(".json").write_text(json.dumps(description))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a.pop("head.bias"), r"lacks head\.bias"),
        (lambda a: a.update(stray=np.zeros(1)), "holds stray, which this run does not have"),
        (lambda a: a.update({"head.bias": np.zeros(12)}), r"head\.bias has shape \(12,\), and this run's \(11,\)"),
        (lambda a: [a.pop("head.bias"), a.pop("head.weight")], r"lacks head\.bias \(1 more arrays differ\)"),
    ],
)
def test_arrays_that_do_not_fit_are_named(saved: Path, change: Any, words: str) -> None:
    _rewrite(saved, change)
    with pytest.raises(UserError, match=words):
        _take(saved)


def test_an_altered_a_cut_and_a_missing_file(saved: Path) -> None:
    _rewrite(saved, lambda arrays: arrays["head.bias"].__iadd__(1), whole=False)
    with pytest.raises(UserError, match=r"step-00000008\.safetensors was cut short or altered; choose another state"):
        _take(saved)
    file = saved / "checkpoints" / "step-00000008.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(UserError, match="cut short or altered"):
        _take(saved)
    file.unlink()
    with pytest.raises(UserError, match="cut short or altered"):
        _take(saved)
    with pytest.raises(UserError, match="holds no saved state"):
        _take(saved / "nowhere")


def test_a_state_beyond_the_end_is_refused(saved: Path) -> None:
    with pytest.raises(UserError, match="has 8 steps behind it, and this run is to have 8; give more steps"):
        _take(saved, total=8)


def test_the_same_run_refuses_any_other_setting(saved: Path) -> None:
    config = _config(seed=1)
    with pytest.raises(UserError, match="its seed is 0, this run's is 1; remove the checkpoint"):
        Checkpoints(saved / "checkpoints", 2).load(8, config, _shapes(config))
