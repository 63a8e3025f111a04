"""How long does planning a large study take?

`python -m benchmarks.peers.plan_speed` writes an experiment file of ten thousand runs and gives it to the real command,
several times. Prints the median of the seconds from start to exit; exit code 1 if it is above 2.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from horovod_runner.machine.terminal import alone, tell

MOST_SECONDS = 2.0
EXPERIMENT = """\
description: ten thousand runs
base:
  workload: resnet50
  data: {name: synthetic, image_size: 64, examples: 65536}
  epochs: 3
  local_batch: 16
  optimizer: {name: sgd, momentum: 0.9}
axes:
  framework: [torch, tensorflow]
  workers: [1, 2, 4, 8, 16]
  seed: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
  schedule.warmup_epochs: [0, 1, 2, 5]
  optimizer.learning_rate: [0.0125, 0.025, 0.05, 0.1, 0.2]
repeats: 5
"""
RUNS = "10,000 runs, 10,000 to do"


def main() -> int:
    """Measure and print; return 1 if planning is too slow."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "large.yaml"
        file.write_text(EXPERIMENT)
        seconds = [_seconds(file) for _ in range(given.times)]
    median = statistics.median(seconds)
    tell(f"planning 10,000 runs: median {median:.2f} s, range {min(seconds):.2f} to {max(seconds):.2f}")
    return int(median > MOST_SECONDS)


def _seconds(file: Path) -> float:
    argv = [sys.executable, "-m", "horovod_runner", "plan", str(file), "--results", str(file.parent / "results")]
    began = time.perf_counter()
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    seconds = time.perf_counter() - began
    if RUNS not in said:
        raise RuntimeError(f"the plan is not of the runs that it was asked for:\n{said}")
    return seconds


if __name__ == "__main__":
    sys.exit(alone(main))
