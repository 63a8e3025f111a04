"""What the page says: its studies with their findings, failures and provenance, put into the template."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from horovod_runner.analysis.load.groups import Cell, Group, all_runs
from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.questions.scaling.causes import slow_worker
from horovod_runner.analysis.questions.scaling.study import Scaling, studies
from horovod_runner.analysis.questions.strategies import Comparison, told
from horovod_runner.analysis.report import text_tables, words
from horovod_runner.analysis.report.answers import Answer
from horovod_runner.analysis.report.figures import Picture
from horovod_runner.config.frameworks import FRAMEWORKS
from horovod_runner.statistics.interval import Interval, ratio

if TYPE_CHECKING:
    from horovod_runner.analysis.report.parity import Proof

TEMPLATES = Path(__file__).parent / "templates"
MOST_COMMANDS = 16


class Shown(NamedTuple):
    """A group on the page: what its runs say of scaling, and its pictures (None where they were left out)."""

    group: Group
    scalings: Sequence[Scaling]
    pictures: Sequence[Picture] | None


class ComparedStrategies(NamedTuple):
    """Strategies side by side on the page, and their pictures (None where they were left out)."""

    comparison: Comparison
    pictures: Sequence[Picture] | None


class Answered(NamedTuple):
    """What an experiment's runs say to a question, and its picture (None where there is nothing to draw)."""

    answer: Answer
    picture: Picture | None


@dataclass(frozen=True)
class Study:
    """An experiment on the page: its groups, its notes, and where its figures and tables lie, seen from the page.

    `whole`: whether each group has a section; or else one table has all of them.
    """

    name: str
    groups: Sequence[Shown]
    notes: Sequence[str]
    figures: str
    tables: Sequence[str]
    compared_strategies: Sequence[ComparedStrategies] = ()
    answers: Sequence[Answered] = ()
    whole: bool = True

    @property
    def runs(self) -> list[Run]:
        """All its runs."""
        return all_runs(shown.group for shown in self.groups)

    @property
    def untimed(self) -> bool:
        """Whether there are runs that were not timed."""
        return any(cell.untimed for shown in self.groups for cell in shown.group.cells)

    @property
    def failures(self) -> list[Run]:
        """The runs that did not complete."""
        return [run for run in self.runs if not run.completed]


def render(studies: Sequence[Study], proof: Proof | None = None, together: Sequence[Answered] = ()) -> str:
    """Return the page: one file that needs no other; `together` is what several studies say as one."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.globals |= {"words": words, "findings": findings, "provenance": provenance, "commands": commands}
    environment.globals |= {
        "text_tables": text_tables,
        "framework": words.framework,
        "frameworks": FRAMEWORKS.values(),
        "excluded": excluded,
        "ranked": told,
    }
    return environment.get_template("report.html.j2").render(studies=studies, proof=proof, together=together)


def findings(group: Group, scalings: Sequence[Scaling] | None = None) -> list[str]:
    """Return what the group's figures say in sentences, each with its interval, or that they cannot tell.

    `scalings`: what `scaling.studies` says of the group, where that is already known.
    """
    return [
        *_scaling_findings(group, studies(group) if scalings is None else scalings),
        *_speed_findings(group),
        *filter(None, map(slow_worker, group.cells)),
        *_loss_findings(group),
    ]


def excluded(group: Group) -> str:
    """Return how many runs the figures leave out, or nothing."""
    left_out = sum(not run.completed for run in group.runs)
    return f"Left out of the figures: {words.count(left_out, 'run')} that did not complete." if left_out else ""


def provenance(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Return what the runs were measured on and with: a heading, and each different text under it."""
    facts = {
        "Machine": _machine,
        "Versions": _versions,
        "Launcher": _launcher,
        "Commit": _commit,
        "Environment": _environment,
    }
    listed = []
    for heading, tell in facts.items():
        texts = Counter(words.without_paths(tell(run.provenance)) for run in runs)
        many = len(texts) > 1
        shown = [f"{text} ({words.count(times, 'run')})" if many else text for text, times in texts.items() if text]
        listed.append((heading, shown or ["not recorded"]))
    started = sorted(
        str(run.provenance["started"])[:16].replace("T", " ") for run in runs if run.provenance.get("started")
    )
    if started:
        listed.append(
            ("Started", [f"{started[0]} UTC" + (f" to {started[-1]} UTC" if started[-1] != started[0] else "")])
        )
    return listed


def commands(runs: Sequence[Run]) -> list[str]:
    """Return the different commands behind these runs, paths shortened; past a number of them, only how many more."""
    texts = [" ".join(run.provenance["command"]) for run in runs if run.provenance.get("command")]
    different = list(dict.fromkeys(words.without_paths(text) for text in texts))
    more = len(different) - MOST_COMMANDS
    return different[:MOST_COMMANDS] + ([f"… and {more} more"] if more > 0 else [])


def _scaling_findings(group: Group, scalings: Sequence[Scaling]) -> Iterator[str]:
    for made in scalings:
        name, most = words.framework(made.framework), made.points[-1]
        gain, part = words.with_bounds(most.speedup), words.with_bounds(most.efficiency)
        base = f"its {words.count(made.baseline_workers, 'worker')}"
        if made.baseline_workers > 1:
            base += f", taken as {made.baseline_workers}"
        start = f"{name} on {most.workers} workers makes {gain} times the images/s of {base}"
        yield f"{start}: a {group.scaling}-scaling efficiency of {part}."


def _speed_findings(group: Group) -> Iterator[str]:
    for first, second in _both(group):
        if first.images_per_second is None or second.images_per_second is None:
            continue
        speed = ratio(first.images_per_second, second.images_per_second)
        one, other = words.framework(first.framework), words.framework(second.framework)
        where, value = f"On {words.count(first.workers, 'worker')}", words.with_bounds(speed)
        if _undecided(speed):
            yield f"{where} {one} and {other} are indistinguishable in speed: ratio {value}."
        else:
            yield f"{where} {one} makes {value} times the images/s of {other}."


def _undecided(speed: Interval) -> bool:
    low, high = speed.ci95_low, speed.ci95_high
    return low is None or high is None or low <= 1 <= high


def _loss_findings(group: Group) -> Iterator[str]:
    pairs = list(_both(group))
    apart = [(first, _gap(first, second)) for first, second in pairs]
    told = [f"{gap:+.4f} on {words.count(cell.workers, 'worker')}" for cell, gap in apart if gap is not None]
    if told:
        first, second = (words.framework(cell.framework) for cell in pairs[0])
        yield f"Last validation loss, {first} less {second}: {', '.join(told)}. {_chance(pairs)}"


def _chance(pairs: Sequence[tuple[Cell, Cell]]) -> str:
    seeds = min(len({run.result.seed for run in cell.completed}) for both in pairs for cell in both)
    if seeds < 2:
        return "With one seed, nothing tells this from what another seed would change."
    return f"The bands show how far {seeds} seeds spread."


def _gap(first: Cell, second: Cell) -> float | None:
    one, other = first.mean("final_val_loss"), second.mean("final_val_loss")
    return None if one is None or other is None else one - other


def _both(group: Group) -> Iterator[tuple[Cell, Cell]]:
    """Yield the cells of the first two frameworks on equal numbers of workers."""
    names = sorted({cell.framework for cell in group.cells if cell.completed})[:2]
    if len(names) == 2:
        for cell in group.cells:
            other = group.cell(names[1], cell.workers)
            if cell.framework == names[0] and cell.completed and other and other.completed:
                yield cell, other


def _machine(p: Mapping[str, Any]) -> str:
    machine = p.get("machine") or {}
    if not machine:
        return ""
    memory = f"{machine.get('memory_bytes', 0) / 2**30:.0f} GiB"
    gpus = ", ".join(str(gpu) for gpu in machine.get("gpus") or []) or "no GPU"
    cores = words.count(machine.get("cores", 0), "core")
    return f"{machine.get('cpu')}, {cores}, {memory}, {machine.get('system')}, {gpus} (id {machine.get('id')})"


def _versions(p: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in (p.get("versions") or {}).items() if version)


def _launcher(p: Mapping[str, Any]) -> str:
    launcher = p.get("launcher") or {}
    controller = {"mpi": "MPI", "gloo": "Gloo"}.get(str(launcher.get("controller")), "no controller")
    hosts = words.count(launcher.get("hosts") or 1, "host")
    return f"{launcher.get('name')}, {controller}, {hosts}" if launcher else ""


def _commit(p: Mapping[str, Any]) -> str:
    return f"{str(p['commit'])[:12]}{', with uncommitted changes' if p.get('dirty') else ''}" if p.get("commit") else ""


def _environment(p: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in (p.get("environment") or {}).items())
