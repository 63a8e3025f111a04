"""Every way in which Pillow holds pixels, made plain 8-bit colour or grey, or refused: values are never clipped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
WIDE_FORMATS = ("PNG", "PPM")
"""Formats of which mode I holds 16 bits; elsewhere it may hold anything."""


def plain(image: Image.Image, mode: Literal["RGB", "L"]) -> Image.Image:
    """Return the image in `mode`; ValueError for pixels that have no known black and white.

    16 bits keep their upper 8; what is transparent shows white paper, for the colour hidden behind it is arbitrary.
    """
    if image.mode == mode and not image.has_transparency_data:
        return image
    special = _SPECIAL.get(image.mode)
    if special is not None:
        image = special(image)
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        paper = Image.new("RGBA", coloured.size, "white")
        image = Image.alpha_composite(paper, coloured)
    return image.convert(mode)


def _upper_bits(image: Image.Image) -> Image.Image:
    bits, white_is_zero = _as_a_tiff_says(image)
    upper = (np.asarray(image) >> (bits - 8)).astype(np.uint8)
    return Image.fromarray(255 - upper if white_is_zero else upper)


def _as_a_tiff_says(image: Image.Image) -> tuple[int, bool]:
    """Return how many bits hold a value, and whether 0 is white: Pillow's mode I;16 says neither (TIFF 6.0, p. 37)."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return 16, False
    bits = image.tag_v2.get(ExifTags.Base.BitsPerSample, (16,))
    return int(bits[0]), image.tag_v2.get(ExifTags.Base.PhotometricInterpretation) == 0


def _whole_numbers(image: Image.Image) -> Image.Image:
    if image.format not in WIDE_FORMATS:
        raise ValueError("its 32-bit whole numbers have no known black and white; save it with 8 or 16 bits")
    return _upper_bits(image)


def _fractions(image: Image.Image) -> Image.Image:
    raise ValueError("its fractions have no known black and white; save it with 8 or 16 bits")


_SPECIAL: dict[str, Callable[[Image.Image], Image.Image]] = {
    **dict.fromkeys(SIXTEEN_BITS, _upper_bits),
    "I": _whole_numbers,
    "F": _fractions,
}
