"""A run's id: what differs from the defaults and the schema's number, so that nothing is renamed unawares."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.data import SOURCES
from benchmarks.vgg16 import spec as vgg16
from benchmarks.workloads import WORKLOADS
from horovod_runner.config import identity
from horovod_runner.config.defaults import put, put_all
from horovod_runner.config.diagnostics import WrongSettings
from horovod_runner.config.frameworks import one_with
from horovod_runner.config.identity import differing
from horovod_runner.config.schema import RunConfig, decode
from horovod_runner.config.settings import AllreduceConfig, Settings
from tests.unit.config import pinned

# Values of settings that may stand together in any run, so that whole descriptions can be drawn.
LEAVES: dict[str, list[Any]] = {
    "experiment": ["bench", "weak"],
    "arm": [None, "tuned"],
    "data.examples": [None, 1024, 500],
    "data.image_size": [None, 64, 256],
    "data.channels": [None, 1, 3],
    "width": [None, 8, 32, 64],
    "optimizer.momentum": [0.9, 0.0],
    "optimizer.learning_rate": [None, 0.0125, 0.002, 0.5],
    "optimizer.name": [None, "sgd", "adam", "lars"],
    "schedule.warmup_epochs": [0, 5, 5.5],
    "schedule.milestones": [[30.0, 60.0, 80.0], [1.0]],
    "allreduce.fusion_mb": [None, 0.0, 64.0],
    "checkpoint.every": [None, 0, 7],
    "cluster.rate_mbit": [None, 200.0],
    "target.metric": [None, 0.9],
    "workers": [1, 2, 4],
    "virtual_workers": [1, 2],
    "noise_scale": [False],
    "seed": [0, 3],
}
BATCHES: list[dict[str, Any]] = [{}, {"local_batch": 8}, {"local_batch": 16}, {"global_batch": 64}]
LENGTHS: list[dict[str, Any]] = [{}, {"epochs": 3}, {"epochs": 4}, {"steps": 3}]
DATA: list[dict[str, Any]] = [{}, {"data.path": "some/folder"}, {"data.name": "synthetic"}]


def made(**settings: Any) -> RunConfig:
    return decode({"framework": "torch", **settings}, "test")


@st.composite
def descriptions(draw: st.DrawFn) -> RunConfig:
    chosen = draw(st.lists(st.sampled_from(sorted(LEAVES)), unique=True, max_size=6))
    settings = {path: draw(st.sampled_from(LEAVES[path])) for path in chosen}
    for kinds in (BATCHES, LENGTHS, DATA):
        settings |= draw(st.sampled_from(kinds))
    if settings.get("optimizer.name", ...) is None:
        del settings["optimizer.name"]
    workload = draw(st.sampled_from(sorted(WORKLOADS)))
    return made(**put_all({"framework": one_with(workload), "workload": workload}, settings))


@given(descriptions())
def test_what_differs_from_the_defaults_is_the_whole_description(config: RunConfig) -> None:
    """So two runs that differ in anything have different ids, and a default that is written out is no difference."""
    short = differing(config)
    assert decode(put_all({}, short), "short") == config
    for path in short:
        others = put_all({}, {key: value for key, value in short.items() if key != path})
        with contextlib.suppress(WrongSettings):
            assert decode(others, "shorter") != config, f"{path} need not be said"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, {}),
        ({"workload": "vgg16", "classifier": "small", "width": 64}, {"workload": "vgg16"}),
        ({"workload": "vgg16", "classifier": "full"}, {"workload": "vgg16", "classifier": "full"}),
        ({"workload": "unet", "optimizer": {"name": "sgd"}}, {"workload": "unet", "optimizer.name": "sgd"}),
        ({"optimizer": {"name": "adam", "learning_rate": 0.001}}, {"optimizer.name": "adam"}),
        ({"workers": 4, "global_batch": 64}, {"workers": 4}),
        ({"workers": 4, "global_batch": 32}, {"workers": 4, "local_batch": 8}),
        ({"data": {"path": "x", "name": "image_folder", "image_size": 224}}, {"data.path": "x"}),
        ({"epochs": 3, "schedule": {"warmup_epochs": 5}}, {"schedule.warmup_epochs": 5.0}),
        ({"steps": 3}, {"steps": 3}),
    ],
)
def test_only_what_differs_is_said(settings: dict[str, Any], said: dict[str, Any]) -> None:
    assert differing(made(**settings)) == {"framework": "torch", **said}


class LaterAllreduce(AllreduceConfig):
    """The group as a later version has it: with one more setting."""

    chunk_mb: float | None = None


class Sharpness(Settings):
    """A group that only a later version has."""

    every: int = 0


class Later(RunConfig):
    """A run as a later version has it."""

    allreduce: LaterAllreduce = LaterAllreduce()
    sharpness: Sharpness = Sharpness()
    compiled: bool = False


@pytest.mark.parametrize("settings", [{}, {"workload": "unet", "workers": 2, "allreduce": {"cycle_ms": 2.0}}])
def test_a_new_setting_renames_nothing(settings: dict[str, Any]) -> None:
    plain = {"framework": "torch", **settings}
    later = Later.model_validate(plain)
    assert later.run_id == decode(plain, "test").run_id
    ids = {Later.model_validate(put(plain, path, value)).run_id for path, value in NEW.items()}
    assert len(ids | {later.run_id}) == 4, "each of them makes another run"


NEW = {"allreduce.chunk_mb": 4.0, "sharpness.every": 2, "compiled": True}


def test_the_schemas_number_renames_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    before = made().run_id
    assert made().run_id == before
    monkeypatch.setattr(identity, "SCHEMA", identity.SCHEMA + 1)
    assert made().run_id != before and made().run_id.rpartition("-")[0] == before.rpartition("-")[0]


def test_ids_are_what_they_were() -> None:
    """Results on many disks have these names: who changes how they are made raises the schema's number."""
    assert identity.SCHEMA == 1
    assert made().run_id == "resnet50-torch-n1-b16-s0r0-d8b20d833b"
    schedule = {"warmup_epochs": 5, "milestones": [2.0]}
    assert made(workload="vgg16", workers=4, schedule=schedule).run_id == "vgg16-torch-n4-b16-s0r0-4466ae5650"


def test_every_default_is_the_pinned_one() -> None:
    assert not pinned.complaints(json.loads(pinned.FILE.read_text()), pinned.current(), identity.SCHEMA)


OLD = {"schema": 3, "defaults": {"run: seed": 0, "workload unet: width": 32}}


@pytest.mark.parametrize(
    ("defaults", "schema", "words"),
    [
        ({}, 3, []),
        ({"workload unet: width": 16}, 3, ["workload unet: width was 32 and is 16", "raise SCHEMA", "pinned"]),
        ({"run: seed": "gone"}, 3, ["run: seed was 0 and is 'gone'", "raise SCHEMA"]),
        ({"run: compiled": False}, 3, ["run: compiled: new", "see that with it runs are what they were"]),
        ({"workload unet: width": 16}, 4, ["the schema is 4", "of 3", "write them anew"]),
        ({}, 4, ["the schema is 4", "of 3", "write them anew"]),
    ],
)
def test_what_has_to_be_done_about_a_default_is_said(defaults: dict[str, Any], schema: int, words: list[str]) -> None:
    now = {key: value for key, value in {**OLD["defaults"], **defaults}.items() if value != "gone"}
    said = " ".join(pinned.complaints(OLD, now, schema))
    assert bool(said) is bool(words) and all(word in said for word in words), said


def test_a_changed_default_is_seen_wherever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    before = pinned.current()
    unet, digits = WORKLOADS["unet"], SOURCES["digits"]
    monkeypatch.setitem(WORKLOADS, "unet", replace(unet, learning_rates={**unet.learning_rates, "lamb": 0.1}, width=8))
    monkeypatch.setitem(SOURCES, "digits", replace(digits, examples=100, image_size=64))
    monkeypatch.setattr(vgg16, "default_classifier", lambda image_size: "full")
    now = pinned.current()
    assert {key for key in before if now[key] != before[key]} == {
        "workload unet: learning rate of lamb",
        "workload unet: width",
        "source digits: image_size",
        "source digits: examples",
        "workload resnet50: data.image_size",
        "workload vgg16: data.image_size",
        *(f"workload vgg16: classifier at {size} pixels" for size in (32, 64, 223)),
    }


def test_a_change_is_not_written_over_before_the_number_tells_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "defaults.json"
    monkeypatch.setattr(pinned, "FILE", file)
    assert pinned.main() == 0 and json.loads(file.read_text())["defaults"] == pinned.current()
    changed = {"schema": identity.SCHEMA, "defaults": {**pinned.current(), "run: seed": 1}}
    file.write_text(json.dumps(changed))
    assert pinned.main() == 1 and "raise SCHEMA" in capsys.readouterr().err
    assert json.loads(file.read_text()) == changed
    file.write_text(json.dumps({**changed, "schema": identity.SCHEMA - 1}))
    assert pinned.main() == 0 and json.loads(file.read_text())["defaults"] == pinned.current()
