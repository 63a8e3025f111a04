"""A name that is no setting is told with the one that was meant, and every setting can be looked up."""

from __future__ import annotations

import pytest

from horovod_runner.config.names import ELSEWHERE, meant, paths, settings
from horovod_runner.config.schema import RunConfig, decode
from horovod_runner.config.settings import OptimizerConfig
from horovod_runner.errors import UserError
from horovod_runner.verbs.settings import show


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("batch_size", "local_batch"),  # and not batch_norm, which is spelt more like it
        ("lr", "optimizer.learning_rate"),
        ("optimizer.lr", "optimizer.learning_rate"),
        ("learning_rate", "optimizer.learning_rate"),
        ("nesterov", "optimizer.nesterov"),
        ("optimizer.nesterv", "optimizer.nesterov"),
        ("optimiser", "optimizer"),
        ("schedule.warmup_epoch", "schedule.warmup_epochs"),
        ("warmup_epochs", "schedule.warmup_epochs"),
        ("data.size", "data.image_size"),
        ("Batch-Size", "local_batch"),
        ("quite_else", None),
    ],
)
def test_the_setting_that_was_meant(name: str, setting: str | None) -> None:
    assert meant(name) == setting


def test_what_other_programs_call_a_setting_leads_to_one_that_exists() -> None:
    assert not set(ELSEWHERE.values()) - set(paths())
    assert not set(ELSEWHERE) & {path for path in paths() if "." not in path}, "a setting's own name means itself"


def test_every_setting_has_a_sentence() -> None:
    silent = [path for path, field in settings(RunConfig) if not field.description]
    assert not silent


def test_settings_are_shown_with_default_range_and_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    assert show("momentum") == 0
    said = capsys.readouterr().out
    assert "optimizer.momentum " in said and "0.9" in said and "number from 0 below 1" in said
    assert "allreduce" not in said
    assert show("lr") == 0, "as others call it"
    assert "optimizer.learning_rate" in capsys.readouterr().out
    assert show(None) == 0
    said = capsys.readouterr().out
    assert all(path in said for path in paths())
    with pytest.raises(UserError, match="no setting has to do with 'sdf'"):
        show("sdf")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"epochs": "one"}, "epochs: should be a whole number, but it is"),
        ({"local_batch": 16.5}, "local_batch: should be a whole number"),
        ({"optimizer": {"momentum": 2}}, "optimizer.momentum: should be below 1,"),
        ({"optimizer": {"learning_rate": "0.1"}}, 'should be a number, but it is "0.1"'),
        ({"optimizer": {"nesterov": "yes"}}, "should be true or false"),
        ({"optimizer": {"learning_rate": float("inf")}}, "should be a finite number|should be at most"),
        ({"schedule": {"milestones": 3}}, "should be a list"),
        ({"arm": ""}, "arm: should be at least 1 character long"),
        ({"arm": "x" * 61}, "arm: should be at most 60 characters long"),
        ({"data": {"channels": 2}}, "data.channels: should be 1 or 3"),
        ({"workload": 3}, "workload: should be text"),
    ],
)
def test_a_wrong_value_is_told_in_a_readers_words(value: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        decode({"framework": "torch", **value}, "bench")
    assert not {"Input", "valid", "string", "tuple", "parse"} & set(str(caught.value).replace(",", " ").split())


def test_a_group_is_not_taken_for_a_setting() -> None:
    assert "optimizer" not in paths() and set(OptimizerConfig.model_fields) == {
        path.split(".")[1] for path in paths() if path.startswith("optimizer.")
    }
