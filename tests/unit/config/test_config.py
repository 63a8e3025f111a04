"""A run's description: what is filled in, what is refused and how, and what makes two runs the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from benchmarks.workloads import WORKLOADS
from horovod_runner.config.schema import RunConfig, decode
from horovod_runner.errors import UserError


def made(**settings: Any) -> RunConfig:
    return decode({"framework": "torch", **settings}, "test")


def refusal(**settings: Any) -> str:
    with pytest.raises(UserError) as caught:
        made(**settings)
    message = str(caught.value)
    assert message.startswith("test: ") and "\n" not in message and "Traceback" not in message
    return message


def test_defaults_come_from_the_workload_and_its_data() -> None:
    resnet, unet = made(), made(workload="unet")
    assert (resnet.data.name, resnet.data.image_size, resnet.data.channels, resnet.width) == ("digits", 32, 3, 64)
    assert (unet.data.name, unet.data.image_size, unet.data.channels, unet.width) == ("digit_scenes", 64, 1, 32)
    assert resnet.epochs == 3 and resnet.optimizer.learning_rate == 0.0125
    assert (unet.optimizer.name, unet.optimizer.learning_rate) == ("adam", 0.002)
    assert made(workload="unet", optimizer={"name": "sgd"}).optimizer.learning_rate == 0.1


VOID = {"workload": "unet", "data": {"void": 1}}
SKIP = {"data": {"path": "some/folder", "broken": "skip"}}


@pytest.mark.parametrize(("image_size", "classifier"), [(32, "small"), (223, "small"), (224, "full")])
def test_the_classifier_of_vgg16_follows_from_the_image_size(image_size: int, classifier: str) -> None:
    plain = made(workload="vgg16", data={"image_size": image_size})
    assert plain.classifier == classifier
    assert plain == made(workload="vgg16", data={"image_size": image_size}, classifier=classifier)
    assert made(workload="vgg16", classifier="full").run_id != made(workload="vgg16").run_id
    assert made().classifier is made(workload="unet").classifier is None


def test_one_image_is_enough_where_nothing_is_normalised() -> None:
    assert made(workload="vgg16", local_batch=1, data={"image_size": 32}).local_batch == 1


def test_batches_are_derived_from_each_other() -> None:
    assert made(workers=4, local_batch=8).global_batch == 32
    assert made(workers=4, global_batch=32).local_batch == 8


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"workload": "alexnet"}, ["workload", "alexnet", "resnet50"]),
        ({"framework": "jax"}, ["framework", "jax", "torch"]),
        ({"data": "cifar"}, []),  # a word that is no source is a folder: refused when it is opened
        ({"data": {"name": "cifar"}}, ["data.name", "cifar", "digits"]),
        ({"data": {"name": "digit_scenes"}}, ["data.name", "classification"]),
        ({"data": {"name": "image_folder"}}, ["data.path"]),
        ({"data": {"path": "x", "split": "per_seed"}}, ["data.split", "image_folder", "remove it"]),
        ({"data": {"name": "synthetic", "split": "per_seed"}}, ["data.split", "validation set of its own"]),
        ({"optimizer": {"name": "rmsprop"}}, ["optimizer.name", "rmsprop"]),
        ({"optimizer": {"momentun": 0.9}}, ["optimizer.momentun", "momentum"]),
        ({"optimizer": {"learning_rate": float("nan")}}, ["optimizer.learning_rate"]),
        ({"optimizer": {"learning_rate": -0.1}}, ["optimizer.learning_rate", "above 0"]),
        ({"optimizer": {"name": "lars", "velocity": "absorbed"}}, ["optimizer.velocity", "only sgd", "lars", "remove"]),
        ({"optimizer": {"name": "adam", "nesterov": True}}, ["optimizer.nesterov", "only sgd", "adam"]),
        ({"optimizer": {"clip_norm": 0.0}}, ["optimizer.clip_norm", "above 0"]),
        ({"epochs": 0}, ["epochs", "at least 1"]),
        ({"epochs": "many"}, ["epochs", "whole number", "many"]),
        ({"epochs": 1, "steps": 1}, ["epochs", "steps", "keep one"]),
        ({"local_batch": -3}, ["local_batch", "-3"]),
        ({"local_batch": 10**12}, ["local_batch"]),
        ({"local_batch": True}, ["local_batch"]),
        ({"workers": 3, "global_batch": 16}, ["global_batch", "16", "multiple of 3"]),
        ({"workers": 2, "global_batch": 16, "local_batch": 4}, ["local_batch", "global_batch"]),
        ({"workers": 0}, ["workers", "0"]),
        ({"workload": "unet", "data": {"image_size": 50}}, ["data.image_size", "50"]),
        ({"local_batch": 1, "data": {"image_size": 32}}, ["local_batch", "normalisation"]),
        ({"workload": "vgg16", "data": {"image_size": 31}}, ["data.image_size", "31", "at least 32", "5 times"]),
        ({"workload": "vgg16", "classifier": "medium"}, ["classifier", "full", "small", "medium"]),
        ({"classifier": "small"}, ["classifier", "vgg16", "resnet50", "remove it"]),
        ({"workload": "unet", "classifier": "full"}, ["classifier", "vgg16", "unet", "remove it"]),
        ({"data": {"void": 255}}, ["data.void", "resnet50", "choose unet"]),
        ({**VOID, "noise_scale": True, "virtual_workers": 2}, ["data.void", "noise_scale", "remove data.void"]),
        (
            {**SKIP, "batch_norm": "ghost", "ghost_batch": 4},
            ["data.broken", "ghost_batch", "batch_norm: local", "remove data.broken"],
        ),
        (
            {**SKIP, "workers": 2, "allreduce": {"operation": "adasum"}},
            ["data.broken", "adasum", "allreduce.operation: average"],
        ),
        ({"surprise": 1}, ["surprise", "`horovod-runner settings` lists them all"]),
        ({"experiment": "../escape"}, ["experiment"]),
    ],
)
def test_mistakes_are_named_with_their_remedy(settings: dict[str, Any], words: list[str]) -> None:
    if not words:
        assert made(**settings).data.path == settings["data"]
        return
    message = refusal(**settings)
    for word in words:
        assert word in message, message


def test_an_optimizer_without_a_rate_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would train at rate 0."""
    monkeypatch.setitem(WORKLOADS, "resnet50", replace(WORKLOADS["resnet50"], learning_rates={"sgd": 0.1, "adam": 0.2}))
    message = refusal(optimizer={"name": "lamb"})
    assert "optimizer.learning_rate" in message and "resnet50" in message and "adam, sgd only" in message
    assert made(optimizer={"name": "lamb", "learning_rate": 0.3}).optimizer.learning_rate == 0.3


def test_all_mistakes_are_said_at_once() -> None:
    message = refusal(epochs=-1, seed="x", surprise=1)
    assert "epochs" in message and "seed" in message and "surprise" in message


def test_description_survives_json_and_identity_follows_settings() -> None:
    config = made(workers=2, optimizer={"momentum": 0.8}, schedule={"milestones": [1.0, 2.0]})
    again = decode(config.to_dict(), "again")
    assert again == config and again.run_id == config.run_id
    for change in ({"seed": 1}, {"repeat": 1}, {"threads": 1}, {"optimizer": {"momentum": 0.7}}):
        assert made(workers=2, **change).run_id != made(workers=2).run_id
    assert made(local_batch=16).run_id == made().run_id, "a default that is written out is the same run"


def test_planning_imports_no_framework() -> None:
    import subprocess
    import sys

    script = (
        "import sys, horovod_runner.verbs.matrix, horovod_runner.config.schema, horovod_runner.cli;"
        "print([m for m in ('torch', 'tensorflow', 'horovod', 'keras', 'pandas', 'matplotlib') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_what_stays_equal_may_be_skipped_or_void() -> None:
    assert made(**{**VOID, "batch_norm": "ghost", "ghost_batch": 4}).uneven, "rows are complete"
    assert made(**SKIP, virtual_workers=2, accumulate=2).skips
    assert not made(data={"broken": "skip"}).uneven, "what is made can always be read"
