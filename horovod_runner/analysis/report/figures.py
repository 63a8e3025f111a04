"""Which figures a group of runs gets, as files beside its results and as pictures within the page."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

from horovod_runner.analysis.load.groups import Group
from horovod_runner.analysis.plots import files, look, panels
from horovod_runner.analysis.plots import times as time_plots
from horovod_runner.analysis.questions.scaling.study import Scaling, studies
from horovod_runner.analysis.questions.strategies import Comparison
from horovod_runner.analysis.report import words
from horovod_runner.analysis.report.answers import Answer
from horovod_runner.analysis.report.sentences import phrase
from horovod_runner.config.frameworks import FRAMEWORKS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST_NAME = 80
PAGE_COLOURS = {look.INK: "--ink", look.FAINT: "--faint"} | {
    framework.colour: f"--{name}" for name, framework in FRAMEWORKS.items()
}
PAGE_COLOURS |= {"#56b4e9": "--waiting"}
PAGE_COLOURS |= {colour: f"--{part}" for part, (_, colour) in time_plots.PARTS.items()} | {"#ffffff": "--card"}


@dataclass(frozen=True)
class Picture:
    """A figure within the page: what it shows in words, the drawing, and the file of the sheet that has it."""

    caption: str
    svg: str
    file: str


def draw(group: Group, scalings: Sequence[Scaling], folder: Path) -> list[Picture]:
    """Write the group's sheets as PNG and SVG into `folder`, and return their panels for the page.

    Empty where no completed run has anything to show. UserError when the folder cannot be written.
    """
    sheets = panels.sheets(group, scalings)
    return [picture for kind, drawn in sheets.items() for picture in _of_group(group, kind, drawn, folder)]


def draw_strategies(comparison: Comparison, folder: Path) -> list[Picture]:
    """Write the sheet that sets strategies side by side into `folder`, and return its panels for the page.

    Empty where there is one way alone, and no timeline.
    """
    drawn = panels.of_strategies(comparison)
    return _of_group(comparison.group, panels.OF_STRATEGIES, drawn, folder) if drawn else []


def scaling_sheet(group: Group) -> Figure:
    """Return the figure of the group's scaling and step times, for a notebook; the group has a study of scaling."""
    drawn = panels.sheets(group, studies(group))[panels.OF_SCALING]
    figure, axes = look.sheet(len(drawn))
    for place, panel in zip(axes, drawn, strict=True):
        panel.draw(place)
    return figure


def draw_answer(experiment: str, answer: Answer, folder: Path) -> Picture | None:
    """Write the figure of a question's answer as PNG and SVG into `folder`, and return it for the page.

    None where the answer has no figure. UserError when the folder cannot be written.
    """
    if answer.draw is None:
        return None
    (picture,) = _pictures([answer.title], [answer.draw()], answer.name, folder, experiment)
    return picture


def sheet(
    drawn: Sequence[panels.Panel], name: str, folder: Path, experiment: str = "", foot: str = ""
) -> list[Picture]:
    """Draw every panel by itself, write them as the sheet of this name, and return them for the page."""
    captions = [phrase("captions", panel.kind, **panel.of) for panel in drawn]
    figures = [files.panel(panel.draw) for panel in drawn]
    return _pictures(captions, figures, name, folder, experiment, foot)


def _pictures(
    captions: Sequence[str], figures: Sequence[Figure], name: str, folder: Path, experiment: str, foot: str = ""
) -> list[Picture]:
    """Write figures as one sheet, and return each for the page, where its ids are unique and its colours the page's."""
    written = files.write(folder, name, figures, f"p{_digest(f'{experiment} {name}')}", foot)
    return [
        Picture(caption, _for_the_page(svg, caption), f"{name}.svg")
        for caption, svg in zip(captions, written, strict=True)
    ]


def _of_group(group: Group, kind: str, drawn: Sequence[panels.Panel], folder: Path) -> list[Picture]:
    """Write one sheet of a group; `kind` is what is appended to its file's name."""
    foot = f"{group.experiment}: {words.title(group)} {words.settings(group.distinct)}"
    return sheet(drawn, f"{file_name(group)}{kind}", folder, group.experiment, foot.strip())


def file_name(group: Group) -> str:
    """Return the name of the group's sheet: job, scaling and batch, and the settings that tell it apart."""
    parts = [group.workload, f"{group.scaling}{group.fixed_batch}"]
    parts += [f"{key.rsplit('.', 1)[-1]}_{value}" for key, value in group.distinct.items()]
    name = words.file_part("-".join(parts))
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 9]}-{_digest(name)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _for_the_page(svg: str, caption: str) -> str:
    for colour, variable in PAGE_COLOURS.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg.replace("<svg ", f'<svg role="img" aria-label={quoteattr(caption)} ', 1)
