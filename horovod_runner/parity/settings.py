"""The settings in which frameworks are compared, and why these are well conditioned.

Training multiplies differences: in a badly conditioned setting (maps of one pixel before the last normalisation, random
labels, a high rate) twentyfold a step, so that float64's 1e-16 is 1 % after eleven. What keeps it low here: maps of
several pixels, so that no statistic rests on a few values; residual branches that begin at zero, so that a network of
fifty layers begins as a shallow one; real labels; a rate that starts low and stays moderate; and Adam's epsilon well
above rounding noise, since an entry whose true gradient is zero would otherwise move by the full rate in a direction
that noise decides.
"""

from __future__ import annotations

from typing import Any

STEPS = 20
WORKLOADS = ("resnet50", "unet", "vgg16")

_SIZES: dict[str, dict[str, Any]] = {
    "resnet50": {"width": 8, "data": {"name": "digits", "image_size": 64}, "zero_init_last_gamma": True},
    "unet": {"width": 8, "data": {"name": "digit_scenes", "image_size": 32, "examples": 128}},
    "vgg16": {"width": 8, "data": {"name": "digits", "image_size": 32}, "classifier": "small"},
}
_SGD = {"name": "sgd", "learning_rate": 0.01, "momentum": 0.8}
_ADAM = {"learning_rate": 0.001, "beta1": 0.85, "beta2": 0.97, "epsilon": 1e-3}
_OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": _SGD,
    "nesterov": {**_SGD, "nesterov": True},
    "absorbed": {**_SGD, "velocity": "absorbed"},
    "adam": {"name": "adam", **_ADAM},
    "adamw": {"name": "adamw", **_ADAM},
    "lars": {"name": "lars", "learning_rate": 1.0, "momentum": 0.8, "trust_coefficient": 0.002},
    "lamb": {"name": "lamb", **_ADAM},
}
OPTIMIZERS = tuple(_OPTIMIZERS)


def off_defaults(optimizer: str, rate: float = 1.0) -> dict[str, Any]:
    """Return an optimizer whose every number is another than its default, clipping included; `rate` times as fast.

    The decay is strong enough to be seen in a few steps, and the clipped norm lower than the gradients'.
    """
    chosen = _OPTIMIZERS[optimizer]
    return {**chosen, "learning_rate": chosen["learning_rate"] * rate, "weight_decay": 1e-2, "clip_norm": 0.5}


def plain(workload: str, **changes: Any) -> dict[str, Any]:
    """Return the plain settings of a small job in float64, one thread, without validation and checkpoints."""
    return {
        "workload": workload,
        "experiment": "parity",
        **_SIZES[workload],
        "precision": "float64",
        "threads": 1,
        "steps": STEPS,
        "global_batch": 8,
        "validate_every": 0,
        "checkpoint": {"every": 0},
        "loss": {"label_smoothing": 0.1},
        **changes,
    }


def trajectory(workload: str, optimizer: str, **changes: Any) -> dict[str, Any]:
    """Return settings with this optimizer, weight decay, clipping, and a rate that is another one at every step."""
    return plain(workload, optimizer=off_defaults(optimizer), schedule=_ever_changing(workload), **changes)


def _ever_changing(workload: str) -> dict[str, Any]:
    """Return half of the steps of warmup from zero and half of cosine decay."""
    steps_per_epoch = {"resnet50": 168, "vgg16": 168, "unet": 16}[workload]
    return {"warmup": "from_zero", "warmup_epochs": STEPS / 2 / steps_per_epoch, "decay": "cosine"}
