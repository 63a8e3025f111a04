"""How long does a prediction for 8,192 workers take, and how does that grow?

`python -m benchmarks.peers.predict_speed` predicts ResNet-50's step with 2,000 draws on 1 to 8,192 workers, hosts of
eight, with the knees, what would help and the rule of thumb, in a process of its own, several times; then for more
gradients and more workers. Exit code 1 above 2 seconds or 500 MB.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time

from horovod_runner.machine.terminal import alone, tell

MOST_SECONDS, MOST_MEGABYTES = 2.0, 500.0
GRADIENTS, WORKERS = 161, 8192
ONE = "one"


def main() -> int:
    """Measure and print; return 1 if it is too slow, or takes too much memory."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument(f"--{ONE}", nargs=2, type=int, metavar=("GRADIENTS", "WORKERS"))
    given = parser.parse_args()
    if given.one:
        seconds, megabytes = _predicted(*given.one)
        tell(f"{seconds} {megabytes}")
        return 0
    samples = [_in_a_process(GRADIENTS, WORKERS) for _ in range(given.times)]
    seconds, megabytes = statistics.median(s for s, _ in samples), max(m for _, m in samples)
    times = [seconds for seconds, _ in samples]
    spread = f"range {min(times):.2f} to {max(times):.2f}"
    tell(f"8,192 workers, 2,000 draws: median {seconds:.2f} s, {spread}; {megabytes:.0f} MB")
    for gradients, workers in ((40, WORKERS), (640, WORKERS), (GRADIENTS, 64), (GRADIENTS, 524_288)):
        tell(f"{gradients} gradients, {workers} workers: {_in_a_process(gradients, workers)[0]:.2f} s")
    return int(seconds > MOST_SECONDS or megabytes > MOST_MEGABYTES)


def _in_a_process(gradients: int, workers: int) -> tuple[float, float]:
    argv = [sys.executable, "-m", "benchmarks.peers.predict_speed", f"--{ONE}", str(gradients), str(workers)]
    words = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    return float(words[0]), float(words[1])


def _predicted(gradients: int, workers: int) -> tuple[float, float]:
    """Return the seconds of a prediction, its imports included, and the most memory that the process took, in MB."""
    began = time.perf_counter()
    import numpy as np

    from horovod_runner.prediction.calibration import Calibrated, Setup
    from horovod_runner.prediction.draws import DRAWS, priors
    from horovod_runner.prediction.forecast import THRESHOLDS, Forecast, powers_of_two
    from horovod_runner.prediction.job import PATTERNS, evenly

    draws = priors(np.random.default_rng(0), DRAWS)
    draws = draws.with_(start=np.full(DRAWS, 0.03), per_image=np.full(DRAWS, 0.003))
    setup = Setup(evenly(102e6, gradients), PATTERNS["fused"], 8)
    forecast = Forecast(Calibrated(setup, draws, 2), "weak", 32, "fused")
    counts = powers_of_two(1, workers)
    forecast.table(counts)
    for threshold in THRESHOLDS:
        forecast.knee(threshold, counts)
    forecast.helps(workers, forecast.others)
    forecast.rule(workers)
    return time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(alone(main))
