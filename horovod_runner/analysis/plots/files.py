"""Figures as files. Each panel is a figure of its own; a sheet is several of them side by side, as SVG and as PNG."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.etree import ElementTree

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imsave

from horovod_runner.analysis.plots import look
from horovod_runner.results.store import full_disk_named, write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

COLUMNS = 2
FOOT_INCHES = 0.2
POINTS = 72  # an inch
DOTS = 160  # an inch
LEFT_OUT = dict.fromkeys(("Creator", "Date", "Format", "Type"))  # what matplotlib would say of a file
SVG = "http://www.w3.org/2000/svg"
ElementTree.register_namespace("", SVG)
ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")


class Placed(NamedTuple):
    """A figure on a sheet, drawn both ways, and where it stands there, in inches from the left and from the top."""

    vector: str
    pixels: NDArray[np.uint8]
    left: float
    top: float
    width: float
    height: float


def panel(draw: Callable[[Axes], Axes]) -> Figure:
    """Return a figure of one panel."""
    figure, (axes,) = look.sheet(1, 1)
    draw(axes)
    return figure


def write(
    folder: Path, name: str, figures: Sequence[Figure], mark: str = "", foot: str = "", columns: int = COLUMNS
) -> list[str]:
    """Write figures of one size as the sheet `<name>.svg` and `<name>.png`, and return each as an SVG without a ground.

    `foot` stands below them on the right. Ids within a drawing begin with `mark` and its place. UserError when the
    folder cannot be written.
    """
    width, height = figures[0].get_size_inches()
    columns = min(columns, len(figures))
    placed = []
    for place, figure in enumerate(figures):
        row, column = divmod(place, columns)
        placed.append(_placed(figure, f"{mark}{place}-", column * width, row * height))
    below = [_placed(_foot(foot, columns * width), f"{mark}foot-", 0.0, placed[-1].top + height)] if foot else []
    with full_disk_named(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / f"{name}.svg", _nested(placed + below).encode())
    write_bytes(folder / f"{name}.png", _tiled(placed + below))
    return [drawn.vector for drawn in placed]


def rendered(figure: Figure, kind: str, **options: Any) -> bytes:
    """Return a figure as bytes of a kind that matplotlib knows; equal figures are equal bytes."""
    file = io.BytesIO()
    with matplotlib.rc_context(look.STYLE):
        figure.savefig(file, format=kind, metadata=LEFT_OUT if kind == "svg" else None, **options)
    return file.getvalue()


def _foot(text: str, width: float) -> Figure:
    with matplotlib.rc_context(look.STYLE):
        figure = Figure(figsize=(width, FOOT_INCHES))
    figure.text(0.995, 0.2, text, ha="right", va="bottom", fontsize=8, color=look.FAINT)
    return figure


def _placed(figure: Figure, mark: str, left: float, top: float) -> Placed:
    width, height = figure.get_size_inches()
    raw = np.frombuffer(rendered(figure, "rgba", dpi=DOTS), np.uint8)
    rows = int(height * DOTS + 1e-8)  # as matplotlib counts them: whole ones, but for what a product of floats may lack
    return Placed(_vector(figure, mark), raw.reshape(rows, -1, 4), left, top, width, height)


def _vector(figure: Figure, mark: str) -> str:
    """Return a figure as an SVG element of any size, without a ground; its ids are marked, since many share a page."""
    element = ElementTree.fromstring(rendered(figure, "svg", facecolor="none"))
    for side in ("width", "height"):
        element.attrib.pop(side)
    text = ElementTree.tostring(element, "unicode")
    for reference in (' id="', "url(#", 'href="#'):
        text = text.replace(reference, reference + mark)
    return text


def _nested(placed: Sequence[Placed]) -> str:
    """Return one SVG that holds the figures, on a white ground."""
    width, height = (POINTS * side for side in _size(placed))
    lines = [f'<svg xmlns="{SVG}" width="{width:g}pt" height="{height:g}pt" viewBox="0 0 {width:g} {height:g}">']
    lines += ['<rect width="100%" height="100%" fill="#ffffff"/>']
    for drawn in placed:
        corner = {"x": drawn.left, "y": drawn.top, "width": drawn.width, "height": drawn.height}
        sides = " ".join(f'{side}="{POINTS * inches:g}"' for side, inches in corner.items())
        lines += [drawn.vector.replace("<svg ", f"<svg {sides} ", 1)]
    return "\n".join([*lines, "</svg>\n"])


def _tiled(placed: Sequence[Placed]) -> bytes:
    """Return one PNG that holds the figures, on a white ground."""
    width, height = (round(DOTS * side) for side in _size(placed))
    whole = np.full((height, width, 4), 255, np.uint8)
    for drawn in placed:
        top, left = round(DOTS * drawn.top), round(DOTS * drawn.left)
        rows, columns, _ = drawn.pixels.shape
        whole[top : top + rows, left : left + columns] = drawn.pixels
    file = io.BytesIO()
    imsave(file, whole, format="png", dpi=DOTS)
    return file.getvalue()


def _size(placed: Sequence[Placed]) -> tuple[float, float]:
    return max(drawn.left + drawn.width for drawn in placed), max(drawn.top + drawn.height for drawn in placed)
