"""Pixels of no class in masks that are drawn or made: one class of them is taken for void."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.data.dataset import MemorySplit
from benchmarks.targets import VOID


@dataclass(frozen=True)
class VoidedSplit:
    """A split in memory whose pixels of class `void` have none, as those of a folder's masks with this value."""

    split: MemorySplit
    void: int

    def __len__(self) -> int:
        return len(self.split)

    def read(self, index: int, rng: np.random.Generator | None) -> tuple[np.ndarray, np.ndarray]:
        """Return one example of the split, its target int32 (height, width) with VOID."""
        image, target = self.split.read(index, rng)
        return image, voided(target, self.void)

    def read_many(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return examples of the split, their targets int32 (n, height, width) with VOID."""
        images, targets = self.split.read_many(indices)
        return images, voided(targets, self.void)


def voided(targets: np.ndarray, void: int | None) -> np.ndarray:
    """Return class numbers with VOID in the place of this value; all of them as they are for None."""
    return targets if void is None else np.where(targets == void, np.int32(VOID), targets)
