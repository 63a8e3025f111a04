"""What the hand-written scripts have in common: their options, the clock around their step, and the file they write."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.workloads import WORKLOADS


def options() -> argparse.Namespace:
    """Read the command line, and place the threads before a framework is imported."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--workload", default="resnet50", choices=sorted(WORKLOADS))
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch", type=int, help="a worker's; the workload's own unless given")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--channels-last", action="store_true", help="PyTorch's layout as the suite and TensorFlow have it"
    )
    given = parser.parse_args()
    given.batch = given.batch or WORKLOADS[given.workload].local_batch
    os.environ.update({"OMP_NUM_THREADS": str(given.threads), "TF_CPP_MIN_LOG_LEVEL": "3"})
    return given


def timed(step: Callable[[], float], steps: int) -> list[float]:
    """Return the seconds of every step; a step is over when its loss is a number."""
    seconds = []
    for _ in range(steps):
        began = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - began)
    return seconds


def write(out: Path, seconds: Sequence[float]) -> None:
    """Write every step's seconds."""
    out.write_text(json.dumps(list(seconds)))
