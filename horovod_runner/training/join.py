"""How a worker joins the others of its run, and how all of them see that they are in the same one."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from horovod_runner.allreduce import timeline
from horovod_runner.config.schema import RunConfig
from horovod_runner.errors import SharedError
from horovod_runner.frameworks.base import Backend, Job
from horovod_runner.frameworks.build import load_backend
from horovod_runner.machine.world import World, threads_for
from horovod_runner.results.checkpoint import Checkpoints
from horovod_runner.results.store import RunFolder
from horovod_runner.training.job import Prepared

Say = Callable[[str], None]
Load = Callable[[Job], Backend]


def say_nothing(line: str) -> None:
    """Say nothing: of all workers rank 0 alone talks."""


@dataclass(frozen=True)
class Worker:
    """One worker of a run, joined to the others.

    Every worker takes the same path; rank 0 alone writes and talks, by `say`, with lines for the user.
    """

    prepared: Prepared
    backend: Backend
    folder: RunFolder
    world: World
    threads: int
    say: Say

    @property
    def config(self) -> RunConfig:
        """The run's description."""
        return self.prepared.config

    @property
    def leads(self) -> bool:
        """Whether this worker is the one that writes and talks."""
        return self.world.rank == 0

    @property
    def checkpoints(self) -> Checkpoints:
        """The run's saved states."""
        return Checkpoints(self.folder.checkpoints, self.config.checkpoint.keep)

    def from_rank_0(self, value: float) -> float:
        """Return rank 0's value on every worker; nobody goes on before all have come."""
        return float(self.backend.gather_over_ranks(np.array([value], dtype=np.float64))[0, 0])


def join(
    prepared: Prepared, folder: RunFolder, world: World, say: Say = say_nothing, load: Load = load_backend
) -> Worker:
    """Build the backend, which joins the other workers, and see that all of them are in the same run.

    `load` makes the backend. SharedError where workers have different settings.
    """
    config = prepared.config
    os.environ.update(timeline.timeline_environment(config, folder.timeline_file))
    threads, rendezvous = threads_for(world, config.threads), folder.rendezvous / launch_token()
    backend = load(Job(config, prepared.architecture, prepared.first_weights(), world, threads, rendezvous))
    require_same_settings(backend, config)
    return Worker(prepared, backend, folder, world, threads, say)


def launch_token() -> str:
    """Return a name that all workers of one launch share and no other launch has."""
    for name in ("SUITE_JOB", "PMIX_NAMESPACE", "HOROVOD_GLOO_RENDEZVOUS_PORT"):
        if name in os.environ:
            return os.environ[name]
    return "-".join(os.environ.get(name, "0") for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))


def require_same_settings(backend: Backend, config: RunConfig) -> None:
    """Compare all workers' settings; SharedError names the first setting that differs."""
    plain = config.to_dict()
    hashes = np.array([_hash(json.dumps(plain[key], sort_keys=True).encode()) for key in sorted(plain)])
    everyone = backend.gather_over_ranks(hashes)
    differing = np.flatnonzero((everyone != everyone[0]).any(axis=0))
    if differing.size:
        key = sorted(plain)[int(differing[0])]
        rank = int(np.flatnonzero(everyone[:, differing[0]] != everyone[0, differing[0]])[0])
        raise SharedError(
            f"the workers disagree about {key}: rank {rank} has another one than rank 0 ({plain[key]} here);"
            " start all of them with the same options"
        )


def require_same_state(backend: Backend) -> None:
    """Compare all workers' states, byte by byte; they are equal by construction, and training relies on it."""
    digest = hashlib.sha256()
    for name, array in sorted(backend.state().items()):
        digest.update(name.encode() + array.tobytes())
    everyone = backend.gather_over_ranks(np.array([_hash(digest.digest())]))
    if (everyone != everyone[0]).any():
        raise AssertionError("the workers start from different weights")


def _hash(content: bytes) -> float:
    """Return a hash that a float64 holds exactly."""
    return float(int.from_bytes(hashlib.sha256(content).digest()[:6], "big"))
