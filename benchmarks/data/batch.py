"""What travels from the data room to a backend: one batch, as NumPy arrays that every framework is fed alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Batch:
    """Examples of one worker for one step.

    images: float32, (examples, height, width, channels). targets: int32, (examples,) for classification, (examples,
    height, width) for segmentation, where VOID is no class. weights: float32, (examples,), 1 for an example and 0 for
    padding, or for an example that could not be read, which must count nowhere.
    """

    images: np.ndarray
    targets: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def counted(self) -> Batch:
        """Return the examples that count, in order; where there is none, one row that does not, to have a shape."""
        counts = self.weights > 0
        if counts.all():
            return self
        rows = np.flatnonzero(counts) if counts.any() else np.array([0])
        return Batch(self.images[rows], self.targets[rows], self.weights[rows])

    def split(self, parts: int) -> list[Batch]:
        """Return equal parts in order, views of this batch; ValueError if it cannot be divided so."""
        if parts == 1:
            return [self]
        arrays = (np.split(array, parts) for array in (self.images, self.targets, self.weights))
        return [Batch(*part) for part in zip(*arrays, strict=True)]
