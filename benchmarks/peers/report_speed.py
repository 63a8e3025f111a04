"""How long does a report of many runs take, and how much memory?

`python -m benchmarks.peers.report_speed` writes constructed runs of a matrix (two workloads and frameworks, one to
eight workers, with and without reduction, five repeats, and as many learning rates as it takes) into a temporary folder
through the real store, and reports each number of them in a fresh process. Prints seconds and peak memory, and what
one size costs over the one before; exit code 1 if the largest misses a target (20 s and 1 GB for 2,000 runs of 200
steps), or if time grows faster than runs do. Writing 2,000 runs takes about a minute.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from horovod_runner.config.schema import RunConfig, decode
from horovod_runner.machine.terminal import alone, tell
from horovod_runner.results.record import RunResult, StepRecord
from horovod_runner.results.store import Store, write_json
from horovod_runner.statistics import throughput

MOST_SECONDS, MOST_GB = 20.0, 1.0  # of 2,000 runs
FASTER_THAN_RUNS = 1.15  # of the growth of seconds over that of runs: clocks are not that exact
EPOCHS, WARM_UP = 5, 5
REPORT = """
import io, json, sys, time
from pathlib import Path
began = time.perf_counter()
from rich.console import Console
from horovod_runner.analysis.report.write import write_report
write_report(Path(sys.argv[1]), console=Console(file=io.StringIO(), width=132))
seconds = time.perf_counter() - began
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(json.dumps([seconds, int(peak.split()[1]) * 1024 / 1e9]))
"""


def main() -> int:
    """Measure and print; return 1 if a target is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, nargs="+", default=[500, 1000, 2000])
    parser.add_argument("--steps", type=int, default=200, help="of every run; a multiple of 5")
    parser.add_argument("--repeats", type=int, default=5, help="equal runs; more of them make larger groups")
    given = parser.parse_args()
    sizes = sorted(given.runs)
    measured = []
    with tempfile.TemporaryDirectory() as folder:
        configs = _configs(given.steps, given.repeats)
        for before, size in itertools.pairwise([0, *sizes]):
            for config in itertools.islice(configs, size - before):
                _write(Path(folder), config)
            measured.append(_report(Path(folder)))
            tell(f"{size:6} runs: {measured[-1][0]:6.2f} s, {measured[-1][1]:.3f} GB")
    return _judge(sizes, measured)


def _judge(sizes: Sequence[int], measured: Sequence[tuple[float, float]]) -> int:
    within = measured[-1][0] <= MOST_SECONDS * max(1, sizes[-1] / 2000) and measured[-1][1] <= MOST_GB
    for (size, (before, _)), (larger, (seconds, _)) in itertools.pairwise(zip(sizes, measured, strict=True)):
        growth = seconds / before
        within = within and growth <= larger / size * FASTER_THAN_RUNS
        tell(f"{larger / size:.2f} times the runs: {growth:.2f} times the seconds")
    tell("within the targets" if within else "a target is missed")
    return int(not within)


def _report(folder: Path) -> tuple[float, float]:
    """Return seconds, imports included, and peak GB of a report in a process of its own."""
    done = subprocess.run([sys.executable, "-c", REPORT, str(folder)], check=True, capture_output=True, text=True)
    seconds, gigabytes = json.loads(done.stdout)
    return seconds, gigabytes


def _configs(steps: int, repeats: int) -> Iterator[RunConfig]:
    """Yield the runs of the matrix without end, whole groups after each other."""
    axes: dict[str, Sequence[Any]] = {
        "workload": ("resnet50", "unet"),
        "repeat": range(repeats),
        "strategy": ("fused", "none"),
        "framework": ("tensorflow", "torch"),
        "workers": (1, 2, 4, 8),
    }
    plain = {"experiment": "many", "steps": steps, "local_batch": 16, "data": {"name": "synthetic", "image_size": 64}}
    for rate in itertools.count(1):
        for values in itertools.product(*axes.values()):
            point = dict(zip(axes, values, strict=True))
            yield decode({**plain, **point, "optimizer": {"learning_rate": rate / 1000}}, "report_speed")


def _write(root: Path, config: RunConfig) -> None:
    folder = Store(root).open_run(config)
    steps = list(_steps(config))
    folder.append_steps(steps)
    provenance = {"command": ["horovod-runner", "bench"], "started": "2026-01-02T03:04:05+00:00", "commit": "0" * 40}
    write_json(folder.provenance_file, {**provenance, "machine": {"id": "3f9c2a", "cores": 8}, "versions": {}})
    folder.write_result(_result(config, steps))


def _steps(config: RunConfig) -> Iterator[StepRecord]:
    """Yield a falling loss, and steps that take longer the more workers reduce."""
    generator = np.random.default_rng([config.repeat, config.workers, len(config.framework)])
    count, slower = config.steps or 0, 1 + 0.05 * (config.workers - 1) * config.reduction.reduces
    clocks = 0.1 * slower * np.exp(0.02 * generator.normal(size=(count, config.workers)))
    for step, seconds in enumerate(clocks.tolist(), start=1):
        epoch, ends = 1 + (step - 1) * EPOCHS // count, step * EPOCHS % count == 0
        yield StepRecord(
            step=step,
            epoch=epoch,
            learning_rate=0.1,
            train_loss=2.3 / (1 + 0.05 * step),
            step_seconds=max(seconds),
            data_seconds=0.001,
            worker_seconds=tuple(seconds),
            val_loss=2.4 / (1 + 0.05 * step) if ends else None,
            batch=f"{step:012x}",
        )


def _result(config: RunConfig, steps: Sequence[StepRecord]) -> RunResult:
    timed = [step.worker_seconds for step in steps[WARM_UP:]]
    ends = [step for step in steps if step.val_loss is not None]
    shared = set(RunResult.model_fields) & set(type(config).model_fields) - {"epochs", "steps", "threads", "target"}
    return RunResult(
        run_id=config.run_id,
        status="completed",
        **{name: getattr(config, name) for name in shared},
        epochs=EPOCHS,
        steps=len(steps),
        images_per_second=throughput.throughput(timed, config.global_batch or 1),
        step_seconds=throughput.step_seconds(timed),
        slowest_worker=throughput.slowest_worker(timed),
        train_loss=tuple(end.train_loss for end in ends),
        val_loss=tuple(end.val_loss or 0 for end in ends),
        wall_seconds=sum(step.step_seconds for step in steps),
        timed_steps=len(timed),
        discarded_steps=WARM_UP,
        worker_seconds=tuple(np.mean(timed, axis=0).tolist()),
        data_wait_fraction=0.01,
    )


if __name__ == "__main__":
    sys.exit(alone(main))
