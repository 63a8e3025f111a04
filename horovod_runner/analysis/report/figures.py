"""Which figures a group of runs gets, as files beside its results and as pictures within the page."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from horovod_runner.analysis.load.groups import Group
from horovod_runner.analysis.plots import look as plots
from horovod_runner.analysis.plots import panels
from horovod_runner.analysis.plots import times as time_plots
from horovod_runner.analysis.questions.scaling.study import Scaling, studies
from horovod_runner.analysis.questions.strategies import Comparison
from horovod_runner.analysis.report import words
from horovod_runner.analysis.report.answers import Answer
from horovod_runner.config.frameworks import FRAMEWORKS
from horovod_runner.results.store import full_disk_named, write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SVG = "{http://www.w3.org/2000/svg}"
ElementTree.register_namespace("", SVG[1:-1])
ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
COLUMNS = 2
LONGEST_NAME = 80
PAGE_COLOURS = {plots.INK: "--ink", plots.FAINT: "--faint"} | {
    framework.colour: f"--{name}" for name, framework in FRAMEWORKS.items()
}
PAGE_COLOURS |= {"#56b4e9": "--waiting"}
PAGE_COLOURS |= {colour: f"--{part}" for part, (_, colour) in time_plots.PARTS.items()} | {"#ffffff": "--card"}


@dataclass(frozen=True)
class Picture:
    """One panel within the page: what it shows in words, the drawing, and the file of the sheet that has it."""

    caption: str
    svg: str
    file: str


def draw(group: Group, scalings: Sequence[Scaling], folder: Path) -> list[Picture]:
    """Write the group's sheets as PNG and SVG into `folder`, and return their panels for the page.

    Empty where no completed run has anything to show. UserError when the folder cannot be written.
    """
    sheets = panels.sheets(group, scalings)
    return [picture for kind, drawn in sheets.items() for picture in _sheet(group, kind, drawn, folder)]


def draw_ways(comparison: Comparison, folder: Path) -> list[Picture]:
    """Write the sheet that sets ways of reducing side by side into `folder`, and return its panels for the page.

    Empty where there is one way alone, and no timeline.
    """
    drawn = panels.of_strategies(comparison)
    return list(_sheet(comparison.group, panels.OF_STRATEGIES, drawn, folder)) if drawn else []


def scaling_sheet(group: Group) -> Figure:
    """Return the figure of the group's scaling and step times, for a notebook; the group has a study of scaling."""
    return _composed(group, panels.sheets(group, studies(group))[panels.OF_SCALING])


def draw_answer(experiment: str, answer: Answer, folder: Path) -> Picture | None:
    """Write the figure of a question's answer as PNG and SVG into `folder`, and return it for the page.

    None where the answer has no figure. UserError when the folder cannot be written.
    """
    if answer.draw is None:
        return None
    drawing = _written(answer.draw(), answer.name, folder)
    picture = ElementTree.fromstring(drawing)
    for size in ("width", "height"):
        picture.attrib.pop(size, None)
    picture.attrib |= {"role": "img", "aria-label": answer.title}
    mark = hashlib.sha256(json.dumps([experiment, answer.name]).encode()).hexdigest()[:8]
    svg = _for_the_page(ElementTree.tostring(picture, "unicode"), f"q{mark}-")
    return Picture(answer.title, svg, f"{answer.name}.svg")


def _written(figure: Figure, name: str, folder: Path) -> bytes:
    """Write a figure as SVG and PNG of this name, and return the SVG."""
    with full_disk_named(folder):
        folder.mkdir(parents=True, exist_ok=True)
    drawing = plots.rendered(figure, "svg")
    write_bytes(folder / f"{name}.svg", drawing)
    write_bytes(folder / f"{name}.png", plots.rendered(figure, "png"))
    return drawing


def _sheet(group: Group, kind: str, drawn: Sequence[panels.Panel], folder: Path) -> Iterator[Picture]:
    """Write one sheet; `kind` is what is appended to its file's name."""
    file = f"{file_name(group)}{kind}"
    drawing = _written(_composed(group, drawn), file, folder)
    captions = [caption for caption, _ in drawn]
    mark = hashlib.sha256(json.dumps([group.experiment, file]).encode()).hexdigest()[:8]
    for caption, svg in zip(captions, cut(drawing, captions, mark), strict=True):
        yield Picture(caption, svg, f"{file}.svg")


def _composed(group: Group, drawn: Sequence[panels.Panel]) -> Figure:
    figure, axes = plots.sheet(len(drawn), COLUMNS)
    for place, (_, panel) in zip(axes, drawn, strict=True):
        panel(place)
    name = f"{group.experiment}: {words.job(group.workload)}, {words.scaling(group)} {words.settings(group.distinct)}"
    figure.text(0.995, 0.005, name.strip(), ha="right", va="bottom", fontsize=8, color=plots.FAINT)
    return figure


def file_name(group: Group) -> str:
    """Return the name of the group's sheet: job, scaling and batch, and the settings that tell it apart."""
    parts = [group.workload, f"{group.scaling}{group.fixed_batch}"]
    parts += [f"{key.rsplit('.', 1)[-1]}_{value}" for key, value in group.distinct.items()]
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", "-".join(parts))
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


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
    svg = re.sub(r'(<g id="[^"]*patch_\d+">\s*<path [^>]*style="fill: )#ffffff', r"\1none", svg)
    for colour, variable in PAGE_COLOURS.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg
