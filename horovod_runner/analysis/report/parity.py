"""The proof's table as figures, and as a section of the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from horovod_runner.analysis.plots import look as plots
from horovod_runner.analysis.plots.panels import Panel, panel
from horovod_runner.analysis.report import figures
from horovod_runner.config.frameworks import FRAMEWORKS, PAIR
from horovod_runner.parity.rows import CLAIMS, Row, Table, read_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEAST = 1e-17
"""Where a difference of exactly nothing is drawn on a logarithmic axis."""
FAILED = "#d55e00"  # vermilion


@dataclass(frozen=True)
class Proof:
    """The section of the page: the table, and its pictures."""

    table: Table
    pictures: Sequence[figures.Picture]

    @property
    def claims(self) -> list[tuple[str, list[Row]]]:
        """The rows under the titles of their claims."""
        chosen = {title: [row for row in self.table.rows if row.claim == claim] for claim, title in CLAIMS.items()}
        return [(title, rows) for title, rows in chosen.items() if rows]


def proof(folder: Path, drawn: Path) -> Proof:
    """Read the table of a folder and draw its figures into another; UserError when it is damaged."""
    table = read_table(folder)
    return Proof(table, draw(table, drawn))


def draw(table: Table, folder: Path) -> list[figures.Picture]:
    """Write the proof's sheet as `parity.png` and `parity.svg`, and return its panels for the page."""
    return figures.sheet(list(_panels(table)), "parity", folder)


def _panels(table: Table) -> Iterator[Panel]:
    drawn = [row for row in table.rows if row.tolerance > 0 and row.claim not in ("float32", "finished")]
    yield panel(partial(rows, drawn), "proof_rows")
    for name, curves in table.curves.items():
        workload = name.removeprefix("drift ")
        yield panel(partial(drift, workload, curves), "drift", workload=workload)


def rows(chosen: Sequence[Row], axes: Axes) -> Axes:
    """Draw differences and tolerances on a logarithmic axis, a line a claim."""
    claims = [claim for claim in CLAIMS if any(row.claim == claim for row in chosen)]
    for row in chosen:
        height = len(claims) - claims.index(row.claim)
        colour = plots.INK if row.passed else FAILED
        axes.plot(
            max(row.difference, LEAST), height, "o" if not row.differs else "D", color=colour, alpha=0.6, markersize=4
        )
        axes.plot([row.tolerance] * 2, [height - 0.3, height + 0.3], color=plots.FAINT, linewidth=1.5)
    axes.set_xscale("log")
    for place, claim in enumerate(reversed(claims), 1):
        axes.text(1.04, place, claim, fontsize=8.5, va="center", transform=axes.get_yaxis_transform())
    axes.set_yticks([])
    axes.set_ylim(0.4, len(claims) + 0.6)
    return plots.titled(axes, "Relative differences", "largest relative difference")


def drift(workload: str, curves: Mapping[str, Sequence[float]], axes: Axes) -> Axes:
    """Draw float32's distances against the step, both axes logarithmic."""
    looks = {"between": ("between frameworks", plots.INK, "D")}
    for row in map(FRAMEWORKS.__getitem__, PAIR):
        looks[f"{row.name} itself"] = (f"{row.title} itself", row.colour, row.marker)
    ends = []
    for key, (name, colour, marker) in looks.items():
        axes.plot(curves["step"], curves[key], color=colour, marker=marker)
        ends.append(plots.End(curves["step"][-1], curves[key][-1], name, colour, "-"))
    axes.set_xscale("log")
    axes.set_yscale("log")
    plots.titled(axes, f"{workload}: drift in float32", "step")
    return plots.name_ends(axes, ends)
