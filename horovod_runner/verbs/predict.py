"""The verb: predictions beyond what was measured, and how far off they are on ladders that others published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from horovod_runner.results.store import full_disk_named

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from horovod_runner.prediction.ladder import Ladder


@dataclass(frozen=True)
class PredictRequest:
    """What a user asks for. One of `study`, `ladder` and `profile` is given."""

    out: Path
    study: Path | None = None
    ladder: tuple[Path, ...] = ()
    profile: Path | None = None
    network: Path | None = None
    allreduce: Path | None = None
    workers: str | None = None
    per_host: int | None = None
    strategies: tuple[str, ...] = ()
    scaling: str | None = None


def score_ladders(files: Sequence[Path], out: Path, console: Console) -> int:
    """Fit and judge published ladders; print every cell, and write the score sheet and its figure."""
    from horovod_runner.prediction import sheet
    from horovod_runner.prediction.ladder import score
    from horovod_runner.prediction.nulls import TITLES

    ladders = [ladder for file in files for ladder in score(file)]
    for ladder in ladders:
        _show_ladder(ladder, console)
    judged = [one for ladder in ladders for one in ladder.scored]
    if judged:
        held, count = sheet.covered(judged)
        own, *others = (
            f"{TITLES.get(name, name)} {'–' if size is None else f'{100 * size:.1f} %'}"
            for name, size in sheet.medians(judged).items()
        )
        console.print(
            f"\nMedian size of the errors of the step time over {count} judged cells: {own} ({', '.join(others)});"
            f" {held} of {count} intervals hold what was measured.",
            soft_wrap=True,
        )
    written = sheet.write(ladders, out)
    figure = _draw_ladders(ladders, out)
    for path in (figure, *written):
        console.print(str(path), markup=False, soft_wrap=True)
    return 0


def _show_ladder(ladder: Ladder, console: Console) -> None:
    from horovod_runner.analysis.report import terminal
    from horovod_runner.prediction.nulls import TITLES
    from horovod_runner.prediction.sheet import percent

    rows = []
    for one in ladder.judged:
        interval = one.images_per_second
        row = {"workers": str(one.rung.workers), "batch": str(one.rung.local_batch), "use": one.rung.use}
        row["images/s"] = f"{one.rung.images_per_second:g}"
        if interval is not None:
            row["predicted"] = f"{interval.mean:.0f} [{interval.ci95_low:.0f}, {interval.ci95_high:.0f}]"
            row["error %"] = percent(one.error)
            row |= {title: percent(one.null_errors[name]) for name, title in TITLES.items()}
        rows.append(row)
    why = f"; not scored: {ladder.reason}" if ladder.reason else ""
    console.print(f"\n[bold]{escape(ladder.file.stem)}: {escape(ladder.model)}[/bold]{why}", soft_wrap=True)
    console.print(terminal.table("", rows, console), no_wrap=True)


def _draw_ladders(ladders: Sequence[Ladder], out: Path) -> Path:
    from horovod_runner.analysis.plots.drawing import own_settings

    with own_settings():
        from horovod_runner.analysis.plots import prediction

        return write_figure(prediction.of_ladders([one for one in ladders if one.scored] or ladders), out, "ladders")


def write_figure(figure: Figure, out: Path, name: str) -> Path:
    """Write a figure as SVG and PNG; return the PNG."""
    from horovod_runner.analysis.plots import files

    with full_disk_named(out):
        out.mkdir(parents=True, exist_ok=True)
    files.write(out, name, [figure])
    return out / f"{name}.png"
