"""Which way up an image is: cameras store the sensor's rows, and say in EXIF how to turn them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image

Box = tuple[float, float, float, float]
"""left, upper, right, lower in pixels of the whole image."""


@dataclass(frozen=True)
class Turn:
    """From stored rows to the upright image: rows become columns (`swaps`), then left-right and top-bottom flips."""

    swaps: bool = False
    flips_x: bool = False
    flips_y: bool = False

    def size(self, stored: tuple[int, int]) -> tuple[int, int]:
        """Return (width, height) of the upright image."""
        return (stored[1], stored[0]) if self.swaps else stored

    def stored_box(self, box: Box, upright: tuple[int, int]) -> Box:
        """Return where a region of the upright image, of size `upright`, lies in the stored one."""
        left, upper, right, lower = box
        if self.flips_x:
            left, right = upright[0] - right, upright[0] - left
        if self.flips_y:
            upper, lower = upright[1] - lower, upright[1] - upper
        return (upper, left, lower, right) if self.swaps else (left, upper, right, lower)

    def upright(self, stored: np.ndarray) -> np.ndarray:
        """Turn an array (height, width, ...); a view."""
        turned = stored.swapaxes(0, 1) if self.swaps else stored
        turned = turned[:, ::-1] if self.flips_x else turned
        return turned[::-1] if self.flips_y else turned


NONE = Turn()
ORIENTATIONS = {
    2: Turn(flips_x=True),
    3: Turn(flips_x=True, flips_y=True),
    4: Turn(flips_y=True),
    5: Turn(swaps=True),
    6: Turn(swaps=True, flips_x=True),
    7: Turn(swaps=True, flips_x=True, flips_y=True),
    8: Turn(swaps=True, flips_y=True),
}
"""By the number that EXIF 2.3 (tag 0x0112) gives them; 1 is upright."""
TURNED_BY_DECODER = ("TIFF",)
"""Formats whose decoders turn the image themselves."""


def turn_of(image: Image.Image) -> Turn:
    """Return how an image is to be turned; damaged EXIF turns nothing, for the image may be sound."""
    if image.format in TURNED_BY_DECODER:
        return NONE
    try:
        return ORIENTATIONS.get(image.getexif().get(ExifTags.Base.Orientation, 1), NONE)
    except Exception:  # whatever its parser raises; a broken image raises again when it is decoded
        return NONE
