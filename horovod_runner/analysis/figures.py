"""Which figures a group of runs gets, as files beside its results and as pictures within the page."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import matplotlib
import pandas

from horovod_runner.analysis import plots, words
from horovod_runner.analysis.summary import Group, cell_rows
from horovod_runner.analysis.tables import epoch_table, step_table
from horovod_runner.store import full_disk_named, write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SVG = "{http://www.w3.org/2000/svg}"
ElementTree.register_namespace("", SVG[1:-1])
ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
COLUMNS = 2
LONGEST_NAME = 80
MOST_WITH_STEPS = 16  # completed runs of a group whose every step is drawn; of more, the means of epochs
PAGE_COLOURS = {plots.INK: "--ink", plots.FAINT: "--faint"} | {
    colour: f"--{name}" for name, (_, colour, _) in plots.FRAMEWORKS.items()
}
Panel = tuple[str, Callable[["Axes"], "Axes"]]


@dataclass(frozen=True)
class Picture:
    """One panel within the page: what it shows in words, and the drawing."""

    caption: str
    svg: str


def draw(group: Group, folder: Path) -> list[Picture]:
    """Write the group's sheet as PNG and SVG into `folder`, and return its panels for the page.

    Empty where no completed run has anything to show. UserError when the folder cannot be written.
    """
    panels = list(_panels(group))
    if not panels:
        return []
    figure, axes = plots.sheet(len(panels), COLUMNS)
    for place, (_, panel) in zip(axes, panels, strict=True):
        panel(place)
    name = f"{group.experiment}: {words.job(group.workload)}, {words.scaling(group)} {words.settings(group.distinct)}"
    figure.text(0.995, 0.005, name.strip(), ha="right", va="bottom", fontsize=8, color=plots.FAINT)
    with full_disk_named(folder):
        folder.mkdir(parents=True, exist_ok=True)
    drawing = rendered(figure, "svg")
    write_bytes(folder / f"{file_name(group)}.svg", drawing)
    write_bytes(folder / f"{file_name(group)}.png", rendered(figure, "png"))
    captions = [caption for caption, _ in panels]
    mark = hashlib.sha256(json.dumps([group.experiment, file_name(group)]).encode()).hexdigest()[:8]
    return [Picture(*pair) for pair in zip(captions, cut(drawing, captions, mark), strict=True)]


def file_name(group: Group) -> str:
    """Return the name of the group's sheet: job, scaling and batch, and the settings that tell it apart."""
    parts = [group.workload, f"{group.scaling}{group.fixed_batch}"]
    parts += [f"{key.rsplit('.', 1)[-1]}_{value}" for key, value in group.distinct.items()]
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", "-".join(parts))
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _panels(group: Group) -> Iterator[Panel]:
    """Yield a caption and a drawing function for whatever the completed runs carry."""
    epochs, cells = epoch_table(group.completed), pandas.DataFrame(cell_rows([group]))
    few = 0 < len(group.completed) <= MOST_WITH_STEPS
    if few:
        yield "Training loss of every step, as a running mean.", partial(plots.steps, step_table(group.completed))
    for value in ("val_loss",) if few else ("train_loss", "val_loss"):
        if epochs[value].notna().any():
            yield f"{plots.TITLES[value]} after each epoch.", partial(plots.curves, epochs, value=value)
    for value in ("train_loss", "val_loss"):
        if len(plots.pair(epochs, value)):
            told = f"{plots.TITLES[value]} of TensorFlow less PyTorch's, same seed and workers; at zero they agree."
            yield told, partial(plots.difference, epochs, value=value)
    if epochs["val_metric"].notna().any():
        yield f"Validation metric ({group.metric}) after each epoch.", partial(plots.curves, epochs, value="val_metric")
    if cells["images_per_second"].notna().any():
        told = "Images a second of all workers, with 95 % intervals; dotted: N times the framework's own 1 worker."
        yield told, partial(plots.throughput, cells)


def rendered(figure: Figure, kind: str) -> bytes:
    """Return a figure as the bytes of a file, svg or png; equal figures are equal bytes."""
    file = io.BytesIO()
    with matplotlib.rc_context(plots.STYLE):
        figure.savefig(file, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return file.getvalue()


def cut(sheet: bytes, captions: Sequence[str], mark: str) -> Iterator[str]:
    """Yield each panel of a sheet as an element of a page: it scales, and takes the page's font and colours.

    `mark` keeps apart the ids of different sheets on one page. (To cut is cheaper than to draw each panel once more.)
    """
    tree = ElementTree.fromstring(sheet)
    definitions = {part.get("id"): part for defs in tree.iter(f"{SVG}defs") for part in defs if part.get("id")}
    width, height = (float(size) for size in (tree.get("viewBox") or "").split()[2:])
    rows = -(-len(captions) // COLUMNS)
    for index, caption in enumerate(captions):
        (axes,) = (part for part in tree.iter(f"{SVG}g") if part.get("id") == f"axes_{index + 1}")
        row, column = divmod(index, COLUMNS)
        corner = f"{column * width / COLUMNS:g} {row * height / rows:g} {width / COLUMNS:g} {height / rows:g}"
        panel = _element(axes, definitions, {"viewBox": corner, "role": "img", "aria-label": caption})
        yield _for_the_page(panel, f"p{mark}{index}-")


def _element(axes: Element, definitions: Mapping[str | None, Element], attributes: dict[str, str]) -> str:
    """Return a drawing of one panel alone, with the markers and clips that it refers to."""
    panel = Element(f"{SVG}svg", attributes)
    used = set(re.findall(r"#([\w-]+)", ElementTree.tostring(axes, "unicode"))) & set(definitions)
    for parent in axes.iter():
        for defs in parent.findall(f"{SVG}defs"):
            parent.remove(defs)
    SubElement(panel, f"{SVG}defs").extend(definitions[name] for name in sorted(used))
    panel.append(axes)
    return ElementTree.tostring(panel, "unicode")


def _for_the_page(svg: str, mark: str) -> str:
    svg = re.sub(r"font: ((?:bold |\d+ )?[\d.]+px)[^;\"]*", r"font: \1 system-ui, sans-serif", svg)
    svg = svg.replace(' id="', f' id="{mark}').replace("url(#", f"url(#{mark}").replace('href="#', f'href="#{mark}')
    for colour, variable in PAGE_COLOURS.items():
        svg = svg.replace(colour, f"var({variable})")
    return re.sub(r'(<g id="[^"]*patch_\d+">\s*<path [^>]*style="fill: )#ffffff', r"\1none", svg)
