"""The types of a measurement of the collective, as allreduce.json holds them. Seconds, bytes, and GB of 1e9 bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import ConfigDict, Field

from horovod_runner.allreduce.algorithms import ALGORITHMS, COPY
from horovod_runner.collectives.fit import AlphaBetaFit, busbw, fit, ring_seconds
from horovod_runner.collectives.plan import Case
from horovod_runner.collectives.samples import Sample
from horovod_runner.config.settings import Settings
from horovod_runner.results.store import write_text

FILE = "allreduce.json"
GB = 1e9


class CaseTimes(Settings):
    """One case by one algorithm.

    `min_seconds`, `avg_seconds` and `max_seconds` are over ranks, of each rank's mean; median and 95th percentile are
    of the slowest rank, the one with the largest mean. `algbw` is bytes over that median, and `busbw` follows from it
    (see fit.busbw); a copy, which crosses no link, has none. `ring_seconds` is the least that a ring takes over links
    of a known rate (see fit.ring_seconds), None where there are none.
    """

    name: str
    handed: Literal["flat", "tensors"]
    tensors: int
    bytes: int
    iterations: int
    min_seconds: float
    avg_seconds: float
    max_seconds: float
    median_seconds: float
    p95_seconds: float
    algbw_gb_per_second: float
    busbw_gb_per_second: float | None
    correct: bool
    ring_seconds: float | None = None


class AlphaBetaModel(Settings):
    """The fitted alpha-beta model; bounds of 95 % confidence; None for a bandwidth that the times set no end to."""

    latency_seconds: float
    latency_low: float
    latency_high: float
    bandwidth_gb_per_second: float | None
    bandwidth_low: float | None
    bandwidth_high: float | None
    worst_residual: float
    worst_bytes: int


class AlgorithmResult(Settings):
    """What was measured by one algorithm, or why nothing was; launcher, threads and environment as rank 0 saw them."""

    name: str
    status: Literal["measured", "missing", "failed"]
    reason: str | None = None
    log_tail: tuple[str, ...] = ()
    launcher: Mapping[str, Any] | None = None
    threads: int | None = None
    environment: Mapping[str, str] | None = None
    rows: tuple[CaseTimes, ...] = ()
    line: AlphaBetaModel | None = None

    @property
    def title(self) -> str:
        """The algorithm's name as people write it."""
        return (COPY if self.name == COPY.name else ALGORITHMS[self.name]).title

    @property
    def correct(self) -> bool:
        """Whether every sum was right."""
        return all(row.correct for row in self.rows)

    @property
    def messages(self) -> list[CaseTimes]:
        """The rows of the given sizes, without the models."""
        return [row for row in self.rows if row.name == "message"]


class Report(Settings):
    """The whole measurement. The first of `algorithms` (`ways` in the file) is the memory copy."""

    model_config = ConfigDict(populate_by_name=True)

    schema_version: Literal[1] = Field(1, alias="schema")
    command: tuple[str, ...]
    started: str
    seconds: float
    origin: Mapping[str, Any]
    workers: int
    framework: str
    yield_when_idle: bool
    algorithms: tuple[AlgorithmResult, ...] = Field(alias="ways")

    @property
    def measured(self) -> list[AlgorithmResult]:
        """The algorithms that have rows."""
        return [algorithm for algorithm in self.algorithms if algorithm.rows and algorithm.name != COPY.name]

    @property
    def copy_seconds(self) -> dict[int, float]:
        """The median seconds of a memory copy, by its bytes."""
        return {
            row.bytes: row.median_seconds
            for algorithm in self.algorithms
            if algorithm.name == COPY.name
            for row in algorithm.rows
        }

    @property
    def passed(self) -> bool:
        """Whether nothing failed and every sum was right."""
        return all(algorithm.status != "failed" and algorithm.correct for algorithm in self.algorithms)


def row(case: Case, sample: Sample, ranks: int, *, reduces: bool, rate_mbit: float | None = None) -> CaseTimes:
    """Return the summary of a case; `rate_mbit` is that of the links between hosts, None where it is not known."""
    seconds = np.array(sample.seconds)
    means = seconds.mean(axis=1)
    slowest = seconds[means.argmax()]
    median = float(np.median(slowest))
    algbw = case.bytes / median / GB
    return CaseTimes(
        name=case.name,
        handed=case.handed,
        tensors=len(case.elements),
        bytes=case.bytes,
        iterations=seconds.shape[1],
        min_seconds=float(means.min()),
        avg_seconds=float(means.mean()),
        max_seconds=float(means.max()),
        median_seconds=median,
        p95_seconds=float(np.quantile(slowest, 0.95)),
        algbw_gb_per_second=algbw,
        busbw_gb_per_second=busbw(algbw, ranks) if reduces else None,
        correct=sample.correct,
        ring_seconds=ring_seconds(case.bytes, ranks, rate_mbit) if reduces and rate_mbit else None,
    )


def line(rows: Sequence[CaseTimes]) -> AlphaBetaModel | None:
    """Return the alpha-beta model of the messages among these rows; None where they are too few."""
    messages = [row for row in rows if row.name == "message"]
    fitted = fit([row.bytes for row in messages], [row.median_seconds for row in messages])
    return None if fitted is None else _line(fitted)


def _line(fitted: AlphaBetaFit) -> AlphaBetaModel:
    alpha, beta = fitted.alpha, fitted.beta
    return AlphaBetaModel(
        latency_seconds=alpha.value,
        latency_low=alpha.low,
        latency_high=alpha.high,
        bandwidth_gb_per_second=_finite(beta.value),
        bandwidth_low=_finite(beta.low),
        bandwidth_high=_finite(beta.high),
        worst_residual=fitted.worst_residual,
        worst_bytes=fitted.worst_bytes,
    )


def _finite(bytes_per_second: float) -> float | None:
    return bytes_per_second / GB if math.isfinite(bytes_per_second) else None


def write_report(report: Report, folder: Path) -> Path:
    """Write the measurement as JSON, atomically; return the file."""
    file = folder / FILE
    write_text(file, report.model_dump_json(indent=1, by_alias=True) + "\n")
    return file
