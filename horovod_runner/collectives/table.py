"""A measured algorithm in the terminal: a line a case, the fitted model, and why something is missing."""

from __future__ import annotations

from collections.abc import Mapping

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from horovod_runner.collectives.plan import Case
from horovod_runner.collectives.record import AlgorithmResult, AlphaBetaModel, CaseTimes

POOR = 0.25
"""A relative residual beyond which the alpha-beta model is said to describe the times poorly."""
HEADS = ("", "arrays", "min", "avg", "max", "median", "p95", "copy", "algbw", "busbw", "sums")
NOTHING = "–"


def show(result: AlgorithmResult, ranks: int, copied: Mapping[int, float], to: Console) -> None:
    """Print what was measured by one algorithm; `copied` are the seconds of a memory copy, by its bytes.

    Over links of a known rate, the ring's bound takes the copy's place.
    """
    title = f"\n[bold]{escape(result.title)}[/bold], {ranks} ranks"
    if not result.rows:
        to.print(f"{title}: {_status(result)}", highlight=False, soft_wrap=True)
        return
    units = "times in µs, bandwidths in GB/s"
    shown = Table(title=f"{title}; {units}", title_justify="left", title_style="", box=box.SIMPLE_HEAD, pad_edge=False)
    shown.padding = (0, 0, 0, 1)
    bounded = any(row.ring_seconds is not None for row in result.rows)
    for head in HEADS:
        name = "ring" if bounded and head == "copy" else head
        shown.add_column(name, justify="left" if head in ("", "sums") else "right", no_wrap=True)
    for row in result.rows:
        shown.add_row(*_cells(row, row.ring_seconds if bounded else copied.get(row.bytes)))
    to.print(shown)
    if result.line is not None:
        to.print(f" {line_words(result.line)}", highlight=False, soft_wrap=True)
    if (words := ring_words(result)) is not None:
        to.print(f" {words}", highlight=False, soft_wrap=True)
    if result.status == "failed":
        to.print(f" {_status(result)}", highlight=False, soft_wrap=True)
        for said in result.log_tail:
            to.print(f"    {said}", style="dim", markup=False, highlight=False, soft_wrap=True)


def _status(result: AlgorithmResult) -> str:
    if result.status == "missing":
        return f"not measured: {escape(result.reason or '')}"
    return f"[red]failed[/red]: {escape(result.reason or '')}"


def _cells(row: CaseTimes, least: float | None) -> list[str]:
    times = (row.min_seconds, row.avg_seconds, row.max_seconds, row.median_seconds, row.p95_seconds, least)
    rates = (row.algbw_gb_per_second, row.busbw_gb_per_second)
    return [
        size_words(row.bytes) if row.name == "message" else f"{row.name}, {size_words(row.bytes)}",
        str(row.tensors),
        *(NOTHING if seconds is None else microseconds(seconds) for seconds in times),
        *(NOTHING if rate is None else f"{rate:.3g}" for rate in rates),
        "right" if row.correct else "[red]WRONG[/red]",
    ]


def line_words(line: AlphaBetaModel) -> str:
    """Return the fitted model as a sentence."""
    latency = f"{microseconds(line.latency_seconds)} µs [{microseconds(line.latency_low)},"
    latency += f" {microseconds(line.latency_high)}]"
    rates = (line.bandwidth_gb_per_second, line.bandwidth_low, line.bandwidth_high)
    value, low, high = ("∞" if rate is None else f"{rate:.3g}" for rate in rates)
    off = f"{line.worst_residual:+.0%} at {size_words(line.worst_bytes)}"
    verdict = "a poor description, off by" if abs(line.worst_residual) > POOR else "off by at most"
    return f"time = {latency} + bytes / {value} GB/s [{low}, {high}]: {verdict} {off}"


def ring_words(result: AlgorithmResult) -> str | None:
    """Say which bandwidth the largest case found, as a share of the ring's bound; None over links of no known rate."""
    row = max(result.rows, key=lambda row: row.bytes, default=None)
    if row is None or row.ring_seconds is None or row.busbw_gb_per_second is None:
        return None
    found = f"{row.busbw_gb_per_second * 8e3:,.0f} Mbit/s"
    return f"{size_words(row.bytes)} found {found}, {row.ring_seconds / row.median_seconds:.0%} of the ring's bound"


def microseconds(seconds: float) -> str:
    """Return seconds as microseconds, with three digits that mean something."""
    value = seconds * 1e6
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def size_words(count: int) -> str:
    """Return a number of bytes as people write it: 4 B, 1 KiB, 94.1 MB where it is no round binary one."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size and count % size == 0:
            return f"{count // size} {unit}"
    for unit, power in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= power:
            return f"{count / power:.1f} {unit}"
    return f"{count} B"


def case_words(case: Case) -> str:
    """Return what was reduced, as part of a sentence."""
    if case.name == "message":
        return f"a message of {size_words(case.bytes)}"
    return f"the gradients of {case.name} ({size_words(case.bytes)}, {len(case.elements)} arrays)"
