"""A network as a small YAML file: levels, each with latency and effective bandwidth, as numbers or as ranges.

```yaml
name: a cluster                       # as tables call it
ranks_per_host: 8                     # workers that the level `within` joins; --workers-per-host says otherwise
within:                               # links of workers on one host; left out: not known
  latency_us: [2, 20]                 # a number, or the range [low, high] in which it is thought to lie
  bandwidth_gb_per_second: [5, 20]    # effective, of one worker, as bytes x 2 (m - 1) / m over time; never a line rate
between:                              # links of hosts
  latency_us: [10, 50]
  bandwidth_gb_per_second: 1.2
  congestion: [0, 0.3]                # bytes cost (hosts / 2) ** congestion as much
coordination_us: [1, 100]             # Horovod's, a worker and step
overlap: [0, 1]                       # speed of the channel while workers compute
scatter: [0.003, 0.03]                # standard deviation of a worker's step over its mean
```

What is left out keeps its prior (benchmarks/ladders/README.md). Ranges are drawn from uniformly, on a logarithmic scale
where all of it is above zero and it is no share.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from horovod_runner.collectives.record import FILE, Report
from horovod_runner.config.diagnostics import unknown_key, wrong_value
from horovod_runner.config.yaml_files import read_file
from horovod_runner.errors import UserError
from horovod_runner.prediction.draws import GB, Draws

Array = NDArray[np.float64]
MICROSECOND = 1e-6
LEAST_LATENCY = 1e-7  # seconds


def _as_range(given: object) -> object:
    """Take one number for a range of no width; refuse a range that is upside down."""
    if isinstance(given, int | float) and not isinstance(given, bool):
        return (given, given)
    if isinstance(given, list | tuple) and len(given) == 2 and all(isinstance(end, int | float) for end in given):
        if given[0] > given[1]:
            raise ValueError(f"its low end {given[0]} is above its high end {given[1]}; swap them")
        return tuple(given)
    raise ValueError("it is neither a number nor a range [low, high]; write one of them")


_Above = Annotated[float, Field(gt=0, lt=1e12, allow_inf_nan=False)]
_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Positive = Annotated[tuple[_Above, _Above], BeforeValidator(_as_range)]
Share = Annotated[tuple[_Share, _Share], BeforeValidator(_as_range)]


class Described(BaseModel):
    """The base of what users write about a machine or a job: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Level(Described):
    """Links of one kind."""

    latency_us: Positive
    bandwidth_gb_per_second: Positive


class Between(Level):
    """Links of hosts."""

    congestion: Share | None = None


class Network(Described):
    """What is known of a machine beyond a job's own runs."""

    name: str = "a network"
    ranks_per_host: Annotated[int, Field(ge=1, le=65_536)] = 1
    within: Level | None = None
    between: Between
    coordination_us: Positive | None = None
    overlap: Share | None = None
    scatter: Positive | None = None

    def known(self, draws: Draws, generator: np.random.Generator) -> Draws:
        """Return the draws with everything that the file says in place of its prior."""
        count, made = len(draws), {}
        for where, level in (("within", self.within), ("between", self.between)):
            if level is not None:
                made[f"latency_{where}"] = drawn(level.latency_us, count, generator) * MICROSECOND
                made[f"bandwidth_{where}"] = drawn(level.bandwidth_gb_per_second, count, generator) * GB
        if self.between.congestion is not None:
            made["congestion"] = generator.uniform(*self.between.congestion, count)
        if self.coordination_us is not None:
            made["coordination"] = drawn(self.coordination_us, count, generator) * MICROSECOND
        if self.overlap is not None:
            made["overlap"] = generator.uniform(*self.overlap, count)
        if self.scatter is not None:
            made["scatter"] = drawn(self.scatter, count, generator)
        return draws.with_(**made)


def drawn(bounds: tuple[float, float], count: int, generator: np.random.Generator) -> Array:
    """Return draws that are logarithmically uniform between positive bounds, shape (count,)."""
    return np.asarray(np.exp(generator.uniform(math.log(bounds[0]), math.log(bounds[1]), count)))


def of_allreduce(root: Path) -> Network:
    """Return the network that `horovod-runner allreduce` measured between its ranks; UserError without a measurement.

    Of what was measured the fastest that has a line of latency and bandwidth; as ranges its intervals, which say how
    much hangs on which sizes were measured. The line is of an allreduce, bytes x 2 (N - 1) / N over bandwidth.
    """
    file = root / FILE if root.is_dir() else root
    try:
        report = Report.model_validate_json(file.read_text())
    except (OSError, ValueError):
        raise UserError(f"{file}: is no measurement of the allreduce; make one with horovod-runner allreduce") from None
    lines = [one.line for one in report.measured if one.line and one.line.bandwidth_gb_per_second]
    if not lines:
        raise UserError(f"{file}: no line of latency and bandwidth is in it; measure three sizes or more with --sizes")
    best = max(lines, key=lambda line: line.bandwidth_gb_per_second or 0)
    rate, passes = best.bandwidth_gb_per_second or 1.0, 2 * math.ceil(math.log2(report.workers))
    moved = 2 * (report.workers - 1) / report.workers
    low = min(best.bandwidth_low or rate, rate) * moved
    high = max(best.bandwidth_high or rate, rate) * moved
    latency = [max(seconds, LEAST_LATENCY) / passes / MICROSECOND for seconds in (best.latency_low, best.latency_high)]
    between = Between(latency_us=(latency[0], latency[1]), bandwidth_gb_per_second=(low, high))
    return Network(name=f"as measured in {root}", between=between)


Read = TypeVar("Read", bound=Described)


def read_network(file: Path) -> Network:
    """Return the network in a file; UserError names file, key and remedy."""
    return read_described(file, Network, "a network file")


def read_described(file: Path, kind: type[Read], called: str) -> Read:
    """Return what a YAML file describes; UserError names file, key and remedy."""
    data: Any = read_file(file, called).data
    if not isinstance(data, dict):
        raise UserError(f"{file}: {called} is a mapping of keys to values; begin with {next(iter(kind.model_fields))}:")
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise UserError(f"{file}: {_sentence(error, kind, called)}") from None


def _sentence(error: ValidationError, kind: type[Described], called: str) -> str:
    item = error.errors()[0]
    words = [str(part) for part in item["loc"] if not (isinstance(part, str) and part.startswith("function-"))]
    key = ".".join(words)
    if item["type"] == "missing":
        return f"{key}: is missing; {called} needs it"
    if item["type"] == "extra_forbidden":
        return unknown_key(key, _keys(kind), called)
    if item["type"] == "value_error":
        return f"{key}: {item['ctx']['error']}"
    return wrong_value(key, item)


def _keys(kind: type[Described]) -> list[str]:
    levels = [
        f"{name}.{key}" for name in ("within", "between") if name in kind.model_fields for key in Between.model_fields
    ]
    return [*kind.model_fields, *levels]
