"""The whole proof as a list of tasks: which comparisons are made, the longest first, and which of them are quick."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from horovod_runner.config.frameworks import PAIR
from horovod_runner.parity.rows import Row
from horovod_runner.parity.settings import OPTIMIZERS, WORKLOADS

DRIFT_SEEDS = range(5)

Curves = dict[str, dict[str, list[float]]]
Found = tuple[list[Row], Curves]


@dataclass(frozen=True)
class ProofTask:
    """One comparison, done in a process of its own choice, or in one that starts ranks on all cores.

    `about` says in a few words what is compared. Tasks import what they need when they are made: frameworks take
    seconds to import, and listing them should not.
    """

    about: str
    make: Callable[[], Found]
    starts_ranks: bool = False


def tasks(workload: str | None = None, optimizer: str | None = None, quick: bool = False) -> list[ProofTask]:
    """Return the tasks of the proof, or those about a workload or an optimizer; `quick`: one step's function alone."""
    workloads: Sequence[str] = [workload] if workload else WORKLOADS
    optimizers: Sequence[str] = [optimizer] if optimizer else OPTIMIZERS
    trajectories = [
        ProofTask(f"trajectory of {w} with {o}", partial(_trajectory, w, o)) for w in workloads for o in optimizers
    ]
    if optimizer is not None:
        return trajectories
    functions = [ProofTask(f"function of {w}", partial(_function, w)) for w in workloads]
    functions += [ProofTask(f"parameters of {w}", partial(_parameters, w)) for w in workloads]
    functions += [ProofTask(f"{w} by a second hand", partial(_second_hand, w)) for w in workloads]
    if workload is None:
        functions.append(ProofTask("what frameworks share", _shared))
    if quick:
        return functions
    drifts = [ProofTask(f"float32 of {w}", partial(_float32, w)) for w in workloads]
    validations = [ProofTask(f"validation of {w}", partial(_validation, w)) for w in workloads if w != "vgg16"]
    definitions = [ProofTask(f"optimizers in {f}", partial(_definitions, f)) for f in PAIR]
    workers = [ProofTask(f"workers in {f}", partial(_workers, f), starts_ranks=True) for f in PAIR]
    if "unet" not in workloads:
        return drifts + functions + validations + trajectories
    trajectories.append(ProofTask("void pixels", _void_pixels))
    return drifts + functions + validations + definitions + trajectories + workers


def _function(workload: str) -> Found:
    from horovod_runner.parity.functions import in_every_precision

    return in_every_precision(workload), {}


def _parameters(workload: str) -> Found:
    from horovod_runner.parity.compare import same_parameters

    return same_parameters(workload), {}


def _second_hand(workload: str) -> Found:
    from horovod_runner.parity.second_hand import second_hand

    return second_hand(workload), {}


def _shared() -> Found:
    from horovod_runner.parity.shared import shared

    return shared(), {}


def _validation(workload: str) -> Found:
    from horovod_runner.parity.precise import on_one_worker
    from horovod_runner.parity.shared import validation

    return [*validation(workload), *on_one_worker(workload)], {}


def _trajectory(workload: str, optimizer: str) -> Found:
    from horovod_runner.parity.compare import one_trajectory

    return one_trajectory(workload, optimizer), {}


def _void_pixels() -> Found:
    from horovod_runner.parity.compare import void_pixels

    return void_pixels(), {}


def _definitions(framework: str) -> Found:
    from horovod_runner.parity.definitions import by_definition

    return by_definition(framework), {}


def _float32(workload: str) -> Found:
    from horovod_runner.parity.precision import drift

    rows, curves = drift(workload, DRIFT_SEEDS)
    return rows, {f"drift {workload}": curves}


def _workers(framework: str) -> Found:
    from horovod_runner.parity.ranks import by_workers

    with tempfile.TemporaryDirectory() as folder:
        return by_workers(framework, Path(folder)), {}
