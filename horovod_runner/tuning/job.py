"""What a search is about: the job that the user names, made short, and the space of what may be chosen for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from horovod_runner.config.defaults import put_all
from horovod_runner.config.frameworks import FRAMEWORKS
from horovod_runner.config.job_settings import is_given
from horovod_runner.config.machine import Machine
from horovod_runner.config.schema import RunConfig, decode
from horovod_runner.config.strategies import EQUAL
from horovod_runner.errors import UserError
from horovod_runner.launch.emulated.cluster import host_of
from horovod_runner.launch.launchers import controllers, usual_controller
from horovod_runner.machine.limits import core_count
from horovod_runner.tuning.space import CHOSEN, Space

STEPS = 32
FEWEST_STEPS = 8
WARM_UP_SHARE = 4  # the first quarter of a run is not timed: of all candidates alike


@dataclass(frozen=True)
class TuningRequest:
    """The options of `tune`, as they were typed; what is None has its default."""

    workload: str | None
    framework: str
    workers: Any
    minutes: float
    candidates: str | None
    machine: Path | None
    results: Path


@dataclass(frozen=True)
class TuningJob:
    """The default's description as plain data and as it was validated, and what the user has decided."""

    plain: Mapping[str, Any]
    config: RunConfig
    fixed: tuple[str, ...]

    @property
    def when(self) -> dict[str, Any]:
        """The runs that a result is for."""
        config = self.config
        job = {"workload": config.workload, "framework": config.framework, "workers": config.workers}
        return job | ({"cluster": config.cluster.model_dump()} if config.cluster.emulated else {})


def read_job(request: TuningRequest, settings: Mapping[str, Any]) -> TuningJob:
    """Return the job; UserError where there is nothing to tune in it, or it is no job."""
    plain: dict[str, Any] = {"framework": request.framework, "workers": request.workers}
    if request.workload is not None:
        plain["workload"] = request.workload
    plain = put_all(plain, settings)
    fixed = tuple(path for path in CHOSEN if is_given(plain, path))
    plain = _short(plain)
    config = decode(plain, "tune")
    _require_something_to_tune(config, request)
    name = f"{config.workload}-{config.framework}-n{config.workers}"
    plain = {**plain, "experiment": name}
    return TuningJob(plain, decode(plain, "tune"), fixed)


def space(job: TuningJob, request: TuningRequest, machine: Machine) -> Space:
    """Return what there is to choose from on this machine; UserError where `--candidates` names no strategy."""
    given = job.config.allreduce.controller
    return Space(
        strategy=job.config.strategy,
        controller=usual_controller(machine) if given == "auto" else given,
        strategies=_strategies(request.candidates, job.config.framework),
        controllers=["mpi"] if job.config.cluster.emulated else controllers(machine),
        threads=thread_numbers(*_cores_and_workers(job.config, machine)),
        fixed=job.fixed,
    )


def thread_numbers(cores: int, workers: int) -> list[int]:
    """Return what else a worker's threads could be than its share of a host's cores: half of it, and one."""
    share = max(1, cores // workers)
    return sorted({max(1, share // 2), 1} - {share}, reverse=True)


def _cores_and_workers(config: RunConfig, machine: Machine) -> tuple[int, int]:
    """Return the cores of a host and the workers that share it."""
    host = host_of(config)
    if host is None:
        return core_count(), local_workers(config.workers, machine)
    return int(host.cores), -(-config.workers // config.cluster.hosts_of(config.workers))


def local_workers(workers: int, machine: Machine) -> int:
    """Return how many workers share the fullest host."""
    return min(workers, max(machine.hosts.values(), default=workers))


def _short(plain: dict[str, Any]) -> dict[str, Any]:
    """Return a run of a few steps that saves and validates nothing, but for what the user says otherwise."""
    if plain.get("epochs") is not None:
        raise UserError("epochs: tune makes many short runs; give steps, of one of them")
    steps = plain.get("steps", STEPS)
    if type(steps) is int and steps < FEWEST_STEPS:
        raise UserError(f"steps: {steps} are too few to time; give at least {FEWEST_STEPS}")
    usual: dict[str, Any] = {"steps": STEPS, "validate_every": 0, "checkpoint.every": 0}
    if type(steps) is int:
        usual["discard_steps"] = steps // WARM_UP_SHARE
    return put_all(plain, {path: value for path, value in usual.items() if not is_given(plain, path)})


def _require_something_to_tune(config: RunConfig, request: TuningRequest) -> None:
    if not 0 < request.minutes < 1e5:
        raise UserError(f"--minutes {request.minutes:g}: it should be more than 0 and less than 100000; give 30")
    if config.workers < 2:
        raise UserError("--workers 1: one worker has nobody to reduce with; give at least 2")
    if not config.reduction.same_arithmetic:
        raise UserError(
            f"strategy: tune compares strategies that compute the same updates, and {config.strategy} does not;"
            " leave it out"
        )
    if config.measure != "training":
        raise UserError(f"measure: nothing is reduced in a run that measures {config.measure}; leave it out")


def _strategies(given: str | None, framework: str) -> Sequence[str]:
    known = [name for name in EQUAL if name in FRAMEWORKS[framework].strategies]
    if given is None:
        return known
    words = [word.strip() for word in given.split(",")]
    wrong = [word for word in words if word not in known]
    if wrong:
        raise UserError(f"--candidates {given}: {wrong[0]!r} is not one of them; choose from {', '.join(known)}")
    return tuple(dict.fromkeys(words))
