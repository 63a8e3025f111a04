"""Horovod's timeline, by hand-made traces whose breakdown is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from horovod_runner.allreduce import timeline
from horovod_runner.config.schema import decode

EPOCH = 4_000  # seconds: rounding would be seen beyond, of a quarter of a microsecond today
MILLISECOND = 1000  # of the trace's microseconds


class Made:
    """A trace that is made tensor by tensor, times in milliseconds since its start."""

    def __init__(self) -> None:
        args = {"start_time_since_epoch_in_micros": EPOCH * 1_000_000}
        self.events: list[dict[str, Any]] = [{"name": "process_name", "ph": "M", "pid": 0, "args": args}]
        self.pids: dict[str, int] = {}

    def add(self, tensor: str, *timed: tuple[str, str, float]) -> None:
        """Add events (ph, name, ms) of a tensor, in order."""
        if tensor not in self.pids:
            self.pids[tensor] = pid = 1 + len(self.pids)
            self.events.append({"name": "process_name", "ph": "M", "pid": pid, "args": {"name": tensor}})
        for kind, name, moment in timed:
            event = {"ph": kind, "ts": moment * MILLISECOND, "pid": self.pids[tensor]}
            self.events.append(event if kind == "E" else event | {"name": name})

    def negotiated(self, tensor: str, ticks: dict[int, float], end: float, cached: float | None = None) -> None:
        """Add a negotiation with the moments at which ranks were ready, or a cached one that began at a moment."""
        first = min(ticks.values()) if cached is None else cached
        self.add(tensor, ("B", "NEGOTIATE_ALLREDUCE", first))
        for rank, moment in sorted(ticks.items(), key=lambda tick: tick[1]):
            self.add(tensor, ("X", str(rank), moment))
        self.add(tensor, ("E", "", end))

    def reduced(self, tensor: str, begin: float, copied: float, reduced: float, end: float) -> None:
        """Add a reduction: copied in from begin to `copied`, reduced until `reduced`, copied out until the end."""
        self.add(tensor, ("B", "ALLREDUCE", begin), ("B", "MEMCPY_IN_FUSION_BUFFER", begin), ("E", "", copied))
        self.add(tensor, ("B", "MPI_ALLREDUCE", copied), ("E", "", reduced))
        self.add(tensor, ("B", "MEMCPY_OUT_FUSION_BUFFER", reduced), ("E", "", end), ("E", "", end))

    def write(self, folder: Path, cut: int = 0) -> timeline.Trace:
        """Write it as Horovod does, without its last `cut` characters, and read it."""
        text = "[\n" + ",\n".join(json.dumps(event) for event in self.events) + "]"
        file = folder / "timeline.json"
        file.write_text(text[: len(text) - cut])
        return timeline.read(file)


def window(begin: float, end: float) -> list[float]:
    """Return a step from and to these milliseconds of the trace."""
    return [EPOCH + begin / 1000, EPOCH + end / 1000]


def milliseconds(seconds: dict[str, float]) -> dict[str, float]:
    """Return what is more than nothing, in whole microseconds."""
    return {name: round(1000 * value, 3) for name, value in seconds.items() if value > 1e-9}


@pytest.fixture
def step(tmp_path: Path) -> Made:
    """A step of two tensors: b waits for rank 1 while a is copied and reduced.

    ms:  a: ready 10 (rank 1) and 14 (rank 0), agreed 15; copied 16-17, reduced 17-27, copied 27-28
         b: ready 20 (rank 0) and 30 (rank 1), agreed 31; queued 31-33, copied 33-34, reduced 34-40, copied 40-42
    """
    made = Made()
    made.negotiated("a", {1: 10, 0: 14}, 15)
    made.reduced("a", 16, 17, 27, 28)
    made.negotiated("b", {0: 20, 1: 30}, 31)
    made.add("b", ("B", "ALLREDUCE", 31), ("B", "WAIT_FOR_OTHER_TENSOR_DATA", 31), ("E", "", 33))
    made.add("b", ("B", "MEMCPY_IN_FUSION_BUFFER", 33), ("E", "", 34), ("B", "MPI_ALLREDUCE", 34), ("E", "", 40))
    made.add("b", ("B", "MEMCPY_OUT_FUSION_BUFFER", 40), ("E", "", 42), ("E", "", 42))
    return made


def test_every_moment_is_given_to_one_phase_and_sums_count_each_tensor(step: Made, tmp_path: Path) -> None:
    """b's wait from 20 to 30 is hidden behind a's reduction until 27 and its copy until 28."""
    told = timeline.divide(step.write(tmp_path), [window(0, 50)])
    assert told is not None and told.steps == 1 and told.step_seconds == pytest.approx(0.05)
    wall = {"reducing": 10 + 6, "copying": 2 + 3, "negotiating": 1 + 1, "waiting": 4 + 2, "queueing": 2}
    assert milliseconds(told.seconds) == wall
    assert milliseconds(told.summed_seconds) == wall | {"waiting": 4 + 10}
    assert told.busy_seconds == pytest.approx(0.021)
    assert told.last_ready == (1, 1)


def test_only_what_lies_within_steps_counts_and_is_divided_by_them(step: Made, tmp_path: Path) -> None:
    """Steps from 12 to 20 and from 25 to 35; what lies between them is a pause."""
    told = timeline.divide(step.write(tmp_path), [window(12, 20), window(25, 35)])
    assert told is not None and told.steps == 2 and told.step_seconds == pytest.approx(0.009)
    halves = {"reducing": 3 + 2 + 1, "copying": 1 + 1 + 1, "negotiating": 1 + 1, "waiting": 2 + 2, "queueing": 2}
    assert milliseconds(told.seconds) == {phase: ms / 2 for phase, ms in halves.items()}
    assert told.last_ready == (1, 1)
    assert timeline.divide(step.write(tmp_path), []) is None


def test_a_cached_negotiation_shows_no_ranks_and_is_waiting(tmp_path: Path) -> None:
    made = Made()
    made.negotiated("a", {}, 9, cached=4)
    made.reduced("a", 9, 10, 12, 13)
    told = timeline.divide(made.write(tmp_path), [window(0, 20)])
    assert told is not None and milliseconds(told.seconds) == {"waiting": 5, "copying": 2, "reducing": 2}
    assert told.last_ready == ()


def test_ranks_of_one_round_are_nobody_s_delay(tmp_path: Path) -> None:
    made = Made()
    made.negotiated("a", {0: 1.0, 1: 1.04, 2: 1.08}, 1.1)
    made.negotiated("b", {0: 1.0, 1: 1.04, 2: 7.5}, 7.6)
    told = timeline.divide(made.write(tmp_path), [window(0, 20)])
    assert told is not None and told.last_ready == (0, 0, 1)


def test_a_trace_that_is_cut_anywhere_is_read_up_to_there(step: Made, tmp_path: Path) -> None:
    whole = step.write(tmp_path)
    length = (tmp_path / "timeline.json").stat().st_size
    assert timeline.divide(step.write(tmp_path, cut=1), [window(0, 50)]) == timeline.divide(whole, [window(0, 50)])
    spans = []
    for cut in range(0, length, 7):
        trace = step.write(tmp_path, cut)
        spans.append(sum(len(rows) for rows in trace.spans.values()))
        assert timeline.divide(trace, [window(0, 50)]) is not None
    assert spans == sorted(spans, reverse=True) and spans[-1] == 0 and len(set(spans)) > 8


@pytest.mark.parametrize("text", ["", "[", "[\n", "no trace", '[{"ph": "E", "ts": 5, "pid": 1}]'])
def test_a_file_without_spans_is_an_empty_trace(text: str, tmp_path: Path) -> None:
    file = tmp_path / "timeline.json"
    file.write_text(text)
    told = timeline.divide(timeline.read(file), [window(0, 10)])
    assert told is not None and milliseconds(told.seconds) == {} and told.busy_seconds == 0


intervals = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 15)).map(lambda pair: (pair[0], sum(pair))))


@given(intervals, intervals)
def test_unions_and_overlaps_agree_with_counting_moments(spans: list[Any], others: list[Any]) -> None:
    """On whole numbers, an interval is the set of its unit cells."""
    covered, windows = (timeline.union(np.array(rows, dtype=float)) for rows in (spans, others))
    cells = [{cell for begin, end in rows for cell in range(begin, end)} for rows in (spans, others)]
    assert float((covered[:, 1] - covered[:, 0]).sum()) == len(cells[0])
    assert (covered[1:, 0] > covered[:-1, 1]).all()
    if len(windows):
        assert timeline.overlap(covered, windows) == pytest.approx(len(cells[0] & cells[1]))
        each = sum(len(set(range(begin, end)) & cells[1]) for begin, end in spans)
        assert timeline.overlap(np.array(spans, dtype=float).reshape(-1, 2), windows) == pytest.approx(each)


@pytest.mark.parametrize("activity, phase", [
    ("MPI_ALLREDUCE", "reducing"), ("GLOO_ALLREDUCE", "reducing"), ("NCCL_REDUCESCATTER", "reducing"),
    ("MPI_ADASUM_ALLREDUCE", "reducing"), ("GLOO_ALLGATHER", "reducing"), ("NCCL_BCAST", "reducing"),
    ("MEMCPY_OUT_FUSION_BUFFER", "copying"), ("ALLOCATE_OUTPUT", "copying"), ("INIT_FUSION_BUFFER", "copying"),
    ("WAIT_FOR_DATA", "queueing"), ("QUEUE", "queueing"),
])  # fmt: skip
def test_activities_belong_to_phases(activity: str, phase: str) -> None:
    assert timeline.phase(activity) == phase


def test_only_a_run_that_asks_and_reduces_by_horovod_writes_one(tmp_path: Path) -> None:
    def variables(**settings: Any) -> dict[str, str]:
        raw = {"framework": "torch", "steps": 4, "local_batch": 4} | settings
        return timeline.timeline_environment(decode(raw, "made"), tmp_path / "timeline.json")

    asked = {"timeline": True}
    assert variables(workers=2, allreduce=asked) == {"HOROVOD_TIMELINE": str(tmp_path / "timeline.json")}
    assert variables(workers=2) == {}
    assert variables(workers=1, allreduce=asked) == {}
    assert variables(workers=2, allreduce=asked, strategy="none") == {}


def test_when_each_gradient_was_handed_over(tmp_path: Path) -> None:
    """By rank 0's tick, or where the cache knows a tensor by the begin; what is no gradient is left out."""
    made = Made()
    for begin in (0.0, 100.0):
        made.negotiated("allreduce.fc.weight", {1: begin + 10, 0: begin + 14}, begin + 15)
        made.negotiated("conv.bias.1", {}, begin + 31, cached=begin + 20)
    made.negotiated("allgather.gather", {}, 31, cached=20)
    told = timeline.divide(made.write(tmp_path), [window(0, 50), window(100, 150)])
    assert told is not None
    assert told.ready_seconds == pytest.approx({"fc.weight": 0.014, "conv.bias": 0.020})
