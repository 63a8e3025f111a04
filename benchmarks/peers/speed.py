"""How fast is the suite beside what one would write by hand, and beside two workers that never talk?

`python -m benchmarks.peers.speed` runs four arms for each framework in random order, round after round, so that a
drifting machine hits all of them alike: the hand-written step alone (bare-1) and twice at the same time (silent-2:
nobody reduces anything, the ceiling for two workers), and the suite with one worker (ours-1) and two (ours-2). Ratios
are taken within a round; their median and range are printed. `--out FILE` keeps the rounds as JSON, and a call that
finds some there goes on from them. ResNet-50, synthetic 64x64 images,
16 a worker, one thread a worker.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from horovod_runner.launching.launch import environment
from horovod_runner.store import Store

DISCARD = 5
BATCH = 16
TARGETS = {"ours-2 / silent-2": 0.70, "ours-1 / bare-1": 0.95}


def main() -> int:
    """Measure, print and write; return 1 if a median misses its target."""
    given = options(__doc__)
    rounds = json.loads(given.out.read_text())["rounds"] if given.out and given.out.exists() else []
    while len(rounds) < given.rounds:
        rounds.append(_round(given.frameworks, given.steps, len(rounds)))
        if given.out:
            given.out.write_text(json.dumps({"rounds": rounds}, indent=1) + "\n")
    table = {
        f"{framework}: {ratio}": [_ratio(each[framework], ratio) for each in rounds]
        for framework in given.frameworks
        for ratio in TARGETS
    }
    for name, values in table.items():
        print(f"{name:32s} median {statistics.median(values):.3f}  range {min(values):.3f} to {max(values):.3f}")
    return int(any(statistics.median(v) < TARGETS[name.split(": ")[1]] for name, v in table.items()))


def options(told: str | None) -> argparse.Namespace:
    """Return the options of a comparison in rounds; `told` is its module's documentation."""
    parser = argparse.ArgumentParser(description=(told or "").partition("\n")[0])
    parser.add_argument("--frameworks", nargs="+", default=["tensorflow", "torch"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def _round(frameworks: Sequence[str], steps: int, number: int) -> dict[str, dict[str, float]]:
    """Measure every arm once, in an order of this round's own; return images a second of all workers together."""
    arms = [(framework, arm) for framework in frameworks for arm in ("bare-1", "silent-2", "ours-1", "ours-2")]
    random.Random(number).shuffle(arms)
    found: dict[str, dict[str, float]] = {framework: {} for framework in frameworks}
    for framework, arm in arms:
        measure = ours if arm.startswith("ours") else _bare
        found[framework][arm] = measure(framework, int(arm[-1]), steps)
        print(f"round {number + 1}: {framework} {arm} {found[framework][arm]:.1f} images/s", flush=True)
    return found


def _ratio(arms: dict[str, float], ratio: str) -> float:
    above, below = ratio.split(" / ")
    return arms[above] / arms[below]


def _bare(framework: str, processes: int, steps: int) -> float:
    """Run the hand-written step in so many processes at once; return their images a second added up."""
    with tempfile.TemporaryDirectory() as folder:
        outs = [Path(folder) / f"{i}.json" for i in range(processes)]
        module = f"benchmarks.peers.bare_{framework}"
        argvs = [[sys.executable, "-m", module, str(out), "--steps", str(steps)] for out in outs]
        running = [subprocess.Popen(argv, stderr=subprocess.DEVNULL) for argv in argvs]
        codes = [process.wait() for process in running]
        if any(codes):
            raise RuntimeError(f"{module} failed")
        return sum(_rate(json.loads(out.read_text())) for out in outs)


def _rate(seconds: Sequence[float]) -> float:
    timed = seconds[DISCARD:]
    return BATCH * len(timed) / sum(timed)


def ours(framework: str, workers: int, steps: int, settings: Sequence[str] = ()) -> float:
    """Do a run of the suite, with further `path=value` settings; return its images a second."""
    with tempfile.TemporaryDirectory() as folder:
        argv = [sys.executable, "-m", "horovod_runner", "bench", "--framework", framework, "--results", folder]
        argv += ["--data", "synthetic", "--image-size", "64", "--local-batch", str(BATCH), "--steps", str(steps)]
        argv += ["--workers", str(workers)]
        for setting in ("threads=1", f"discard_steps={DISCARD}", "validate_every=0", "checkpoint.every=0", *settings):
            argv += ["--set", setting]
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
        rate = next(Store(Path(folder)).finished()).read_result().images_per_second
        assert rate is not None
        return rate.mean


if __name__ == "__main__":
    sys.exit(main())
