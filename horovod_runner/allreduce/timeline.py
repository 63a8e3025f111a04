"""Horovod's timeline: how the time of the steps divides into waiting, agreeing, copying and reducing.

Rank 0 writes it as Chrome's trace events, an array that may end anywhere. A tensor is a process in it, and goes through
NEGOTIATE_<collective>, in which a tick marks the moment at which each rank is known to be ready, and then through
<collective>, in which activities are nested. The phases, in the order in which wall time is given to them (what
happens while something is reduced is hidden behind that):

- `reducing`: a collective moves data (MPI_ALLREDUCE, GLOO_ALLREDUCE, NCCL_ALLREDUCE, all-gathers, reduce-scatters);
- `copying`: into and out of the fusion buffer, and what is allocated for that;
- `negotiating`: a negotiation, but for the waiting in it;
- `waiting`: for other ranks: from the first rank's tick to the last one's. Of tensors that the response cache knows,
  ranks agree in bits and without ticks: all of that negotiation, which begins when rank 0 has the tensor, is waiting;
  where rank 0 is the late one, nothing is seen of it;
- `queueing`: any other time between the agreement and the end (QUEUE, WAIT_FOR_DATA, WAIT_FOR_OTHER_TENSOR_DATA).

All of it is seen from rank 0. The thread that writes the timeline spins: where cores are shared, it takes some of what
it measures.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from horovod_runner.config.schema import RunConfig
from horovod_runner.results.record import StepBreakdown

PHASES = ("reducing", "copying", "negotiating", "waiting", "queueing")
COLLECTIVES = ("REDUCE", "GATHER", "BROADCAST", "BCAST", "ALLTOALL", "ADASUM", "BARRIER")
COPIES = ("MEMCPY", "INIT_FUSION_BUFFER", "ALLOCATE_OUTPUT", "COPY_")
SAME_ROUND = 2e-4  # seconds: ticks that are closer belong to one round, in which ranks are read one after the other
NOBODY = -1
GRADIENT = re.compile(r"(?:allreduce\.)?(?P<name>.+?\.(?:weight|bias))(?:\.[01])?")
"""How a gradient that travels alone is called: by its parameter, and with lag1 by its turn."""
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Trace:
    """A timeline, read: seconds since its `start`, which is in seconds since the epoch.

    `spans`: by phase, rows (begin, end, index of the tensor); of `queueing` the whole of each collective, within which
    the other phases lie. `last`: rows (moment, rank), of each negotiation that shows its ranks the one that came last,
    or NOBODY where that one came in a round with others. `handed`: rows (moment, index of the tensor), when rank 0
    handed it over.
    """

    start: float
    tensors: Sequence[str]
    ranks: int
    spans: dict[str, Array]
    last: Array
    handed: Array


def timeline_environment(config: RunConfig, file: Path) -> dict[str, str]:
    """Return the variables that have Horovod write its timeline into a file, if the run is to have one."""
    wanted = config.allreduce.timeline and config.transport == "horovod"
    return {"HOROVOD_TIMELINE": str(file.absolute())} if wanted else {}


def read(file: Path) -> Trace:
    """Return the timeline in a file; what was cut short at its end is left out."""
    reader = _Reader()
    for event in events(file.read_text(errors="replace")):
        reader.take(event)
    return reader.trace()


def events(text: str) -> Iterator[dict[str, Any]]:
    """Yield the events of a trace one by one, up to where its text ends or is no longer JSON."""
    decoder, place = json.JSONDecoder(), text.find("{")
    while place >= 0:
        try:
            event, place = decoder.raw_decode(text, place)
        except ValueError:
            return
        yield event
        place = text.find("{", place)


def divide(trace: Trace, windows: ArrayLike) -> StepBreakdown | None:
    """Return how the time of the steps divides, per step; None without steps.

    `windows`: (steps, 2), begin and end of each step in seconds since the epoch, which do not overlap.
    """
    steps = np.asarray(windows, dtype=float).reshape(-1, 2) - trace.start
    if not len(steps):
        return None
    seconds, taken, before = {}, [np.empty((0, 2))], 0.0
    for phase in PHASES:
        taken.append(trace.spans[phase][:, :2])
        covered = overlap(union(np.concatenate(taken)), steps)
        seconds[phase], before = (covered - before) / len(steps), covered
    summed = {phase: float(each.sum()) / len(steps) for phase, each in _by_tensor(trace, steps).items()}
    last = trace.last[within(trace.last[:, 0], steps), 1]
    return StepBreakdown(
        steps=len(steps),
        step_seconds=float((steps[:, 1] - steps[:, 0]).mean()),
        seconds=seconds,
        summed_seconds=summed,
        last_ready=tuple(int((last == rank).sum()) for rank in range(trace.ranks)) if len(last) else (),
        ready_seconds=_ready(trace, steps),
    )


def _ready(trace: Trace, windows: Array) -> dict[str, float]:
    """Return the mean seconds from a step's begin until each gradient was handed over, by its parameter's name."""
    chosen = trace.handed[within(trace.handed[:, 0], windows)]
    place = np.searchsorted(windows[:, 0], chosen[:, 0], side="right") - 1
    since: dict[str, list[float]] = defaultdict(list)
    for moment, tensor in zip(chosen[:, 0] - windows[place, 0], chosen[:, 1].astype(int), strict=True):
        if (found := GRADIENT.fullmatch(trace.tensors[tensor])) is not None:
            since[found["name"]].append(float(moment))
    return {name: float(np.mean(moments)) for name, moments in since.items() if 2 * len(moments) > len(windows)}


def union(spans: ArrayLike) -> Array:
    """Return what intervals (n, 2) cover, as intervals that are apart and in order."""
    rows = np.asarray(spans, dtype=float).reshape(-1, 2)
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    reached = np.maximum.accumulate(rows[:, 1])
    first = np.flatnonzero(np.append(True, rows[1:, 0] > reached[:-1])) if len(rows) else np.empty(0, int)
    return np.column_stack([rows[first, 0], reached[np.append(first[1:], len(rows)) - 1]]) if len(rows) else rows


def overlap(spans: Array, windows: ArrayLike) -> float:
    """Return the total length of what intervals (n, 2) and windows, which are apart, have in common.

    Intervals that overlap each other count as often as they do.
    """
    return float(_lengths_within(spans, np.asarray(windows, dtype=float)).sum())


def within(moments: Array, windows: Array) -> NDArray[np.bool_]:
    """Return which moments lie within windows that are apart and in order."""
    place = np.searchsorted(windows[:, 0], moments, side="right") - 1
    return (place >= 0) & (moments <= windows[np.maximum(place, 0), 1])


def _lengths_within(spans: Array, windows: Array) -> Array:
    """Return the length of each interval within windows: what windows measure up to its end, less up to its begin."""
    edges = windows.ravel()
    measured = np.concatenate([[0.0], np.cumsum(np.diff(edges) * (np.arange(len(edges) - 1) % 2 == 0))])
    return np.asarray(np.interp(spans[:, 1], edges, measured) - np.interp(spans[:, 0], edges, measured))


def _by_tensor(trace: Trace, windows: Array) -> dict[str, Array]:
    """Return each tensor's seconds in each phase, shape (tensors,); queueing is the rest of its collectives."""
    seconds: dict[str, Array] = {}
    for phase, rows in trace.spans.items():
        lengths = _lengths_within(rows[:, :2], windows)
        seconds[phase] = np.bincount(rows[:, 2].astype(int), lengths, len(trace.tensors)).astype(float)
    seconds["queueing"] = (seconds["queueing"] - seconds["reducing"] - seconds["copying"]).clip(0)
    return seconds


class _Reader:
    """Follows each tensor through its nested spans."""

    def __init__(self) -> None:
        self.start, self.ranks = 0.0, 0
        self.names: dict[int, str] = {}
        self.open: dict[int, list[tuple[str, float]]] = defaultdict(list)
        self.ticks: dict[int, list[tuple[float, int]]] = defaultdict(list)
        self.rows: dict[str, list[tuple[float, float, int]]] = {phase: [] for phase in PHASES}
        self.last: list[tuple[float, int]] = []
        self.handed: list[tuple[float, int]] = []

    def take(self, event: dict[str, Any]) -> None:
        """Take in one event of the file: a tensor's name, the begin or end of one of its spans, or a rank's coming."""
        kind, pid = event.get("ph"), event.get("pid", 0)
        if kind == "M":
            given = event.get("args", {})
            self.start = given.get("start_time_since_epoch_in_micros", self.start * 1e6) / 1e6
            if "name" in given:
                self.names[pid] = given["name"]
        elif kind == "B":
            self.open[pid].append((event["name"], event["ts"]))
        elif kind == "X" and event["name"].isdigit():
            self.ticks[pid].append((event["ts"], int(event["name"])))
        elif kind == "E" and self.open[pid]:
            self._close(pid, *self.open[pid].pop(), event["ts"])

    def _close(self, pid: int, name: str, begin: float, end: float) -> None:
        if name.startswith("NEGOTIATE_"):
            self._negotiated(pid, begin, end)
        elif not self.open[pid]:
            self.rows["queueing"].append((begin, end, pid))
        elif phase(name) != "queueing":
            self.rows[phase(name)].append((begin, end, pid))

    def _negotiated(self, pid: int, begin: float, end: float) -> None:
        ticks = sorted(self.ticks.pop(pid, []))
        self.handed.append((next((moment for moment, rank in ticks if rank == 0), begin), pid))
        if not ticks:
            self.rows["waiting"].append((begin, end, pid))
            return
        self.ranks = max(self.ranks, 1 + max(rank for _, rank in ticks))
        (first, _), (last, rank) = ticks[0], ticks[-1]
        self.rows["negotiating"] += [(begin, first, pid), (last, end, pid)]
        self.rows["waiting"].append((first, last, pid))
        alone = len(ticks) > 1 and last - ticks[-2][0] > 1e6 * SAME_ROUND
        self.last.append((last, rank if alone else NOBODY))

    def trace(self) -> Trace:
        """Return what was read, in seconds, with tensors numbered by their place among the names."""
        pids = sorted(self.names)
        place = {pid: index for index, pid in enumerate(pids)}
        spans = {}
        for name, rows in self.rows.items():
            known = [(begin, end, place[pid]) for begin, end, pid in rows if pid in place]
            spans[name] = np.array(known, dtype=float).reshape(-1, 3) / (1e6, 1e6, 1)
        last = np.array(self.last, dtype=float).reshape(-1, 2) / (1e6, 1)
        moments = [(begin, place[pid]) for begin, pid in self.handed if pid in place]
        handed = np.array(moments, dtype=float).reshape(-1, 2) / (1e6, 1)
        return Trace(self.start, [self.names[pid] for pid in pids], self.ranks, spans, last, handed)


def phase(activity: str) -> str:
    """Return the phase of an activity within a collective."""
    if activity.startswith(COPIES):
        return "copying"
    return "reducing" if any(word in activity for word in COLLECTIVES) else "queueing"
