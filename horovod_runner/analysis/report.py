"""The report of a results folder: tables in the terminal at once, then figures, and one page that stands alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from horovod_runner.analysis import tables, terminal, words
from horovod_runner.analysis.pack import is_packed
from horovod_runner.analysis.runs import unfinished
from horovod_runner.analysis.summary import Group, all_runs, groups
from horovod_runner.parity.rows import find_table
from horovod_runner.store import write_text

if TYPE_CHECKING:
    from rich.console import Console

    from horovod_runner.analysis.page import Study
    from horovod_runner.analysis.parity import Proof

MOST_DRAWN = 8  # groups with figures in one report: a matrix has hundreds, and drawing one takes a second
PAGE = "report.html"


def write_report(root: Path, out: Path | None = None, console: Console | None = None) -> Path:
    """Print the tables of the results below `root`, write figures and page, and return the path of the page.

    The page is `<root>/report.html` and figures lie in `<experiment>/figures/`; with `out`, the page is that file and
    the figures lie in `figures/<experiment>/` beside it. UserError when there is nothing to report, a result is
    damaged, or a place cannot be written.
    """
    proven = find_table(root)
    chosen = [] if proven == root else groups(tables.read(root))
    terminal.show(chosen, console or terminal.console())
    # Imported here, so that the tables need not wait for matplotlib.
    from horovod_runner.analysis import page

    file = out or root / PAGE
    write_text(file, page.render(list(_studies(chosen, root, out)), _proof(proven, out)))
    return file


def _proof(folder: Path | None, out: Path | None) -> Proof | None:
    """Return the page's section about the proof that the frameworks do the same job, if there is one."""
    if folder is None:
        return None
    from horovod_runner.analysis import parity

    return parity.proof(folder, out.parent / "figures" / "parity" if out else folder / "figures")


def _studies(chosen: Sequence[Group], root: Path, out: Path | None) -> Iterator[Study]:
    from horovod_runner.analysis import figures, page

    studies = [(name, list(members)) for name, members in groupby(chosen, key=lambda group: group.experiment)]
    for name, together in studies:
        home = _home(together, root)
        folder = out.parent / "figures" / name if out else home / "figures"
        picked = _picked(together, max(2, MOST_DRAWN // len(studies)))
        drawn = [(group, figures.draw(group, folder) if i in picked else None) for i, group in enumerate(together)]
        yield page.Study(name, drawn, list(_notes(drawn, home)))


def _picked(together: Sequence[Group], most: int) -> set[int]:
    """Return the places of the groups that get figures: first one of every job, then their seconds, and so on."""
    seen: Counter[str] = Counter()
    ranked = []
    for place, group in enumerate(together):
        ranked.append((seen[group.workload], place))
        seen[group.workload] += 1
    return {place for _, place in sorted(ranked)[:most]}


def _home(together: Sequence[Group], root: Path) -> Path:
    """Return the experiment's folder, or the run's where only a run is reported."""
    folder = together[0].runs[0].folder
    return folder if folder == root else folder.parent


def _notes(drawn: Sequence[tuple[Group, object]], home: Path) -> Iterator[str]:
    """Yield what a reader should know about how the study was put together."""
    runs = all_runs(group for group, _ in drawn)
    failed, begun = sum(not run.completed for run in runs), unfinished(home)
    undrawn = sum(pictures is None for _, pictures in drawn)
    if failed:
        yield f"{words.count(failed, 'run')} of {len(runs)} did not complete; they are listed below, and in no figure."
    if begun:
        yield f"{words.count(begun, 'run')} begun and not finished; the command that started them goes on with them."
    if len({run.machine for run in runs}) > 1:
        yield "These runs are of several machines, which are never averaged: each has its own table."
    if len({str(run.provenance.get("versions")) for run in runs}) > 1:
        yield "These runs were made with different versions of something: see Versions below before comparing."
    if undrawn:
        yield f"Not every group has figures: {undrawn} of {len(drawn)} have a table alone."
    if is_packed(home) and not runs[0].packed:
        yield "Runs that this folder holds packed are left out, because there are newer ones beside them."
