"""What lies between two runs of a matrix: from the result of one to the first step of the next?

`python -m benchmarks.peers.runner_gap` lets the runner do six small runs on two workers in each framework, and takes
the moments from the files that runs leave: result.json is a run's last act, provenance.json is written just before its
first step. Prints each framework's median; exit code 1 if one is above its target.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from horovod_runner.machine.terminal import alone, tell
from horovod_runner.results.store import RunFolder, Store

TARGETS = {"torch": 5.0, "tensorflow": 8.0}


def main() -> int:
    """Measure and print; return 1 if a framework takes too long."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=6)
    parser.add_argument("--workload", default="resnet50")
    given = parser.parse_args()
    missed = False
    for framework, target in TARGETS.items():
        gaps = _gaps(framework, given.workload, given.runs)
        median = statistics.median(gaps)
        tell(f"{framework}: {median:.1f} s between runs, {min(gaps):.1f} to {max(gaps):.1f} (target {target:g})")
        missed |= median > target
    return int(missed)


def _gaps(framework: str, workload: str, runs: int) -> list[float]:
    with tempfile.TemporaryDirectory() as place:
        file, results = Path(place) / "gap.yaml", Path(place) / "results"
        file.write_text(json.dumps(_experiment(framework, workload, runs)))
        command = [sys.executable, "-m", "horovod_runner", "run", str(file), "--results", str(results)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        folders = sorted(Store(results).finished(), key=_ended)
        return [_first_step(b) - _ended(a) for a, b in itertools.pairwise(folders)]


def _experiment(framework: str, workload: str, runs: int) -> dict[str, object]:
    base = {"framework": framework, "workload": workload, "workers": 2, "threads": 1, "width": 8, "local_batch": 4}
    base |= {"steps": 20, "validate_every": 0, "checkpoint": {"every": 0}}
    return {"description": "runs that are hardly more than a start", "base": base, "repeats": runs}


def _ended(folder: RunFolder) -> float:
    return folder.result_file.stat().st_mtime


def _first_step(folder: RunFolder) -> float:
    return folder.provenance_file.stat().st_mtime


if __name__ == "__main__":
    sys.exit(alone(main))
