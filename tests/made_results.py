"""A small but valid results tree, written through the real store: what the report and the notebook are tried on.

The numbers imitate real runs: losses that fall and part a little between frameworks, autocorrelated step times, two
workers that are less than twice as fast as one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from horovod_runner.config.schema import RunConfig, decode
from horovod_runner.results import record, store
from horovod_runner.statistics import throughput
from horovod_runner.statistics.interval import Interval

STEPS_PER_EPOCH = 20
WARM_UP = 5
WORKLOADS = {"resnet50": (2.3, "top1", 100.0), "unet": (3.1, "mean_iou", 60.0)}
MACHINE = {"id": "3f9c2a", "cpu": "Some CPU", "cores": 2, "memory_bytes": 25_769_803_776, "system": "Linux", "gpus": []}
VERSIONS = {"python": "3.11.7", "torch": "2.13.0", "tensorflow": "2.21.0", "horovod": "0.28.1", "mpi": "Open MPI 4.1.8"}


def make_results(
    root: Path, workers: Sequence[int] = (1, 2), seeds: Sequence[int] = (0,), repeats: int = 1, **settings: Any
) -> Path:
    """Write both jobs in both frameworks on these numbers of workers; `settings` are further keys of the run."""
    for workload in WORKLOADS:
        for framework in ("tensorflow", "torch"):
            for count in workers:
                for seed, repeat in ((seed, repeat) for seed in seeds for repeat in range(repeats)):
                    raw = {"workload": workload, "framework": framework, "workers": count, "seed": seed}
                    add_run(root, raw | {"repeat": repeat} | settings)
    return root


def add_run(
    root: Path, raw: dict[str, Any], machine: str = "3f9c2a", cores: int = 2, **changes: Any
) -> store.RunFolder:
    """Write one finished run; `changes` replace fields of its result."""
    config = decode({"epochs": 3, "strategy": "fused"} | raw, "made")
    folder = store.Store(root).open_run(config)
    steps = list(_steps(config))
    folder.append_steps(steps)
    store.write_json(folder.provenance_file, _provenance(config, machine, cores))
    folder.write_result(_result(config, steps).model_copy(update=changes))
    return folder


def add_failure(root: Path, raw: dict[str, Any], status: str, error: str) -> store.RunFolder:
    """Write a run that ended before it measured anything."""
    nothing = {"images_per_second": None, "step_seconds": None, "slowest_worker": None, "val_metric": None}
    return add_run(
        root, raw, status=status, error=error, train_loss=(), val_loss=(), data_wait_fraction=None, **nothing
    )


def add_timed(
    root: Path,
    raw: dict[str, Any],
    worker_seconds: Sequence[float],
    wait_seconds: float = 0.0,
    cores: int = 64,
    **changes: Any,
) -> store.RunFolder:
    """Write a run whose workers took these mean seconds a step, of which all spent some waiting for data.

    `changes` replace further fields of its result.
    """
    config = decode({"epochs": 1, "strategy": "fused"} | raw, "made")
    step = max(worker_seconds)
    rate = Interval(mean=(config.global_batch or 1) / step, ci95_low=None, ci95_high=None)
    figures = {"images_per_second": rate, "worker_seconds": tuple(worker_seconds)}
    return add_run(root, {"epochs": 1} | raw, cores=cores, data_wait_fraction=wait_seconds / step, **figures | changes)


def _steps(config: RunConfig) -> Iterable[record.StepRecord]:
    generator = np.random.default_rng([config.seed, config.repeat, config.workers, len(config.framework)])
    start, _, speed = WORKLOADS[config.workload]
    slower = 1.1 if config.framework == "tensorflow" else 1.0
    seconds = (config.local_batch or 1) / speed * slower * (1.25 if config.workers > 1 else 1.0)
    noise = 0.0
    for step in range(1, STEPS_PER_EPOCH * (config.epochs or 1) + 1):
        noise = 0.5 * noise + 0.02 * generator.normal()
        each = 0.01 * generator.normal(size=config.workers) + 0.01 * np.arange(config.workers)
        clocks = seconds * np.exp(noise + each)
        loss = start * math.exp(-step / 25) * slower**0.3 + 0.2 + 0.02 * abs(generator.normal())
        yield _step(config, step, loss, [float(clock) for clock in clocks])


def _step(config: RunConfig, step: int, loss: float, clocks: list[float]) -> record.StepRecord:
    ends_epoch = step % STEPS_PER_EPOCH == 0
    return record.StepRecord(
        step=step,
        epoch=1 + (step - 1) // STEPS_PER_EPOCH,
        learning_rate=float(config.optimizer.learning_rate or 0),
        train_loss=loss,
        step_seconds=max(clocks),
        data_seconds=0.004 * max(clocks),
        worker_seconds=tuple(clocks),
        val_loss=1.08 * loss if ends_epoch else None,
        val_metric=1 - math.exp(-step / 20) if ends_epoch else None,
        batch=f"{step:012x}",
    )


def _result(config: RunConfig, steps: Sequence[record.StepRecord]) -> record.RunResult:
    ends = steps[STEPS_PER_EPOCH - 1 :: STEPS_PER_EPOCH]
    timed = [step.worker_seconds for step in steps[WARM_UP:]]
    epochs = [[s.train_loss for s in steps if s.epoch == end.epoch] for end in ends]
    shared = set(record.RunResult.model_fields) & set(type(config).model_fields) - {
        "epochs",
        "steps",
        "threads",
        "target",
    }
    return record.RunResult(
        run_id=config.run_id,
        status="completed",
        **{name: getattr(config, name) for name in shared},
        target=config.target.metric,
        epochs=len(ends),
        steps=len(steps),
        images_per_second=throughput.throughput(timed, config.global_batch or 1),
        step_seconds=throughput.step_seconds(timed),
        slowest_worker=throughput.slowest_worker(timed),
        worker_seconds=tuple(np.mean(timed, axis=0).tolist()),
        train_loss=tuple(sum(losses) / len(losses) for losses in epochs),
        val_loss=tuple(end.val_loss for end in ends if end.val_loss is not None),
        val_metric=record.Metric(
            name=WORKLOADS[config.workload][1],
            values=tuple(end.val_metric for end in ends if end.val_metric is not None),
        ),
        wall_seconds=sum(step.step_seconds for step in steps),
        peak_memory_bytes=1_500_000_000,
        timed_steps=len(timed),
        discarded_steps=WARM_UP,
        data_wait_fraction=0.004,
    )


def _provenance(config: RunConfig, machine: str, cores: int) -> dict[str, Any]:
    started = f"2026-01-02T03:{config.repeat % 60:02d}:{config.seed % 60:02d}+00:00"
    command = ["/somewhere/else/.venv/bin/horovod-runner", "bench", "--framework", config.framework]
    return {
        "command": [*command, "--workload", config.workload, "--workers", str(config.workers)],
        "started": started,
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "dirty": False,
        "machine": MACHINE | {"id": machine, "cores": cores},
        "versions": VERSIONS,
        "launcher": {"name": "horovodrun", "controller": "mpi", "hosts": 1},
        "environment": {"OMP_NUM_THREADS": "1"},
    }
