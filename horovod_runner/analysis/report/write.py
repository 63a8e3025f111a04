"""The report of a results folder: tables in the terminal at once, then figures, and one page that stands alone."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from horovod_runner.analysis.load import tables
from horovod_runner.analysis.load.groups import Group, all_runs, cell_rows, groups, unsettled
from horovod_runner.analysis.load.learning import Unlearned, unlearned
from horovod_runner.analysis.load.pack import is_packed
from horovod_runner.analysis.load.runs import unfinished
from horovod_runner.analysis.plots.drawing import own_settings
from horovod_runner.analysis.questions.scaling.study import studies
from horovod_runner.analysis.questions.strategies import Comparison, comparisons
from horovod_runner.analysis.questions.strategies import rows as strategy_rows
from horovod_runner.analysis.report import terminal
from horovod_runner.analysis.report.answers import Answer, answers, over_studies
from horovod_runner.analysis.report.head import Head
from horovod_runner.analysis.report.sentences import told
from horovod_runner.parity.rows import find_table
from horovod_runner.results.store import full_disk_named, write_text

if TYPE_CHECKING:
    from rich.console import Console

    from horovod_runner.analysis.report.page import Answered, Shown, Study
    from horovod_runner.analysis.report.parity import Proof

MOST_DRAWN = 8  # groups with figures in one report: a matrix has hundreds, and drawing one takes a second
MOST_WHOLE = 4  # groups with a section each where questions are answered: of more, there is one table of all
MOST_COMPARED = 4  # comparisons of strategies with figures in one experiment
PAGE = "report.html"


def write_report(root: Path, out: Path | None = None, console: Console | None = None) -> Path:
    """Print the tables of the results below `root`, write figures and page, and return the path of the page.

    The page is `<root>/report.html`, figures lie in `<experiment>/figures/` and CSV files in `<experiment>/tables/`;
    with `out`, the page is that file and these lie in `figures/<experiment>/` and `tables/<experiment>/` beside it.
    UserError when there is nothing to report, a result is damaged, or a place cannot be written.
    """
    proven = find_table(root)
    chosen = [] if proven == root else groups(tables.read(root))
    answered = _told(chosen, console or terminal.console())
    file = out or root / PAGE
    with own_settings():
        # Imported here, so that the tables need not wait for matplotlib.
        from horovod_runner.analysis.report import page

        together = list(_together(chosen, file.parent, console or terminal.console()))
        studies = list(_studies(chosen, answered, root, file, out is not None))
        write_text(file, page.render(studies, _proof(proven, out), together))
    return file


def _told(chosen: Sequence[Group], console: Console) -> dict[str, list[Answer]]:
    """Print every experiment's tables, or in their stead the answers that many groups give; return the answers."""
    together = {name: list(members) for name, members in groupby(chosen, key=lambda group: group.experiment)}
    many = [name for name, members in together.items() if len(members) > MOST_WHOLE]
    answered = {name: answers(all_runs(together[name])) for name in many}
    shrunk = {name for name in many if answered[name]}
    terminal.show([group for group in chosen if group.experiment not in shrunk], console)
    # What is asked of few groups is answered after their tables, which need not wait for it.
    answered |= {name: answers(all_runs(members)) for name, members in together.items() if name not in answered}
    for name, members in together.items():
        terminal.show_head(Head(name, members, answered[name]), console)
        terminal.show_answers(name, answered[name], members if name in shrunk else (), console)
    return answered


def _together(chosen: Sequence[Group], folder: Path, console: Console) -> Iterator[Answered]:
    """Print, draw and tabulate what several experiments say as one, in `figures/` and `tables/` of the folder."""
    from horovod_runner.analysis.report import figures, page

    experiments = groupby(chosen, key=lambda group: group.experiment)
    replies = over_studies([all_runs(members) for _, members in experiments])
    terminal.show_answers("all studies", replies, (), console)
    for answer in replies:
        _write_table(f"{answer.name}.csv", answer.rows, folder / "tables")
        yield page.Answered(answer, figures.draw_answer("all studies", answer, folder / "figures"))


def _proof(folder: Path | None, out: Path | None) -> Proof | None:
    """Return the page's section about the proof that the frameworks do the same job, if there is one."""
    if folder is None:
        return None
    from horovod_runner.analysis.report import parity

    return parity.proof(folder, out.parent / "figures" / "parity" if out else folder / "figures")


def _studies(
    chosen: Sequence[Group], answered: Mapping[str, Sequence[Answer]], root: Path, file: Path, elsewhere: bool
) -> Iterator[Study]:
    """Draw and tabulate every experiment for the page `file`; `elsewhere`: beside the page, not beside the results."""
    from horovod_runner.analysis.report import figures, page

    together = [(name, list(members)) for name, members in groupby(chosen, key=lambda group: group.experiment)]
    for name, members in together:
        home = _home(members, root)
        drawn_to, tabled_to = (
            file.parent / kind / name if elsewhere else home / kind for kind in ("figures", "tables")
        )
        whole = not answered[name] or len(members) <= MOST_WHOLE
        picked = _picked(members, max(2, MOST_DRAWN // len(together))) if whole else set()
        shown = []
        for place, group in enumerate(members):
            scalings = studies(group)
            pictures = figures.draw(group, scalings, drawn_to) if place in picked else None
            shown.append(page.Shown(group, scalings, pictures))
        compared = comparisons(members)
        beside = [
            page.ComparedStrategies(one, figures.draw_strategies(one, drawn_to) if place < MOST_COMPARED else None)
            for place, one in enumerate(compared)
        ]
        replies = [page.Answered(one, figures.draw_answer(name, one, drawn_to)) for one in answered[name]]
        written = [_from(file, table) for table in _write_tables(shown, compared, replies, tabled_to)]
        notes = told("notes", found=_notes(shown, home, whole))
        head = Head(name, members, answered[name])
        yield page.Study(name, head, shown, notes, _from(file, drawn_to), written, beside, replies, whole)


def _from(file: Path, other: Path) -> str:
    """Return where the other file lies, seen from the first."""
    return os.path.relpath(other, file.parent)


def _write_tables(
    shown: Sequence[Shown], compared: Sequence[Comparison], replies: Sequence[Answered], folder: Path
) -> Iterator[Path]:
    """Write cells, what they say of scaling and strategies, and the answers' tables as CSV; yield the files."""
    scaling = [row for one in shown for made in one.scalings for row in tables.scaling_rows(one.group, made)]
    rows: dict[str, Sequence[Mapping[str, Any]]] = {"cells.csv": cell_rows(one.group for one in shown)}
    rows["scaling.csv"] = scaling
    rows["strategies.csv"] = [row for comparison in compared for row in strategy_rows(comparison)]
    rows |= {f"{one.answer.name}.csv": one.answer.rows for one in replies}
    for name, chosen in rows.items():
        if chosen:
            yield _write_table(name, chosen, folder)


def _write_table(name: str, rows: Sequence[Mapping[str, Any]], folder: Path) -> Path:
    import pandas

    table = pandas.DataFrame(rows)
    if "settings" in table:
        table["settings"] = table["settings"].map(json.dumps)
    with full_disk_named(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / name, table.to_csv(index=False))
    return folder / name


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


@dataclass(frozen=True)
class Notes:
    """What a reader should know about how a study was put together: how many of what, and whether runs took a place."""

    runs: int
    failed: int
    begun: int
    machines: int
    versions: int
    groups: int
    undrawn: int
    replaced: bool
    unlearned: Unlearned
    unsettled: int


def _notes(shown: Sequence[Shown], home: Path, whole: bool) -> Notes:
    runs = all_runs(one.group for one in shown)
    return Notes(
        runs=len(runs),
        failed=sum(not run.completed for run in runs),
        begun=unfinished(home),
        machines=len({run.machine for run in runs}),
        versions=len({str(run.provenance.get("versions")) for run in runs}),
        groups=len(shown),
        undrawn=sum(one.pictures is None for one in shown) if whole else 0,
        replaced=is_packed(home) and not runs[0].packed,
        unlearned=unlearned(runs),
        unsettled=unsettled(runs) or 0,
    )
