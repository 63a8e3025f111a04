"""A sheet holds the figures that it is made of, each where it belongs, and ids that meet nobody else's."""

from __future__ import annotations

import io
import re
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib.image
import numpy as np
import pytest

from horovod_runner.analysis.plots import files, look


def dots(axes: Any, *, shade: str) -> Any:
    """Draw three points of a colour."""
    axes.plot([1, 2, 3], [1, 2, 3], "o", color=shade)
    return look.titled(axes, shade, "x")


@pytest.fixture
def sheet(tmp_path: Path) -> tuple[Path, list[str]]:
    """Three panels in two columns, with a foot; and their drawings for a page."""
    figures = [files.panel(partial(dots, shade=shade)) for shade in ("#ff0000", "#00ff00", "#0000ff")]
    return tmp_path / "out", files.write(tmp_path / "out", "sheet", figures, "m", foot="below")


def test_the_vector_sheet_holds_each_panel_in_its_place(sheet: tuple[Path, list[str]]) -> None:
    root = ElementTree.parse(sheet[0] / "sheet.svg").getroot()
    width, height = (inches * files.POINTS for inches in look.PANEL_INCHES)
    parts = [part for part in root if part.tag.endswith("svg")]
    corners = [tuple(float(part.get(side, "nan")) for side in ("x", "y")) for part in parts]
    expected = [(0, 0), (width, 0), (0, height), (0, 2 * height)]
    np.testing.assert_allclose(corners, expected, atol=0.01)
    for part, text in zip(parts, ("#ff0000", "#00ff00", "#0000ff", "below"), strict=True):
        assert text in ElementTree.tostring(part, "unicode")


def test_the_pixels_of_each_panel_are_in_its_quarter(sheet: tuple[Path, list[str]]) -> None:
    image = matplotlib.image.imread(io.BytesIO((sheet[0] / "sheet.png").read_bytes()))
    width, height = (round(inches * files.DOTS) for inches in look.PANEL_INCHES)
    assert image.shape[:2] == (2 * height + round(files.FOOT_INCHES * files.DOTS), 2 * width)
    quarters = [image[:height, :width], image[:height, width:], image[height : 2 * height, :width]]
    for place, quarter in enumerate(quarters):
        pure = [(quarter[..., :3] == np.eye(3)[shade]).all(axis=-1).any() for shade in range(3)]
        assert pure == [shade == place for shade in range(3)]
    assert (image[height : 2 * height, width:] == 1).all(), "the place without a panel is white"


def test_drawings_for_a_page_take_any_size_and_share_no_id(sheet: tuple[Path, list[str]]) -> None:
    ids = [set(re.findall(r' id="([^"]*)"', drawing)) for drawing in sheet[1]]
    assert all(ids) and len(set.union(*ids)) == sum(map(len, ids))
    for drawing, own in zip(sheet[1], ids, strict=True):
        assert set(re.findall(r'href="#([^"]*)"', drawing)) <= own
        assert not re.match(r"<svg[^>]* width=", drawing) and "#ffffff" not in drawing
