"""The shape of a result: the types that are written to a run's folder, their schema version, and how they are read
back.

`result.json` holds one `RunResult`; `steps.jsonl` holds one `StepRecord` a line. Field names are fixed: people script
against them. A reader of another schema is refused with a sentence instead of guessing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json

from horovod_runner.errors import UserError
from horovod_runner.statistics.interval import Interval
from horovod_runner.statistics.throughput import Seconds, SlowestWorker, Straggler

SCHEMA = 1

Status = Literal["completed", "diverged", "failed", "timeout"]


class Record(BaseModel):
    """The base of what is written: frozen, and non-finite numbers survive JSON as the strings NaN and Infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class StepRecord(Record):
    """One training step, over all workers.

    `train_loss` is the mean over workers; `step_seconds` and `data_seconds` are the slowest worker's, the first
    including the second; `worker_seconds` are every worker's step times, by rank, and `ready_seconds` those from the
    step's begin until each worker handed its first gradient to the reduction (empty where nothing is reduced).
    Validation figures stand on the step that was validated after: the last one of an epoch, or every so many; and with
    them the metric of the trivial predictor, and the one that a model has to exceed to be said to have learned
    (benchmarks/objectives/trivial.py). With `noise_scale`: the mean over all shards of the squared norm of a
    shard's gradient, and the squared norm of their average, before weight decay and clipping.
    """

    step: int  # 1 for the first
    epoch: int  # 1 for the first
    learning_rate: float
    train_loss: float
    step_seconds: float
    data_seconds: float
    worker_seconds: tuple[float, ...]
    val_loss: float | None = None
    val_metric: float | None = None
    batch: str | None = None  # hash of the global batch, the same for any number of workers
    ready_seconds: tuple[float, ...] = ()
    shard_squared_norm: float | None = None
    mean_squared_norm: float | None = None
    trivial_metric: float | None = None
    learned_above: float | None = None


class StepBreakdown(Record):
    """How the time of steps divides, by Horovod's timeline, as rank 0 saw it; seconds a step.

    `seconds`: wall time by phase, each moment given to one phase (allreduce/timeline.py says which); the rest of
    `step_seconds` has no tensor under way. `summed_seconds`: added up over tensors, which overlap. `last_ready`: by
    rank, the negotiations that all others waited in for it; empty where negotiations show no ranks. `ready_seconds`: by
    parameter, from a step's begin until rank 0 handed its gradient over; empty where they travel as one, and in results
    of before.
    """

    steps: int
    step_seconds: float
    seconds: dict[str, float]
    summed_seconds: dict[str, float]
    last_ready: tuple[int, ...] = ()
    ready_seconds: dict[str, float] = {}

    @property
    def busy_seconds(self) -> float:
        """Wall time a step in which something is copied or reduced."""
        return self.seconds["copying"] + self.seconds["reducing"]


class Metric(Record):
    """Validation metric, one value a validation: an epoch, unless a setting of the run says otherwise."""

    name: str
    values: tuple[float, ...]


class NoiseScale(Record):
    """The gradient noise scale over the recorded steps (McCandlish et al. 2018, appendix A.1).

    `trace`: the mean estimate of tr(Sigma), the summed variance of one example's gradient; `squared_gradient`: that of
    |G|^2; `simple`: their ratio B_simple, in examples, a ratio of averages; None where the noise leaves nothing of
    |G|^2. `by_epoch`: the same ratio of each epoch's steps. `shard_batch` and `global_batch` are the two batches.
    """

    shard_batch: int
    global_batch: int
    steps: int
    trace: float
    squared_gradient: float
    simple: Interval | None
    by_epoch: tuple[float | None, ...]


class RunResult(Record):
    """A finished run. Units: seconds, bytes, images a second of all workers together.

    Figures that a run did not live to measure are None (throughput of a run that failed at once) or empty.
    `timed_steps` of the recorded steps carry the throughput; the first `discarded_steps` were kept out of it.
    `worker_seconds` are the mean seconds of every worker's timed steps, by rank (empty in results of before), and
    `ready_seconds` those until its first gradient was handed to the reduction. `timeline` is None without one, and
    `gradient_noise` unless `noise_scale` was set. `at_once` runs were done on the machine at a time: where it is more
    than one, nothing of this was measured.

    `val_loss` and `val_metric` have one value a validation, of which `validated_steps` and `validated_epochs` are the
    step and the epoch (empty in results of before). `target` is the validation metric that the run was to reach, and
    `steps_to_target` the step of the first validation that was no less: None where none was, or there is no target. A
    run that stopped there is completed, and `epochs` and `steps` are those that it trained.

    `trivial_metric` is what the trivial predictor scores, and `learned_above` what the last validation
    has to exceed for the run to be said to have learned: benchmarks/objectives/trivial.py has the rule. Both are None
    in results of before, and where nothing was validated.
    """

    schema_version: int = SCHEMA
    run_id: str
    experiment: str
    status: Status
    framework: str
    workload: str
    workers: int
    local_batch: int
    global_batch: int
    scaling: str
    seed: int
    repeat: int
    epochs: int
    steps: int
    images_per_second: Interval | None = None
    step_seconds: Seconds | None = None
    slowest_worker: SlowestWorker | None = None
    worker_seconds: tuple[float, ...] = ()
    ready_seconds: tuple[float, ...] = ()
    last_to_reduce: Straggler | None = None
    timeline: StepBreakdown | None = None
    gradient_noise: NoiseScale | None = None
    train_loss: tuple[float, ...] = ()
    val_loss: tuple[float, ...] = ()
    val_metric: Metric | None = None
    wall_seconds: float
    peak_memory_bytes: int | None = None
    timed_steps: int = 0
    discarded_steps: int = 0
    settled: bool | None = None
    wall_images_per_second: float | None = None
    data_wait_fraction: float | None = None
    threads: int | None = None
    at_once: int = 1
    skipped_examples: int = 0
    validated_steps: tuple[int, ...] = ()
    validated_epochs: tuple[int, ...] = ()
    target: float | None = None
    steps_to_target: int | None = None
    trivial_metric: float | None = None
    learned_above: float | None = None
    error: str | None = None
    log_tail: tuple[str, ...] = ()  # what the rank that failed said last

    @property
    def learned(self) -> bool | None:
        """Whether a completed run ends better than the trivial predictor; None where nothing tells."""
        if self.status != "completed" or self.learned_above is None or not (self.val_metric and self.val_metric.values):
            return None
        return self.val_metric.values[-1] > self.learned_above

    def to_json(self) -> str:
        """Return the text of result.json; the version is written under the key `schema`."""
        plain = json.loads(self.model_dump_json())
        return json.dumps({"schema": plain.pop("schema_version"), **plain}, indent=2) + "\n"


def result_from_json(text: str, source: str) -> RunResult:
    """Read result.json; UserError names `source` when it is damaged or of another schema."""
    try:
        plain = json.loads(text)
        version = plain.pop("schema")
    except (ValueError, KeyError, AttributeError, TypeError):
        raise UserError(f"{source} is not a result of this suite; remove it, and the run is done again") from None
    if version != SCHEMA:
        raise UserError(
            f"{source} has schema {version}, and this version reads {SCHEMA}; read it with the version that wrote it"
        )
    return _validated(RunResult, {"schema_version": version, **plain}, source)


def step_from_json(line: str, source: str) -> StepRecord:
    """Read one line of steps.jsonl; UserError names `source` when it is damaged."""
    try:
        return StepRecord.model_validate_json(line)
    except ValidationError:
        raise UserError(f"{source} holds a damaged line; remove the run's folder, and the run is done again") from None


def step_columns_from_json(lines: Sequence[str], source: str) -> dict[str, list[Any]]:
    """Read lines of steps.jsonl as a list for each field of a step; UserError names `source` when one is damaged.

    A third of the time of records, and a tenth of their memory. Values are as JSON has them: NaN and Infinity are text.
    """
    try:
        rows = from_json(f"[{','.join(lines)}]")
        fields = StepRecord.model_fields.items()
        return {name: [row[name] if field.is_required() else row.get(name) for row in rows] for name, field in fields}
    except (ValueError, KeyError, TypeError):
        for line in lines:
            step_from_json(line, source)
        raise


def _validated(kind: type[RunResult], plain: dict[str, Any], source: str) -> RunResult:
    try:
        return kind.model_validate(plain)
    except ValidationError as error:
        item = error.errors()[0]
        key = ".".join(str(part) for part in item["loc"])
        raise UserError(f"{source}: {key}: {item['msg']}; remove it, and the run is done again") from None
