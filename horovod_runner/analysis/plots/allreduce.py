"""The measurement as a sheet: time and bus bandwidth over bytes, and the gradients of each model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from horovod_runner.analysis.plots import files
from horovod_runner.analysis.plots import look as plots
from horovod_runner.collectives.record import GB, AlgorithmResult, CaseTimes, Report
from horovod_runner.collectives.table import size_words
from horovod_runner.machine.emulated import in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOOKS = {  # colour, marker; none of a framework's
    "mpi4py": ("#009e73", "o"),
    "horovod-mpi": ("#cc79a7", "s"),
    "horovod-gloo": ("#56b4e9", "^"),
    "horovod-nccl": ("#e69f00", "D"),
}
COPY_NAME = "memory copy"


def draw(report: Report, folder: Path) -> None:
    """Write `allreduce.png` and `allreduce.svg`, if anything was measured."""
    panels = [panel for panel in (_times, _bandwidths, _gradients) if _has(report, panel is _gradients)]
    machine = report.origin["machine"]
    where = f"; {in_words(machine['emulated'])}" if machine.get("emulated") else ""
    foot = f"{report.workers} ranks; {machine['cpu']}, {machine['cores']} cores{where}"
    if panels:
        drawn = [files.panel(partial(panel, report)) for panel in panels]
        files.write(folder, "allreduce", drawn, foot=foot, columns=3)


def _has(report: Report, models: bool) -> bool:
    return any((row.name != "message") == models for algorithm in report.measured for row in algorithm.rows)


def _times(report: Report, axes: Axes) -> Axes:
    """Draw median times with a bar to the 95th percentile, the fitted line dashed, and the memory copy."""
    ends = []
    for algorithm in (algorithm for algorithm in report.measured if algorithm.messages):
        sizes, seconds = _columns(algorithm.messages)
        colour, _ = LOOKS[algorithm.name]
        late = [row.p95_seconds - row.median_seconds for row in algorithm.messages]
        axes.errorbar(sizes, seconds, yerr=[[0.0] * len(late), late], elinewidth=0.8, **_look(algorithm, line="none"))
        ends.append(plots.End(sizes[-1], seconds[-1], algorithm.title, colour, "-"))
        _draw_line(algorithm, sizes, axes)
    ends += _draw_copy(report, axes, [row.bytes for algorithm in report.measured for row in algorithm.messages])
    bounds = {row.bytes: row.ring_seconds for way in report.measured for row in way.messages if row.ring_seconds}
    ends += _draw_bound(sorted(bounds.items()), axes)
    _by_bytes(axes)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: _time_words(value))
    plots.titled(axes, "Time of an allreduce: median to p95, and fitted lines", "bytes")
    return plots.name_ends(axes, ends)


def _draw_line(algorithm: AlgorithmResult, sizes: Sequence[float], axes: Axes) -> None:
    if algorithm.line is None:
        return
    rate = algorithm.line.bandwidth_gb_per_second
    slope = 0.0 if rate is None else 1 / (rate * GB)
    points = [sizes[0] * (sizes[-1] / sizes[0]) ** (i / 99) for i in range(100)]
    times = [algorithm.line.latency_seconds + x * slope for x in points]
    axes.plot(points, times, color=LOOKS[algorithm.name][0], linestyle=plots.DASHED, linewidth=1)


def _draw_copy(report: Report, axes: Axes, shown: Sequence[int]) -> list[plots.End]:
    copied = sorted((size, seconds) for size, seconds in report.copy_seconds.items() if size in shown)
    if not copied:
        return []
    axes.plot(*zip(*copied, strict=True), color=plots.FAINT, linewidth=1.2)
    return [plots.End(*copied[-1], COPY_NAME, plots.FAINT, "-")]


def _draw_bound(points: Sequence[tuple[float, float]], axes: Axes) -> list[plots.End]:
    """Draw the least that a ring takes over links of a known rate, dotted."""
    if not points:
        return []
    axes.plot(*zip(*points, strict=True), color=plots.INK, linestyle=":", linewidth=1.2)
    return [plots.End(*points[-1], "ring's bound", plots.INK, ":")]


def _bandwidths(report: Report, axes: Axes) -> Axes:
    """Draw bus bandwidth, and the rate of a memory copy."""
    ends = []
    for algorithm in (algorithm for algorithm in report.measured if algorithm.messages):
        sizes, _ = _columns(algorithm.messages)
        rates = [row.busbw_gb_per_second or math.nan for row in algorithm.messages]
        axes.plot(sizes, rates, **_look(algorithm, line="-"))
        ends.append(plots.End(sizes[-1], rates[-1], algorithm.title, LOOKS[algorithm.name][0], "-"))
    shown = {row.bytes for algorithm in report.measured for row in algorithm.messages}
    copied = sorted((size, size / seconds / GB) for size, seconds in report.copy_seconds.items() if size in shown)
    if copied:
        axes.plot(*zip(*copied, strict=True), color=plots.FAINT, linewidth=1.2)
        ends.append(plots.End(*copied[-1], COPY_NAME, plots.FAINT, "-"))
    rate = (report.origin["machine"].get("emulated") or {}).get("rate_mbit")
    ends += _draw_bound([(size, rate / 8e3) for size in sorted(shown)] if rate else [], axes)
    _by_bytes(axes)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: _rate_words(value))
    plots.titled(axes, "Bus bandwidth: bytes / time × 2 (N − 1) / N", "bytes")
    return plots.name_ends(axes, ends)


def _gradients(report: Report, axes: Axes) -> Axes:
    """Draw each model's gradients: handed over tensor by tensor (full) and as one flat array (faint)."""
    models = list(
        dict.fromkeys(row.name for algorithm in report.measured for row in algorithm.rows if row.name != "message")
    )
    algorithms = report.measured
    width = 0.8 / max(1, len(algorithms))
    sizes: dict[str, int] = {}
    for number, algorithm in enumerate(algorithms):
        for row in (row for row in algorithm.rows if row.name != "message"):
            place = models.index(row.name) + (number - (len(algorithms) - 1) / 2) * width
            flat = row.handed == "flat"
            half = place + (0.25 if flat else -0.25) * width
            look: dict[str, Any] = {"color": LOOKS[algorithm.name][0], "alpha": 0.45 if flat else 1.0}
            axes.bar(half, row.median_seconds * 1e3, width / 2 * 0.9, **look)
            sizes[row.name] = row.bytes
    for place, model in enumerate(models):
        if sizes[model] in report.copy_seconds:
            height = report.copy_seconds[sizes[model]] * 1e3
            axes.plot([place - 0.42, place + 0.42], [height, height], color=plots.INK, linewidth=1)
    axes.set_xticks(range(len(models)), [f"{model}\n{size_words(sizes[model])}" for model in models])
    axes.text(1.04, 0.98, _LEGEND, fontsize=8.5, va="top", transform=axes.transAxes)
    for number, algorithm in enumerate(algorithms):
        height = 0.55 - plots.NAME_GAP * number
        axes.text(1.04, height, algorithm.title, color=LOOKS[algorithm.name][0], fontsize=8.5, transform=axes.transAxes)
    return plots.titled(axes, "Gradients of a step", "", "ms")


_LEGEND = "full: tensor by tensor\nfaint: one flat array\nline: memory copy"


def _columns(rows: Sequence[CaseTimes]) -> tuple[list[float], list[float]]:
    return [float(row.bytes) for row in rows], [row.median_seconds for row in rows]


def _look(algorithm: AlgorithmResult, line: str) -> dict[str, Any]:
    colour, marker = LOOKS[algorithm.name]
    return {"color": colour, "marker": marker, "linestyle": line, "markersize": 4.5, "linewidth": 1.6}


def _by_bytes(axes: Axes) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator

    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator([2.0**power for power in range(2, 34, 6)]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: size_words(int(value)))


def _time_words(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size * (1 - 1e-9):
            return f"{seconds / size:g} {unit}"
    return f"{seconds * 1e9:g} ns"


def _rate_words(gb_per_second: float) -> str:
    for unit, size in (("GB/s", 1.0), ("MB/s", 1e-3)):
        if gb_per_second >= size * (1 - 1e-9):
            return f"{gb_per_second / size:g} {unit}"
    return f"{gb_per_second * 1e6:g} kB/s"
