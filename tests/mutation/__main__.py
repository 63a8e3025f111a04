"""Break the code in hundreds of small ways and see whether the parity proof turns red.

`python -m tests.mutation [--count 320] [--seed 0] [--out FOLDER]` is an experiment of an hour or two: each mutant is
tried in a copy of the tree, in a process of its own. It writes mutants.csv, a line a mutant, and prints a table.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from queue import SimpleQueue

from tests.mutation.mutate import Mutant, broken, places

PROJECT = Path(__file__).resolve().parents[2]
PATIENCE = 900.0  # seconds, after which a break has shown itself by never ending
ROOMS = {
    "the model in one framework": ("benchmarks/*/t*_model.py", "benchmarks/layers/t*/[!t_]*.py"),
    "a loss in one framework": ("benchmarks/objectives/t*.py",),
    "a backend, its optimizers and reducers": ("horovod_runner/frameworks/t*/[!ca_]*.py",),
    "what both frameworks share": (
        "benchmarks/*/spec.py",
        "benchmarks/layers/batch_norm.py",
        "benchmarks/objectives/reference.py",
        "benchmarks/a*.py",
        "benchmarks/data/order.py",
        "benchmarks/data/digits.py",
        "horovod_runner/training/schedule.py",
        "horovod_runner/training/validation.py",
        "horovod_runner/optimizers/rules.py",
    ),
}
"""Which files are broken, by what they are."""


@dataclass(frozen=True)
class Tried:
    """A mutant and what caught it."""

    mutant: Mutant
    room: str
    caught_by: str
    seconds: float

    @property
    def caught(self) -> bool:
        """Whether a row turned red."""
        return self.caught_by != "survived"


def chosen(count: int, seed: int) -> list[tuple[str, Mutant]]:
    """Return so many mutants at random: each room has an equal share, and in it each file by its number of mutants."""
    rng, found = random.Random(seed), []
    share = -(-count // len(ROOMS))
    for room, patterns in ROOMS.items():
        files = sorted({path for pattern in patterns for path in PROJECT.glob(pattern)})
        every = [place for path in files for place in places(PROJECT, str(path.relative_to(PROJECT)))]
        rng.shuffle(every)
        broke = (mutant for place in every if (mutant := broken(PROJECT, place)) is not None)
        found += [(room, mutant) for mutant in islice(broke, share)]
    rng.shuffle(found)
    return found[:count]


def tried(given: Iterable[tuple[str, Mutant]], at_once: int) -> Iterator[Tried]:
    """Try mutants, so many at once, each in one of as many copies of the tree; yield them as they come."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(at_once):
            copies.put(_copy(Path(folder) / str(number)))

        def one(room: str, mutant: Mutant) -> Tried:
            copy, began = copies.get(), time.monotonic()
            try:
                return Tried(mutant, room, _caught_by(copy, mutant), round(time.monotonic() - began, 1))
            finally:
                copies.put(copy)

        with ThreadPoolExecutor(at_once) as pool:
            yield from pool.map(lambda pair: one(*pair), given)


def _copy(folder: Path) -> Path:
    """Copy what Python runs of the tree."""
    for name in ("horovod_runner", "benchmarks", "tests"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml"):
        shutil.copy(PROJECT / name, folder)
    return folder


def _caught_by(copy: Path, mutant: Mutant) -> str:
    """Break a file of a copy, make the rows, and mend the file."""
    whole = (copy / mutant.file).read_text()
    (copy / mutant.file).write_text(mutant.source)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tests.mutation.trial", mutant.file],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "it never ended"
    finally:
        (copy / mutant.file).write_text(whole)
    return done.stdout.strip() or f"the process ended with exit code {done.returncode}"


def table(found: Sequence[Tried]) -> str:
    """Return how many were caught, by room and by file."""
    by_file: dict[tuple[str, str], list[Tried]] = defaultdict(list)
    for one in found:
        by_file[one.room, one.mutant.file].append(one)
        by_file[one.room, ""].append(one)
    lines = []
    for (room, file), group in sorted(by_file.items()):
        caught = sum(one.caught for one in group)
        lines.append(f"{caught:4d} of {len(group):4d}  {'  ' + file if file else room}")
    caught = sum(one.caught for one in found)
    return "\n".join([*lines, f"{caught:4d} of {len(found):4d}  in all"])


def write(found: Sequence[Tried], file: Path) -> None:
    """Write a line for each mutant."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as sink:
        rows = csv.writer(sink, lineterminator="\n")
        rows.writerow(["room", "file", "line", "kind", "before", "after", "caught_by"])
        for one in sorted(found, key=lambda one: (one.room, one.mutant.file, one.mutant.line, one.mutant.after)):
            m = one.mutant
            rows.writerow([one.room, m.file, m.line, m.kind, m.before, m.after, one.caught_by])


def main() -> int:
    """Do the experiment; return 0 if every mutant was caught."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--count", type=int, default=320, help="mutants to try")
    parser.add_argument("--seed", type=int, default=0, help="which ones")
    parser.add_argument("--at-once", type=int, default=len(os.sched_getaffinity(0)), help="mutants tried at once")
    parser.add_argument("--minutes", type=float, default=120, help="begin no further mutant after so long")
    parser.add_argument("--out", type=Path, default=PROJECT / "results" / "parity" / "mutants")
    options = parser.parse_args()
    found, end = [], time.monotonic() + 60 * options.minutes

    def in_time() -> Iterator[tuple[str, Mutant]]:
        for pair in chosen(options.count, options.seed):
            if time.monotonic() < end:
                yield pair

    for one in tried(in_time(), options.at_once):
        found.append(one)
        print(f"{one.seconds:5.0f} s  {one.mutant}\n         {one.caught_by}", flush=True)
        write(found, options.out / "mutants.csv")
    print(table(found))
    return 0 if all(one.caught for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
