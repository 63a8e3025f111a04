"""Examples into batches: what one item of a pipeline is, for training and for validation.

Items are tuples of arrays rather than Batch objects because they may cross from a decoding process to the training
process.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from benchmarks.data.dataset import BrokenExample, MemorySplit, Split
from benchmarks.data.order import Shard, example_rng
from benchmarks.errors import DataError

Item = tuple[np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]]
"""images, targets and weights as in Batch, and a sentence for each example that was skipped."""

ENDLESS = 2**40
MOST_TRIED = 1000


class Items(Protocol):
    """Batches by number, in any order and in any process."""

    @property
    def split(self) -> Split: ...

    @property
    def local_batch(self) -> int: ...

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> Item: ...


@dataclass(frozen=True)
class TrainItems:
    """Item i is this worker's part of global step first + i; there is no end.

    Not `augmented`, its examples look as they do in evaluation.
    """

    split: Split
    shard: Shard
    first: int
    skip: bool
    augmented: bool = True

    @property
    def local_batch(self) -> int:
        """Examples in an item."""
        return self.shard.local_batch

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, number: int) -> Item:
        epoch, indices = self.shard.indices(self.first + number)
        rngs = None
        if self.augmented and not isinstance(self.split, MemorySplit):
            rngs = [example_rng(self.shard.seed, epoch, int(index)) for index in indices]
        item = assemble(self.split, indices, rngs, len(indices), self.skip)
        if self.shard.workers == 1 and not item[2].any():
            raise DataError(nothing_left(len(indices), item[3][0]))
        return item


@dataclass(frozen=True)
class ValidationItems:
    """The examples rank, rank + workers, ... in batches; every rank has as many, padded where it lacks examples."""

    split: Split
    local_batch: int
    rank: int
    workers: int
    skip: bool

    def __len__(self) -> int:
        largest_share = math.ceil(len(self.split) / self.workers)
        return math.ceil(largest_share / self.local_batch)

    def __getitem__(self, number: int) -> Item:
        mine = np.arange(self.rank, len(self.split), self.workers)
        indices = mine[number * self.local_batch : (number + 1) * self.local_batch]
        return assemble(self.split, indices, None, self.local_batch, self.skip)


def nothing_left(examples: int, problem: str) -> str:
    """Return the sentence about a global batch of which nothing can be read: the folder is likely to be broken."""
    remedy = "raise the batch, or fix it" if examples == 1 else "fix the folder"
    return f"not one image of a batch of {examples} could be read, so nothing is left to train on; {remedy}: {problem}"


def assemble(
    split: Split, indices: np.ndarray, rngs: Sequence[np.random.Generator] | None, size: int, skip: bool
) -> Item:
    """Read examples into a batch of `size`; rows without an example are zero and weigh 0.

    BrokenExample stops at an unreadable example unless `skip`.
    """
    if isinstance(split, MemorySplit):
        images, targets = split.read_many(indices if len(indices) else np.array([0]))
        return _padded(images[: len(indices)], targets[: len(indices)], np.ones(len(indices), np.float32), size, ())
    examples, problems = _read(split, indices, rngs, skip)
    image, target = next((example for example in examples if example is not None), None) or _any_example(split)
    images, targets = np.zeros((size, *image.shape), np.float32), np.zeros((size, *np.shape(target)), np.int32)
    weights = np.zeros(size, np.float32)
    for row, example in enumerate(examples):
        if example is not None:
            images[row], targets[row] = example
            weights[row] = 1
    return images, targets, weights, tuple(problems)


def _any_example(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Return the first example that can be read, for the shape of all; DataError where none of many can be."""
    tried = min(len(split), MOST_TRIED)
    for index in range(tried):
        try:
            return split.read(index, None)
        except BrokenExample as error:
            last = error
    raise DataError(f"not one of {tried} images could be read, so nothing is left to skip: {last}")


def _read(
    split: Split, indices: np.ndarray, rngs: Sequence[np.random.Generator] | None, skip: bool
) -> tuple[list[tuple[np.ndarray, np.ndarray] | None], list[str]]:
    """Return the examples, None for a broken one, and the sentences about those."""
    examples: list[tuple[np.ndarray, np.ndarray] | None] = []
    problems: list[str] = []
    for row, index in enumerate(indices):
        try:
            examples.append(split.read(int(index), rngs[row] if rngs else None))
        except BrokenExample as error:
            if not skip:
                raise
            examples.append(None)
            problems.append(str(error))
    return examples, problems


def _padded(images: np.ndarray, targets: np.ndarray, weights: np.ndarray, size: int, problems: tuple[str, ...]) -> Item:
    missing = size - len(images)
    if missing == 0:
        return images, targets, weights, problems
    images, targets, weights = (
        np.concatenate([array, np.zeros((missing, *array.shape[1:]), array.dtype)])
        for array in (images, targets, weights)
    )
    return images, targets, weights, problems
