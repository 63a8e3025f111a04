"""The names of settings: all that there are, what other programs call them, and which one a mistaken name meant."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from horovod_runner.config.settings import RunSettings

ELSEWHERE = {
    "accumulation": "accumulate",
    "amp": "precision",
    "arch": "workload",
    "backward_passes_per_step": "accumulate",
    "base_lr": "optimizer.learning_rate",
    "batch": "local_batch",
    "batch_size": "local_batch",
    "crop_size": "data.image_size",
    "cycle_time": "allreduce.cycle_ms",
    "data_dir": "data.path",
    "dataset": "data.name",
    "dir": "data.path",
    "dtype": "precision",
    "folder": "data.path",
    "fusion_threshold": "allreduce.fusion_mb",
    "gpus": "workers",
    "grad_accum": "accumulate",
    "gradient_accumulation_steps": "accumulate",
    "ignore_index": "data.void",
    "img_size": "data.image_size",
    "iterations": "steps",
    "l2": "optimizer.weight_decay",
    "lr": "optimizer.learning_rate",
    "lr_decay": "schedule.decay",
    "max_grad_norm": "optimizer.clip_norm",
    "max_steps": "steps",
    "model": "workload",
    "network": "workload",
    "np": "workers",
    "num_epochs": "epochs",
    "num_steps": "steps",
    "num_workers": "workers",
    "opt": "optimizer.name",
    "processes": "workers",
    "random_state": "seed",
    "ranks": "workers",
    "resolution": "data.image_size",
    "resume": "checkpoint.resume_from",
    "scheduler": "schedule.decay",
    "size": "data.image_size",
    "sync_bn": "batch_norm",
    "warmup": "schedule.warmup_epochs",
    "wd": "optimizer.weight_decay",
    "weight_decay_rate": "optimizer.weight_decay",
    "world_size": "workers",
}
"""What other programs and papers call a setting, and its path here."""

_ALIKE = 0.75  # difflib's ratio: `optimiser` is `optimizer`, and `batch_size` is not `batch_norm`


def settings(kind: type[BaseModel] = RunSettings, group: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield the path of every setting that is no group, in the order of the schema, and what it is declared as."""
    for name, field in kind.model_fields.items():
        if isinstance(field.default, BaseModel):
            yield from settings(type(field.default), f"{group}{name}.")
        else:
            yield f"{group}{name}", field


@functools.cache
def paths() -> tuple[str, ...]:
    """Return the path of every setting."""
    return tuple(path for path, _ in settings())


def meant(path: str) -> str | None:
    """Return the setting that a name which is none most likely stands for; None where nothing comes near.

    Looked for within the same group first, then as other programs call it, then under every group.
    """
    group, _, name = path.rpartition(".")
    siblings = {known.rpartition(".")[2]: known for known in paths() if known.rpartition(".")[0] == group}
    groups = {known.partition(".")[0]: known.partition(".")[0] for known in paths() if "." in known}
    return (
        _alike(name, siblings | (groups if not group else {}))
        or ELSEWHERE.get(name.lower().replace("-", "_"))
        or _of_another_group(name)
        or _alike(path, {known: known for known in paths()})
    )


def unknown_setting(path: str) -> str:
    """Return the sentence about a setting that does not exist, with the one that was meant."""
    known = meant(path)
    remedy = f"write {known}" if known else "`horovod-runner settings` lists them all"
    return f"{path}: is not a setting of a run; {remedy}"


def _of_another_group(name: str) -> str | None:
    """Return the one setting of this name that stands in a group; None if there is none, or more than one."""
    found = [known for known in paths() if known.rpartition(".")[2] == name]
    return found[0] if len(found) == 1 else None


def _alike(name: str, known: dict[str, Any]) -> str | None:
    close = difflib.get_close_matches(name, known, n=1, cutoff=_ALIKE)
    return known[close[0]] if close else None
