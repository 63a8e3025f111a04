"""Where examples come from, by name: real digits, digit scenes, folders of the user's, synthetic tensors.

The table below is all that planning needs; the loaders themselves are imported when a run opens its data.
"""

from __future__ import annotations

import importlib
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from benchmarks.data.progress import Say, unheard

if TYPE_CHECKING:
    from benchmarks.data.dataset import Dataset, Split
    from benchmarks.data.settings import DataSettings


@dataclass(frozen=True)
class Source:
    """A kind of data set: the tasks that it serves, its default image size, and the function that opens it.

    `examples` is how many of them train unless a run says otherwise; None where only the user's folder knows.
    `draws_split`: which of its examples validate is ours to say, for it has no validation set of its own.
    """

    tasks: tuple[str, ...]
    image_size: int
    opener: str
    needs_path: bool = False
    examples: int | None = None
    draws_split: bool = False


SOURCES: dict[str, Source] = {
    "digits": Source(("classification",), 32, "benchmarks.data.digits:open_digits", examples=1437, draws_split=True),
    "digit_scenes": Source(
        ("segmentation",), 64, "benchmarks.data.scenes:open_digit_scenes", examples=224, draws_split=True
    ),
    "plain_scenes": Source(
        ("segmentation",), 32, "benchmarks.data.scenes:open_plain_scenes", examples=512, draws_split=True
    ),
    "image_folder": Source(("classification",), 224, "benchmarks.data.folders:open_image_folder", needs_path=True),
    "mask_folder": Source(("segmentation",), 256, "benchmarks.data.folders:open_mask_folder", needs_path=True),
    "synthetic": Source(
        ("classification", "segmentation"), 64, "benchmarks.data.synthetic:open_synthetic", examples=1024
    ),
}


def _worth_saying(record: logging.LogRecord) -> bool:
    return "Failed to load jax profiler" not in record.getMessage()


logging.getLogger("absl").addFilter(_worth_saying)
"""Grain regrets on import, in every process of its own, that there is no JAX to profile."""


def open_dataset(data: DataSettings, task: str, seed: int, say: Say = unheard) -> Dataset:
    """Open the data set that a run names; DataError says what is wrong with a folder or a size.

    `say` is told how far it has come with a folder that takes long.
    """
    source = SOURCES[str(data.name)]
    module, function = source.opener.split(":")
    told = {"say": say} if source.needs_path else {}
    dataset: Dataset = getattr(importlib.import_module(module), function)(data, task=task, seed=seed, **told)
    if data.void is None:
        return dataset
    train, validation = (_with_void(split, data.void) for split in (dataset.train, dataset.validation))
    return replace(dataset, train=train, validation=validation)


def _with_void(split: Split, void: int) -> Split:
    """Return a split with a class of its masks taken for void; one of files has done that while reading."""
    from benchmarks.data.dataset import MemorySplit
    from benchmarks.data.void import VoidedSplit

    return VoidedSplit(split, void) if isinstance(split, MemorySplit) else split
