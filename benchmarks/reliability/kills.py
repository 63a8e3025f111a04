"""Does a matrix survive whatever is killed, whenever?

`python -m benchmarks.reliability.kills --kills 50` does a small matrix of real runs (two workers each) again and again,
and kills the runner, the launcher or a rank by SIGKILL after a random time, until so many kills were made. After each
kill every file that is there must be readable; when a matrix has come to its end, it must hold the results of an
undisturbed one: every run once, completed, every step once, with the same losses bit for bit. Prints a line a kill;
exit code 1 at the first difference.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

from horovod_runner.config.frameworks import DEFAULT
from horovod_runner.machine.terminal import alone, tell
from horovod_runner.results.store import RunFolder, Store, read_json

RUNS, STEPS = 3, 60
LONGEST_SECONDS = 9.0  # a run takes about half of it, so that kills fall into starts, steps, ends and between runs
TARGETS = ("runner", "launcher", "rank")
Curves = dict[str, tuple[tuple[int, float], ...]]


def main() -> int:
    """Kill and compare; return 1 if something was lost."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--framework", default=DEFAULT)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    draw, made = random.Random(given.seed), Counter[str]()
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "kills.yaml"
        file.write_text(json.dumps(_experiment(given.framework)))
        expected = _undisturbed(file, Path(place) / "undisturbed")
        matrices = 0
        while made.total() < given.kills:
            results = Path(place) / f"matrix{matrices}"
            _disturbed(file, results, draw, made, given.kills)
            found = _curves(results)
            if found != expected:
                tell(f"matrix {matrices} differs from the undisturbed one: {sorted(found)} and {sorted(expected)}")
                return 1
            matrices += 1
    kinds = ", ".join(f"{made[target]} x {target}" for target in TARGETS)
    tell(f"{made.total()} kills ({kinds}) in {matrices} matrices of {RUNS} runs: nothing lost, nothing twice")
    return 0


def _experiment(framework: str) -> dict[str, object]:
    base = {"workload": "unet", "framework": framework, "width": 4, "local_batch": 4, "threads": 1, "workers": 2}
    base |= {"data": {"examples": 64}, "steps": STEPS, "checkpoint": {"every": 7, "keep_final": False}}
    return {"description": "runs to be killed", "base": base, "axes": {"seed": list(range(RUNS))}}


def _undisturbed(file: Path, results: Path) -> Curves:
    if _start(file, results).wait() != 0:
        raise RuntimeError("the undisturbed matrix failed")
    curves = _curves(results)
    if len(curves) != RUNS:
        raise RuntimeError(f"the undisturbed matrix has {len(curves)} results, not {RUNS}")
    return curves


def _disturbed(file: Path, results: Path, draw: random.Random, made: Counter[str], most: int) -> None:
    """Start the runner until the matrix is done, and kill something each time while there are kills left."""
    while True:
        runner = _start(file, results)
        if made.total() < most:
            seconds, target = draw.uniform(0, LONGEST_SECONDS), draw.choice(TARGETS)
            time.sleep(seconds)
            if _kill(runner, target):
                made[target] += 1
                tell(f"{made.total():3d}  {target:8s} after {seconds:.1f} s")
        code = runner.wait()
        _require_readable(results)
        if code == 0:
            return


def _start(file: Path, results: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "horovod_runner", "run", str(file), "--results", str(results)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _kill(runner: subprocess.Popen[bytes], target: str) -> bool:
    """Kill one process of a kind; return whether there was one."""
    try:
        below = psutil.Process(runner.pid).children(recursive=True)
        kinds = {
            "runner": [psutil.Process(runner.pid)] if runner.poll() is None else [],
            "launcher": [p for p in below if "mpirun" in p.name() or "orterun" in p.name()],
            "rank": [p for p in below if p.cmdline()[1:3] == ["-m", "horovod_runner.training.worker"]],
        }
        if kinds[target]:
            kinds[target][-1].kill()
    except psutil.NoSuchProcess:
        return False
    return bool(kinds[target])


def _require_readable(results: Path) -> None:
    """Read every file of every run, finished or not: UserError names one that is half-written."""
    for path in results.glob("*/*/config.json"):
        folder = RunFolder(path.parent)
        folder.read_config()
        folder.read_steps()
        for file in (folder.provenance_file, *folder.checkpoints.glob("*.json")):
            if file.exists():
                read_json(file)
        if folder.result_file.exists():
            folder.read_result()


def _curves(results: Path) -> Curves:
    """Return every completed run's steps and losses."""
    done = [folder for folder in Store(results).finished() if folder.read_result().status == "completed"]
    return {f.path.name: tuple((step.step, step.train_loss) for step in f.read_steps()) for f in done}


if __name__ == "__main__":
    sys.exit(alone(main))
