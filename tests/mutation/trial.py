"""One mutant on trial: the rows that could see it are made, the cheapest first, until one is red.

`python -m tests.mutation.trial FILE` runs in a copy of the tree in which that file was broken, and prints one line:
what caught the break, or `survived`. A break that ends in an exception is caught like any other: it gives no figures.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence

from horovod_runner.parity.rows import Row

Check = Callable[[], Sequence[Row]]
WORKLOADS = ("unet", "resnet50", "vgg16")
FRAMEWORKS = ("tensorflow", "torch")


def checks(file: str) -> Iterator[tuple[str, Check]]:
    """Yield the parts of the proof that execute a file, the cheapest first."""
    workloads = [workload for workload in WORKLOADS if f"/{workload}/" in file] or list(WORKLOADS)
    frameworks = [framework for framework in FRAMEWORKS if framework in file] or list(FRAMEWORKS)
    if "/data/" in file or "/training/" in file or file.endswith("objectives/reference.py"):
        yield "shared", _shared
        yield "validation", lambda: _validation("unet")
    yield from ((f"function of {w}", lambda w=w: _function(w, "float64")) for w in workloads)
    if "horovod_runner/" not in file:
        yield from ((f"{w} by a second hand", lambda w=w: _second_hand(w)) for w in workloads)
        yield from ((f"parameters of {w}", lambda w=w: _parameters(w)) for w in workloads)
        for precision in ("float32", "bfloat16"):
            yield from ((f"{precision} of {w}", lambda w=w, p=precision: _function(w, p)) for w in workloads)
    if "optimizers" in file:
        yield from ((f"definitions in {f}", lambda f=f: _definitions(f)) for f in frameworks)
    if "norm" in file or "horovod_runner/" in file or "/data/" in file:
        yield from ((f"workers in {f}", lambda f=f: _workers(f)) for f in frameworks)
    yield "trajectory of unet", lambda: _trajectory("unet")
    yield "validation of resnet50", lambda: _validation("resnet50")


def _shared() -> Sequence[Row]:
    from horovod_runner.parity.shared import shared

    return shared()


def _function(workload: str, precision: str) -> Sequence[Row]:
    from horovod_runner.parity import functions

    return functions.function(functions.both(functions.in_precision(workload, precision)), workload)


def _second_hand(workload: str) -> Sequence[Row]:
    from horovod_runner.parity.second_hand import second_hand

    return second_hand(workload)


def _parameters(workload: str) -> Sequence[Row]:
    from horovod_runner.parity.compare import same_parameters

    return same_parameters(workload)


def _validation(workload: str) -> Sequence[Row]:
    from horovod_runner.parity.shared import validation

    return validation(workload)


def _trajectory(workload: str) -> Sequence[Row]:
    from horovod_runner.parity.compare import one_trajectory

    return one_trajectory(workload, "sgd")


def _definitions(framework: str) -> Sequence[Row]:
    from horovod_runner.parity.definitions import by_definition

    return by_definition(framework)


def _workers(framework: str) -> Sequence[Row]:
    import tempfile
    from pathlib import Path

    from horovod_runner.parity.ranks import by_workers

    with tempfile.TemporaryDirectory() as folder:
        return by_workers(framework, Path(folder), counts=(2,))


def verdict(file: str) -> str:
    """Return what caught the break of this file, or `survived`."""
    for name, check in checks(file):
        try:
            red = [row for row in check() if not row.passed]
        except BaseException as error:  # a break may end a process in any way that Python has
            return f"{name}: {type(error).__name__}"
        if red:
            return f"{name}: {red[0].what}"
    return "survived"


def main() -> None:
    """Try the file that the command line names, in one thread."""
    from horovod_runner.machine.process import place_threads

    place_threads(1)
    said = os.fdopen(os.dup(1), "w")
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    print(verdict(sys.argv[1]), file=said, flush=True)
    os._exit(0)  # frameworks' threads may be in any state


if __name__ == "__main__":
    main()
