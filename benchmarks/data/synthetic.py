"""Synthetic examples, as the field's throughput benchmarks use them: normal noise with random targets, from memory.

A limited pool of distinct examples is used over and over by index, so that a million examples of 224 x 224 pixels cost
no more memory than the pool. 1,000 classes for classification (as ImageNet), 11 for segmentation (as digit scenes).
Nothing here depends on the seed of a run.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.data.dataset import Dataset, side
from benchmarks.data.trivial import chance

if TYPE_CHECKING:
    from benchmarks.data.settings import DataSettings

CLASSES = {"classification": 1000, "segmentation": 11}
TRAIN_EXAMPLES = 1024
VALIDATION_EXAMPLES = 128
POOL_BYTES = 64 * 2**20
POOL_SEED = 224
BLOBS = 8
"""A mask is BLOBS x BLOBS patches of random classes."""


def open_synthetic(data: DataSettings, *, task: str, seed: int) -> Dataset:
    """Open noise images of data.image_size pixels; data.examples of them train."""
    size, channels, classes = side(data.image_size, 64), data.channels or 3, CLASSES[task]
    masks = task == "segmentation"
    return Dataset(
        train=NoiseSplit(data.examples or TRAIN_EXAMPLES, 0, size, channels, classes, masks),
        validation=NoiseSplit(VALIDATION_EXAMPLES, 1, size, channels, classes, masks),
        classes=classes,
        channels=channels,
        image_size=size,
        trivial=chance(task, classes),
    )


@dataclass(frozen=True)
class NoiseSplit:
    """Example i is example i modulo the pool's length; the pool is drawn when it is first read."""

    examples: int
    stream: int
    image_size: int
    channels: int
    classes: int
    masks: bool

    def __len__(self) -> int:
        return self.examples

    def read(self, index: int, rng: np.random.Generator | None) -> tuple[np.ndarray, np.ndarray]:
        """Return one example: (size, size, channels) and () or (size, size); there is no augmentation."""
        images, targets = self.read_many(np.array([index]))
        return images[0], targets[0]

    def read_many(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return images, float32 (n, size, size, channels), and targets, int32 (n,) or (n, size, size)."""
        images, targets = self._pool
        rows = indices % len(images)
        return images[rows], targets[rows]

    @cached_property
    def _pool(self) -> tuple[np.ndarray, np.ndarray]:
        image_bytes = self.image_size * self.image_size * (self.channels + self.masks) * 4
        count = min(self.examples, max(1, POOL_BYTES // image_bytes))
        rng = np.random.default_rng([POOL_SEED, self.stream])
        shape = (count, self.image_size, self.image_size, self.channels)
        images = rng.standard_normal(shape, dtype=np.float32)
        return images, self._targets(rng, count)

    def _targets(self, rng: np.random.Generator, count: int) -> np.ndarray:
        if not self.masks:
            return rng.integers(0, self.classes, count, dtype=np.int32)
        patches = rng.integers(0, self.classes, (count, BLOBS, BLOBS), dtype=np.int32)
        cell = np.arange(self.image_size) * BLOBS // self.image_size
        return patches[:, cell[:, None], cell[None, :]]
