"""The user's own images: ImageNet's layout for classification, images beside masks for segmentation.

Training crops and flips at random, unless data.augment is off; evaluation is the standard central crop for
classification and the whole image (resized to a square) for segmentation. Pixels are normalised with ImageNet's mean
and deviation.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.data.dataset import Dataset, side
from benchmarks.data.images import centre, normalise, random_region, read_image, read_region, whole
from benchmarks.data.listing import list_classes, list_pairs
from benchmarks.data.masks import check_classes, count_classes, read_mask, resize_mask
from benchmarks.data.names import Names
from benchmarks.data.progress import Say, unheard
from benchmarks.data.trivial import most_frequent_label
from benchmarks.data.void import voided
from benchmarks.errors import DataError

if TYPE_CHECKING:
    from benchmarks.data.settings import DataSettings

CLASSIFICATION_SCALE = (0.08, 1.0)
"""Share of the area that a random crop keeps (Szegedy et al., 2015)."""
SEGMENTATION_SCALE = (0.25, 1.0)
EVALUATION_DRAFT = 2
"""Evaluation decodes at least twice the pixels needed, so that the resize filters and not JPEG's own scaling."""


@dataclass(frozen=True)
class View:
    """How examples are to look: pixels a side, channels, and whether training crops and flips at random."""

    image_size: int
    channels: int
    augment: bool


@dataclass(frozen=True)
class ClassifiedImages:
    """Images of one split by class: `files` are relative to `root`, labels are int32 (n,)."""

    root: Path
    files: Names
    labels: np.ndarray
    view: View

    @property
    def example_bytes(self) -> int:
        """Bytes of a decoded example."""
        return 4 * self.view.image_size**2 * self.view.channels + 4

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int, rng: np.random.Generator | None) -> tuple[np.ndarray, np.ndarray]:
        """Return (image, label); BrokenExample names a file that cannot be read."""
        view, path = self.view, self.root / self.files[index]
        if rng is None or not view.augment:
            pixels = read_image(path, view.channels, view.image_size, centre, EVALUATION_DRAFT)
        else:
            flip = rng.random() < 0.5
            pixels = read_image(path, view.channels, view.image_size, random_region(rng, CLASSIFICATION_SCALE))
            pixels = pixels[:, ::-1] if flip else pixels
        return normalise(pixels, view.channels), self.labels[index]


@dataclass(frozen=True)
class MaskedImages:
    """Images of one split with the mask of each."""

    pairs: list[tuple[Path, Path]]
    classes: int
    view: View
    void: int | None = None

    @property
    def example_bytes(self) -> int:
        """Bytes of a decoded example."""
        return 4 * self.view.image_size**2 * (self.view.channels + 1)

    def __len__(self) -> int:
        return len(self.pairs)

    def read(self, index: int, rng: np.random.Generator | None) -> tuple[np.ndarray, np.ndarray]:
        """Return (image, classes), cropped and flipped together; BrokenExample names an image or mask that is wrong."""
        view, (image, mask) = self.view, self.pairs[index]
        random = rng is not None and view.augment
        flip = random and rng is not None and rng.random() < 0.5
        choose = random_region(rng, SEGMENTATION_SCALE) if random and rng is not None else whole
        seen = read_region(image, view.channels, view.image_size, choose, 1 if random else EVALUATION_DRAFT)
        values = voided(read_mask(mask, seen.size, seen.turn), self.void)
        check_classes(mask, values, self.classes)
        pixels, target = seen.pixels, resize_mask(values, seen.box, view.image_size)
        if flip:
            pixels, target = pixels[:, ::-1], target[:, ::-1]
        return normalise(pixels, view.channels), target


def open_image_folder(data: DataSettings, *, task: str, seed: int, say: Say = unheard) -> Dataset:
    """Open data.path, laid out as train/<class>/* and val/<class>/*; DataError says what is wrong with it.

    `say` is told how far the listing of a large folder has come.
    """
    root, views = _root(data), _views(data, 224)
    found = list_classes(root, say)
    splits = {}
    for split, view in views.items():
        listing = found[split]
        labels = np.repeat(np.arange(len(listing.classes), dtype=np.int32), listing.counts)
        splits[split] = ClassifiedImages(root / split, listing.names, labels, view)
    trivial = most_frequent_label(splits["train"].labels, splits["val"].labels)
    return _dataset(splits["train"], splits["val"], len(found["train"].classes), views["val"], trivial)


def open_mask_folder(data: DataSettings, *, task: str, seed: int, say: Say = unheard) -> Dataset:
    """Open data.path, laid out as train/images/*, train/masks/* and val/ likewise; DataError says what is wrong with
    it.

    A mask is a PNG of class indices, in which data.void is no class; 255 is refused unless it is that. The number of
    classes is that of the lines of classes.txt in data.path; without one every mask is read once to find the largest
    index, and `say` is told how far that has come.
    """
    root, views = _root(data), _views(data, 256)
    pairs = list_pairs(root, say)
    classes = count_classes(root, pairs["train"] + pairs["val"], data.void, data.broken == "skip", say)
    splits = {split: MaskedImages(pairs[split], classes, view, data.void) for split, view in views.items()}
    return _dataset(splits["train"], splits["val"], classes, views["val"])


def _root(data: DataSettings) -> Path:
    if data.examples is not None:
        raise DataError(f"data.examples: {data.name} reads every image of its folder; remove data.examples")
    return Path(str(data.path)).expanduser().absolute()


def _views(data: DataSettings, default_side: int) -> dict[str, View]:
    size, channels = side(data.image_size, default_side), data.channels or 3
    return {"train": View(size, channels, data.augment), "val": View(size, channels, False)}


def _dataset(
    train: ClassifiedImages | MaskedImages,
    validation: ClassifiedImages | MaskedImages,
    classes: int,
    view: View,
    trivial: float | None = None,
) -> Dataset:
    return Dataset(train, validation, classes, view.channels, view.image_size, trivial)
