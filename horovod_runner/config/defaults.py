"""What a run's description leaves out, filled in before it is validated, so that equal runs have equal descriptions.

`with_defaults` takes plain data and returns plain data: what is wrong in it is left for the checks to name.
`filled_in` says of a finished description what would have been filled in: a run's id is made of what differs from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.data import SOURCES
from benchmarks.workloads import WORKLOADS, Workload
from horovod_runner.config.settings import RunSettings
from horovod_runner.errors import UserError


def with_defaults(raw: dict[str, Any]) -> dict[str, Any]:
    """Fill in what depends on the workload and the data."""
    if isinstance(raw.get("data"), str):
        raw["data"] = data_from_word(raw["data"])
    if raw.get("cluster", {}) is None:
        raw["cluster"] = {}
    name = raw.get("workload", "resnet50")
    job = WORKLOADS.get(name) if isinstance(name, str) else None
    if job is None:
        return raw  # refused by its own field, beside whatever else is wrong
    raw["data"] = _data_defaults(raw.get("data") or {}, job)
    if raw.get("width") is None:
        raw["width"] = job.width
    raw |= _option_defaults(raw, job)
    if raw.get("epochs") is None and raw.get("steps") is None:
        raw["epochs"] = job.epochs
    raw["optimizer"] = _optimizer_defaults(raw.get("optimizer") or {}, job)
    return _batch_defaults(raw, job)


def filled_in(config: RunSettings) -> dict[str, Any]:
    """Return, by path, what `with_defaults` gives each setting that follows from others, were it alone left out.

    Of the two batches the global one follows from the local one, so that both can be left out together.
    """
    job, data, optimizer = config.job, config.data, config.optimizer
    batch = config.local_batch
    return {
        "width": job.width,
        **{name: job.default_option(name, data.image_size) for name in job.options if data.image_size},
        "epochs": job.epochs if config.steps is None else None,
        "local_batch": job.local_batch,
        "global_batch": batch and batch * config.all_workers,
        "data.name": _source_name(job, data.path),
        "data.image_size": _image_size(data.name),
        "data.channels": _channels(job, data.path),
        "optimizer.name": job.optimizer,
        "optimizer.learning_rate": job.learning_rates.get(optimizer.name),
    }


def data_from_word(word: str) -> dict[str, str]:
    """Return the settings that `data` given as one word stands for: a source's name, or else a folder."""
    return {"name": word} if word in SOURCES else {"path": word}


def put(plain: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return plain data with the value at a dotted path replaced; groups on the way are made, other keys kept."""
    head, _, rest = path.partition(".")
    if not rest:
        return {**plain, head: value}
    inner = plain.get(head) or {}
    if isinstance(inner, str) and head == "data":
        inner = data_from_word(inner)
    if not isinstance(inner, Mapping):
        raise UserError(f"{path}: {head} is {inner!r}, which has no settings inside; give {head} itself")
    return {**plain, head: put(inner, rest, value)}


def put_all(plain: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain data with the values of all these dotted paths put in, one after the other."""
    filled = dict(plain)
    for path, value in settings.items():
        filled = put(filled, path, value)
    return filled


def _optimizer_defaults(optimizer: Any, job: Workload) -> Any:
    """Take the workload's optimizer, and its base rate for the optimizer that is used."""
    if not isinstance(optimizer, Mapping):
        return optimizer
    optimizer = {"name": job.optimizer, **optimizer}
    if optimizer.get("learning_rate") is None and str(optimizer["name"]) in job.learning_rates:
        optimizer["learning_rate"] = job.learning_rates[optimizer["name"]]
    return optimizer


def _data_defaults(data: Any, job: Workload) -> Any:
    """Choose the source and what follows from it."""
    if not isinstance(data, Mapping):
        return data
    data = dict(data)
    if data.get("name") is None:
        data["name"] = _source_name(job, data.get("path"))
    if data.get("image_size") is None:
        data["image_size"] = _image_size(data["name"])
    if data.get("channels") is None:
        data["channels"] = _channels(job, data.get("path"))
    return data


def _source_name(job: Workload, path: Any) -> str:
    folder = "mask_folder" if job.task == "segmentation" else "image_folder"
    return folder if path is not None else job.data


def _image_size(source: Any) -> int | None:
    return SOURCES[str(source)].image_size if str(source) in SOURCES else None


def _channels(job: Workload, path: Any) -> int:
    return 3 if path is not None else job.channels


def _option_defaults(raw: dict[str, Any], job: Workload) -> dict[str, str]:
    """Choose by the size of the images what is not given of the workload's own settings."""
    image_size = raw["data"].get("image_size") if isinstance(raw["data"], Mapping) else None
    if type(image_size) is not int:
        return {}
    return {name: job.default_option(name, image_size) for name in job.options if raw.get(name) is None}


def _batch_defaults(raw: dict[str, Any], job: Workload) -> dict[str, Any]:
    """Derive the batch that is not given from the one that is; what does not divide is left for the check to name."""
    workers = raw.get("workers", 1)
    virtual = raw.get("virtual_workers", 1)
    shards = workers * virtual if type(workers) is int and type(virtual) is int else 0
    if raw.get("local_batch") is None and raw.get("global_batch") is None:
        raw["local_batch"] = job.local_batch
    local, whole = raw.get("local_batch"), raw.get("global_batch")
    if whole is None and type(local) is int:
        raw["global_batch"] = local * shards if shards > 0 else local
    if local is None and type(whole) is int and shards > 0 and whole % shards == 0:
        raw["local_batch"] = whole // shards
    return raw
