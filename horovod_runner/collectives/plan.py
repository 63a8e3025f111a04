"""What is to be measured, decided before anything starts: messages of so many bytes, and the gradients of each model.

A plan is plain data: a rank reads its own from a file.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchmarks.workloads import WORKLOADS
from horovod_runner.allreduce.algorithms import ALGORITHMS, Algorithm
from horovod_runner.config.defaults import put_all
from horovod_runner.config.frameworks import BOUND, DEFAULT, one_with
from horovod_runner.config.schema import RunConfig, decode
from horovod_runner.config.settings import AllreduceConfig, ClusterConfig, Settings
from horovod_runner.errors import UserError
from horovod_runner.machine.limits import free_memory
from horovod_runner.results import OWN
from horovod_runner.training.job import prepare

FLOAT_BYTES = 4  # of the float32 that is reduced
SIZES = tuple(4**power for power in range(1, 15))  # bytes: 4 to 256 MiB
QUICK_SIZES = (4, 1024, 65536, 1024**2, 16 * 1024**2)
QUICK_MODELS = ("resnet50",)
SECONDS, QUICK_SECONDS = 1.0, 0.1
LARGEST = FLOAT_BYTES * (2**31 - 1)  # bytes; MPI counts elements in a C int
COPIES = 3  # what a rank needs to reduce a message: what it gives, what it gets, and a buffer in between
MOST_RANKS = 100_000  # sums of the checks' small integers stay exact in float32 up to here


@dataclass(frozen=True)
class AllreduceRequest:
    """What a user asks for; None is the default."""

    workers: int = 2
    through: tuple[str, ...] | None = None
    sizes: tuple[int, ...] | None = None
    models: tuple[str, ...] | None = None
    framework: str = DEFAULT
    seconds: float | None = None
    iterations: int | None = None
    quick: bool = False
    yields: bool = True
    machine: Path | None = None
    results: Path = OWN
    cluster: ClusterConfig = field(default_factory=ClusterConfig)


class Case(Settings):
    """Arrays that are reduced together: their numbers of elements, and whose they are.

    `name` is a model's, or "message" for one array of a given size; `handed` says whether a model's gradients are
    handed over tensor by tensor or as one flat array.
    """

    name: str
    handed: Literal["flat", "tensors"] = "flat"
    elements: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """The size of the whole."""
        return FLOAT_BYTES * sum(self.elements)

    @property
    def key(self) -> str:
        """A name that no other case of a plan has."""
        return f"{self.name}.{self.handed}.{self.bytes}"


class Plan(Settings):
    """What the ranks of one launch do; `iterations` overrules `seconds`, which are for each case."""

    algorithm: str
    framework: str
    workers: int
    cases: tuple[Case, ...]
    seconds: float
    iterations: int | None
    allreduce: AllreduceConfig
    cluster: ClusterConfig = ClusterConfig()

    def as_run(self) -> RunConfig:
        """Return a run that is launched as these ranks are, and whose libraries read the same variables."""
        groups = {"allreduce": self.allreduce.model_dump(), "cluster": self.cluster.model_dump()}
        return decode({"framework": self.framework, "workers": self.workers, **groups}, "allreduce")


def cluster_of(settings: Mapping[str, Any], workers: int) -> ClusterConfig:
    """Return the emulated hosts of `--set`; UserError for a setting of anything else."""
    for path in settings:
        if path.partition(".")[0] != "cluster":
            raise UserError(f"--set {path}: allreduce takes the settings of cluster alone; leave it out")
    plain = {"framework": DEFAULT, "workers": max(1, workers), **put_all({}, settings)}
    return decode(plain, "allreduce").cluster


def plans(request: AllreduceRequest, algorithms: Sequence[Algorithm], ranks_here: int) -> list[Plan]:
    """Return a plan for each algorithm; UserError says which option is wrong, and what to write instead.

    `ranks_here` is the most ranks that a host takes, each of which needs memory.
    """
    _check(request)
    cases = _cases(request)
    _require_memory(cases, min(request.workers, ranks_here))
    flat = tuple({case.bytes: case for case in cases if case.handed == "flat"}.values())
    seconds = request.seconds if request.seconds is not None else QUICK_SECONDS if request.quick else SECONDS
    return [
        Plan(
            algorithm=algorithm.name,
            framework=request.framework,
            workers=request.workers,
            cases=cases if algorithm.name in ALGORITHMS else flat,
            seconds=seconds,
            iterations=request.iterations,
            allreduce=AllreduceConfig(controller=algorithm.controller, yield_when_idle=request.yields),
            cluster=request.cluster,
        )
        for algorithm in algorithms
    ]


def chosen(request: AllreduceRequest) -> list[Algorithm]:
    """Return the algorithms that were asked for, or all there are; UserError for one that does not exist."""
    names = list(dict.fromkeys(request.through)) if request.through else list(ALGORITHMS)
    for name in names:
        _known("through", name, ALGORITHMS)
    return [ALGORITHMS[name] for name in names]


def _check(request: AllreduceRequest) -> None:
    _known("framework", request.framework, BOUND)
    for model in request.models or ():
        _known("models", model, WORKLOADS)
    if not 2 <= request.workers <= MOST_RANKS:
        raise UserError(f"--workers {request.workers}: a reduction takes at least two ranks; write --workers 2")
    if request.iterations is not None and request.iterations < 1:
        raise UserError(f"--iterations {request.iterations}: write a number above 0")
    if request.seconds is not None and not 0 < request.seconds <= 3600:
        raise UserError(f"--seconds-per-size {request.seconds:g}: write a number above 0 and up to 3600")
    for size in request.sizes or ():
        if size < FLOAT_BYTES or size % FLOAT_BYTES:
            raise UserError(
                f"--sizes {size}: what is reduced are numbers of 4 bytes each; write a multiple of 4, as"
                f" {max(FLOAT_BYTES, round(size / FLOAT_BYTES) * FLOAT_BYTES)}"
            )
        if size > LARGEST:
            raise UserError(f"--sizes {size}: one message has at most {LARGEST} bytes; write less")


def _known(option: str, given: str, known: Collection[str]) -> None:
    if given not in known:
        raise UserError(f"--{option}: there is no {given!r}; choose from {', '.join(known)}")


def _cases(request: AllreduceRequest) -> tuple[Case, ...]:
    sizes = request.sizes or (QUICK_SIZES if request.quick else SIZES)
    models = request.models if request.models is not None else QUICK_MODELS if request.quick else tuple(WORKLOADS)
    messages = [Case(name="message", elements=(size // FLOAT_BYTES,)) for size in sorted(set(sizes))]
    return (*messages, *(case for model in dict.fromkeys(models) for case in _gradients(model)))


def _gradients(model: str) -> list[Case]:
    """Return the gradients of the model that `bench --workload` trains without further options, in both forms."""
    architecture = prepare(decode({"framework": one_with(model), "workload": model}, "allreduce")).architecture
    elements = tuple(math.prod(array.shape) for array in architecture.trainable)
    return [
        Case(name=model, handed="tensors", elements=elements),
        Case(name=model, handed="flat", elements=(sum(elements),)),
    ]


def _require_memory(cases: Sequence[Case], ranks: int) -> None:
    """Refuse what so many ranks on a host like this one cannot hold."""
    largest = max(cases, key=lambda case: case.bytes)
    needed, left = COPIES * ranks * largest.bytes, free_memory()
    if needed > left.amount:
        what = f"--sizes {largest.bytes}" if largest.name == "message" else f"--models {largest.name}"
        by = f" by {left.by}" if left.by else ""
        raise UserError(
            f"{what}: {ranks} ranks would take {needed / 1e9:.1f} GB, three buffers each, and"
            f" {left.amount / 1e9:.1f} GB are free{by}; choose smaller ones, or fewer workers"
        )
