"""How figures and groups are put into words, in the terminal and on the page alike."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from horovod_runner.analysis.stats import Bounded
from horovod_runner.analysis.summary import Group

NOTHING = "–"
JOBS = {"resnet50": "ResNet-50", "unet": "U-Net", "vgg16": "VGG-16"}
MEANS = {
    "clock": "images/s: all images of all workers over all time of the timed steps, by the slowest worker's clock.",
    "speedup": "Speedup: over the same framework's 1 worker in the same table. Efficiency: speedup over workers"
    " (weak: the batch of a worker is fixed; strong: that of all workers together).",
    "interval": "In brackets: 95 % confidence interval of the mean. Of a single run it comes from ten blocks of"
    " consecutive steps, and says how exactly this run was measured, not how another would turn out; of three or more"
    f" runs, each run is one sample. [{NOTHING}]: too few for an interval.",
}
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


def percent(fraction: float | None) -> str:
    """Return a fraction in percent."""
    return NOTHING if fraction is None else f"{100 * fraction:.1f}"


def milliseconds(seconds: float | None) -> str:
    """Return seconds in milliseconds."""
    return NOTHING if seconds is None else amount(1000 * seconds)


def bounds(interval: Bounded | None) -> str:
    """Return `[low, high]`, or a dash in the brackets where there are too few samples."""
    if interval is None:
        return ""
    if interval.ci95_low is None:
        return f"[{NOTHING}]"
    return f"[{amount(interval.ci95_low)}, {amount(interval.ci95_high)}]"


def with_bounds(interval: Bounded | None) -> str:
    """Return the mean and its interval."""
    return NOTHING if interval is None else f"{amount(interval.mean)} {bounds(interval)}"


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
