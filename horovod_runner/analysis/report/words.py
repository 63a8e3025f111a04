"""How figures and groups are put into words, in the terminal and on the page alike."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from horovod_runner.analysis.load.groups import Cell, Group
from horovod_runner.config.frameworks import title
from horovod_runner.statistics.interval import Interval

if TYPE_CHECKING:
    from horovod_runner.analysis.load.runs import Run
    from horovod_runner.analysis.questions.scaling.parts import Parts
    from horovod_runner.analysis.questions.scaling.study import Knee, Scaling

NOTHING = "–"
UNTIMED = "not timed"
BOUNDS = ("_ci95_low", "_ci95_high")
SHARED = "*"
TRACED = " †"
LAWS = {"amdahl": "Amdahl's law", "gustafson": "Gustafson's law", "usl": "the Universal Scalability Law"}
JOBS = {"resnet50": "ResNet-50", "unet": "U-Net", "vgg16": "VGG-16"}
MEANS = {
    "clock": "images/s: all images of all workers over all time of the timed steps, by the slowest worker's clock.",
    "speedup": "Speedup: over the same framework's baseline in the same table: its 1 worker, or else its smallest"
    " number M of workers, whose speedup is then M. Efficiency: speedup over workers (weak: the batch of a worker is"
    " fixed; strong: that of all workers together).",
    "shared": f"{SHARED}: the workers' threads share cores, so that their speed does not tell how the job scales; laws,"
    " knee and verdict leave them out.",
    "interval": "In brackets: 95 % confidence interval of the mean. Of a single run it comes from ten blocks of"
    " consecutive steps, and says how exactly this run was measured, not how another would turn out; of three or more"
    f" runs, each run is one sample. [{NOTHING}]: too few for an interval.",
    "exposed": "Exposed communication: a step less that of the slowest of as many compute-only workers (strategy:"
    " none). Overlapped: 1 less exposed over the time in which something is copied or reduced, by the timeline; below"
    " zero, waiting, agreeing and sharing cores cost more than the reduction itself takes."
    f"{TRACED}: all its runs wrote a timeline, which slows them down where cores are shared.",
    "untimed": f"{UNTIMED.capitalize()}: runs that were done several at once shared cores; their speed means nothing.",
}
OF_STRATEGIES = "exposed"  # what is said only where strategies stand side by side
ABSOLUTE_PATH = re.compile(r"(?<![\w.:/\\-])/(?:[^\s'\",;:=()]+)")


def meanings(*, strategies: bool, untimed: bool) -> list[str]:
    """Return what the figures mean, a sentence or more each.

    `strategies`: whether strategies are compared; `untimed`: whether runs were not timed.
    """
    told = {OF_STRATEGIES: strategies, "untimed": untimed}
    return [text for name, text in MEANS.items() if told.get(name, True)]


def amount(value: float | None) -> str:
    """Return a figure with about three digits that matter."""
    if value is None or math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "∞"
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def loss(value: float | None) -> str:
    """Return a loss or a metric with four decimals."""
    return NOTHING if value is None else f"{value:.4f}"


def percent(fraction: float | None) -> str:
    """Return a fraction in percent."""
    return NOTHING if fraction is None else f"{100 * fraction:.1f}"


def milliseconds(seconds: float | None) -> str:
    """Return seconds in milliseconds."""
    return NOTHING if seconds is None else amount(1000 * seconds)


def bounds(interval: Interval | None) -> str:
    """Return `[low, high]`, or a dash in the brackets where there are too few samples."""
    if interval is None:
        return ""
    if interval.ci95_low is None:
        return f"[{NOTHING}]"
    return f"[{amount(interval.ci95_low)}, {amount(interval.ci95_high)}]"


def with_bounds(interval: Interval | None) -> str:
    """Return the mean and its interval."""
    return NOTHING if interval is None else f"{amount(interval.mean)} {bounds(interval)}"


def speed(cell: Cell) -> str:
    """Return a cell's images a second, or that its runs were not timed."""
    known = cell.images_per_second
    return UNTIMED if cell.untimed else amount(known.mean if known else None)


def workers(cell: Cell) -> str:
    """Return a cell's number of workers, marked where they share cores."""
    return f"{cell.workers}{SHARED if cell.oversubscribed else ''}"


def scaling_told(made: Scaling) -> list[str]:
    """Return what a scaling study says in sentences: the knee, what bounds the workers, and the repeats it needs."""
    caution = "No number of workers had a core for every thread: all this tells of sharing cores, and not of scaling."
    repeats = f"For ±1 % of every mean, {made.repeats_needed} runs of each number of workers are needed."
    return [
        *([caution] if made.sharing_cores else []),
        f"{_measured_knee(made)}{_predicted_knee(made.knee, made)}.",
        made.verdict,
        *_parts(made.parts[made.trusted[-1].workers]),
        *([repeats] if made.repeats_needed else []),
    ]


def scaling_line(made: Scaling) -> str:
    """Return the same in short: how far efficiency reaches, what bounds the workers, and the repeats needed."""
    knee, needed = made.knee, made.repeats_needed
    shared = "on shared cores, " if made.sharing_cores else ""
    most = None if knee.measured is None else count(knee.measured, "worker")
    reach = f"efficiency above {knee.threshold:g} up to {most}. " if most else ""
    repeats = "" if needed is None else f" ±1 % takes {needed} runs of each."
    return f"{made.framework}: {shared}{reach}{made.verdict}{repeats}"


def _measured_knee(made: Scaling) -> str:
    threshold = f"{made.scaling}-scaling efficiency is above {made.knee.threshold:g}"
    if made.knee.measured is None:
        return f"Fewer than three runs of a number of workers cannot tell up to where {threshold}"
    most = ""
    if made.knee.measured == made.trusted[-1].workers:
        own = "" if len(made.trusted) == len(made.points) else " on cores of their own"
        most = f", the most that were measured{own}"
    return f"With 95 % confidence, {threshold} on up to {count(made.knee.measured, 'worker')}{most}"


def _predicted_knee(knee: Knee, made: Scaling) -> str:
    (fit,) = (fit for fit in made.fits if fit.law == knee.law)
    doubt = ", which fits exactly and is not tested," if fit.exact else ""
    start = f"; by {LAWS[fit.law]}{doubt} it"
    if knee.predicted is None:
        return f"{start} does not fall to that below a million workers"
    beyond = ", beyond what was measured" if knee.predicted.mean > made.trusted[-1].workers else ""
    return f"{start} falls to that on {with_bounds(knee.predicted)} workers{beyond}"


def _parts(parts: Parts) -> list[str]:
    """Return a sentence about where a step goes, if compute-only workers tell it."""
    if parts.computing is None or parts.imbalance is None or parts.communication is None:
        return []
    names = {"waiting for data": parts.input, "computing": parts.computing}
    names |= {"a slow worker": parts.imbalance, "communication": parts.communication}
    told = ", ".join(f"{name} {percent(seconds / parts.step)} %" for name, seconds in names.items())
    noise = " (less than nothing: noise)" if parts.communication < 0 else ""
    return [f"Of a step of {milliseconds(parts.step)} ms: {told}{noise}."]


def entry(value: Any) -> str:
    """Return a value of any kind as it stands in a table: of a real number four digits that matter."""
    if value is None:
        return NOTHING
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else amount(value)
    return without_paths(str(value))


def statuses(runs: Sequence[Run]) -> Sequence[tuple[str, int]]:
    """Return (status, how many runs ended so), the most common first."""
    return Counter(run.result.status for run in runs).most_common()


def signed(interval: Interval) -> str:
    """Return a difference with its sign and its interval, four digits that matter each."""
    if interval.ci95_low is None or interval.ci95_high is None:
        return f"{interval.mean:+.4g} [{NOTHING}]"
    return f"{interval.mean:+.4g} [{interval.ci95_low:+.4g}, {interval.ci95_high:+.4g}]"


def with_entries(interval: Interval) -> str:
    """Return a figure and its interval with four digits that matter."""
    if interval.ci95_low is None or interval.ci95_high is None:
        return f"{interval.mean:.4g} [{NOTHING}]"
    return f"{interval.mean:.4g} [{interval.ci95_low:.4g}, {interval.ci95_high:.4g}]"


def framework(name: str) -> str:
    """Return a framework's name as people write it."""
    return title(name)


def rule(name: str) -> str:
    """Return what a rule does to the learning rate."""
    by = {"workers": "the workers", "samples": "the batch"}
    power, _, what = name.partition("_")
    if what not in by:
        return "rate not scaled" if name == "none" else name
    return f"rate scaled with {'the square root of ' if power == 'sqrt' else ''}{by[what]}"


def file_part(text: str) -> str:
    """Return a text as a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text)


def job(workload: str) -> str:
    """Return a job's name as people write it."""
    return JOBS.get(workload, workload)


def scaling(group: Group) -> str:
    """Return which batch of a group is fixed."""
    if group.scaling == "strong":
        return f"strong scaling, {group.fixed_batch} images over all workers"
    return f"{group.scaling} scaling, {group.fixed_batch} images a worker"


def settings(distinct: Mapping[str, Any]) -> str:
    """Return what tells a group from the others of its job."""
    return ", ".join(f"{key} {without_paths(str(value))}" for key, value in distinct.items())


def count(number: int, what: str) -> str:
    """Return `1 run`, `2 runs`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def without_paths(text: str) -> str:
    """Return text with absolute paths shortened: a report is passed on, and a home folder is nobody's business."""
    return ABSOLUTE_PATH.sub(lambda found: _shortened(found.group()), text)


def _shortened(path: str) -> str:
    here = Path.cwd()
    if Path(path).is_relative_to(here):
        return str(Path(path).relative_to(here))
    if "/.venv/" in path:
        return f".venv/{path.split('/.venv/', 1)[1]}"
    return f"…/{Path(path).name}"


FILTERS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (amount, bounds, count, entry, framework, job, rule, signed, with_bounds, with_entries)
} | {
    "g": "{:g}".format,
    "grouped": "{:,}".format,
    "spaced": lambda name: name.replace("_", " "),
}
"""What templates call as filters."""
TESTS = {"nan": math.isnan, "infinite": math.isinf}
"""What templates ask of numbers."""
