"""How figures, intervals and names are written, in the terminal, on the page and in templates alike."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from horovod_runner.analysis.load.groups import Cell, Group
from horovod_runner.config import frameworks
from horovod_runner.machine.emulated import in_words as hosts
from horovod_runner.statistics.interval import Interval

if TYPE_CHECKING:
    from horovod_runner.analysis.load.runs import Run

NOTHING = "–"
UNTIMED = "not timed"
SHARED = "*"
TRACED = " †"
JOBS = {"resnet50": "ResNet-50", "unet": "U-Net", "vgg16": "VGG-16"}
framework = frameworks.title
ABSOLUTE_PATH = re.compile(r"(?<![\w.:/\\-])/(?:[^\s'\",;:=()]+)")


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


def percent(fraction: float | None, digits: int = 1) -> str:
    """Return a fraction in percent."""
    return NOTHING if fraction is None else f"{100 * fraction:.{digits}f}"


def milliseconds(seconds: float | None) -> str:
    """Return seconds in milliseconds."""
    return NOTHING if seconds is None else amount(1000 * seconds)


def entry(value: Any) -> str:
    """Return a value of any kind as it stands in a table: of a real number four digits that matter."""
    if value is None:
        return NOTHING
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else amount(value)
    return without_paths(str(value))


def bounds(interval: Interval | None, write: Callable[[float], str] = amount) -> str:
    """Return `[low, high]`, or a dash in the brackets where there are too few samples."""
    if interval is None:
        return ""
    if interval.ci95_low is None:
        return f"[{NOTHING}]"
    return f"[{write(interval.ci95_low)}, {NOTHING if interval.ci95_high is None else write(interval.ci95_high)}]"


def with_bounds(interval: Interval | None, write: Callable[[float], str] = amount, unit: str = "") -> str:
    """Return the mean and its interval."""
    return NOTHING if interval is None else f"{write(interval.mean)}{unit} {bounds(interval, write)}"


def between(above: float | None, at_most: float) -> str:
    """Return where a threshold lies, as people say it."""
    if above is None:
        return "none" if at_most == 0 else f"at most {at_most:g}"
    return f"more than {above:g} and at most {at_most:g}"


def to_step(interval: Interval | None, step: float | None = None) -> str:
    """Return a difference and its interval, signed, with as many decimals as its figure resolves (default: three).

    step: the smallest step between two values of the figure, such as one validation example's share.
    """
    digits = 3 if not step else max(0, math.ceil(-math.log10(step) - 1e-9))
    return with_bounds(interval, f"{{:+.{digits}f}}".format)


def speed(cell: Cell) -> str:
    """Return a cell's images a second, or that its runs were not timed."""
    return UNTIMED if cell.untimed else with_bounds(cell.images_per_second)


def workers(cell: Cell) -> str:
    """Return a cell's number of workers, marked where they share cores."""
    return f"{cell.workers}{SHARED if cell.oversubscribed else ''}"


def statuses(runs: Sequence[Run]) -> Sequence[tuple[str, int]]:
    """Return (status, how many runs ended so), the most common first."""
    return Counter(run.result.status for run in runs).most_common()


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


def title(group: Group) -> str:
    """Return a group's job, and which batch is fixed."""
    return f"{job(group.workload)}, {scaling(group)}"


def scaling(group: Group) -> str:
    """Return which batch of a group is fixed, and what its hosts are where they are emulated."""
    where = f", on {hosts(group.emulated)}" if group.emulated else ""
    if group.scaling == "strong":
        return f"strong scaling, {group.fixed_batch} images over all workers{where}"
    return f"{group.scaling} scaling, {group.fixed_batch} images a worker{where}"


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


_PLAIN = (amount, between, bounds, count, entry, job, milliseconds, percent, rule, scaling, to_step, with_bounds)
FILTERS: dict[str, Callable[..., Any]] = {function.__name__: function for function in _PLAIN} | {
    "capitalised": lambda text: text[:1].upper() + text[1:],
    "framework": framework,
    "g": "{:g}".format,
    "grouped": "{:,}".format,
    "hosts": hosts,
    "percent_with_bounds": partial(with_bounds, write=percent, unit=" %"),
    "signed": partial(with_bounds, write="{:+.4g}".format),
    "spaced": lambda name: name.replace("_", " "),
    "thousandths": partial(bounds, write="{:.3f}".format),
    "with_entries": partial(with_bounds, write="{:.4g}".format),
    "with_hundredths": partial(with_bounds, write="{:.2f}".format),
    "without_paths": without_paths,
}
"""What templates call as filters."""
TESTS = {"nan": math.isnan, "infinite": math.isinf}
"""What templates ask of numbers."""
