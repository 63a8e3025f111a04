"""The algorithms by which ranks can reduce: who starts and coordinates them, and the module that does it.

Each algorithm is a launch of its own: mpi4py and Horovod in one process bring each other down.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from horovod_runner.config.frameworks import FRAMEWORKS

Arrays = Sequence[np.ndarray]


class Rank(Protocol):
    """How one rank meets the others: the part of a run's groups (allreduce/) that is used beside reducing."""

    rank: int
    size: int

    def barrier(self) -> None:
        """Return when every rank has come here."""
        ...

    def gather(self, values: np.ndarray) -> np.ndarray:
        """Return (ranks, length) of a float64 vector."""
        ...

    def close(self) -> None:
        """Leave the others in order."""
        ...


class Reducer(Protocol):
    """What a rank reduces with. Arrays are float32 and one-dimensional; every rank makes the same calls."""

    @property
    def group(self) -> Rank:
        """This rank among the others."""
        ...

    @property
    def contributors(self) -> Sequence[int]:
        """The ranks whose arrays a result is the sum of."""
        ...

    def load(self, arrays: Arrays, name: str) -> None:
        """Take over what is to be reduced; arrays may be changed by it. A name stands for one list of lengths."""
        ...

    def reduce(self) -> None:
        """Sum what was loaded over the ranks, and return when this rank has the sum."""
        ...

    def result(self) -> list[np.ndarray]:
        """Return what the last reduction made."""
        ...


@dataclass(frozen=True)
class Algorithm:
    """One algorithm, by one library.

    `needs` are the operations that Horovod has to be built with; empty for one that does without Horovod.
    """

    name: str
    title: str
    controller: Literal["mpi", "gloo"]
    needs: tuple[str, ...] = ()

    def missing(self, framework: str) -> str | None:
        """Return why it cannot be used here, or None if it can; no framework is imported."""
        packages = [FRAMEWORKS[framework].package, "horovod"] if self.needs else ["mpi4py"]
        absent = [name for name in packages if importlib.util.find_spec(name) is None]
        if absent:
            return f"{absent[0]} is not installed"
        built = _built()
        unbuilt = [need.upper() for need in self.needs if built.get(f"{need}_built") is False]
        return f"Horovod was not built with {' and '.join(unbuilt)}" if unbuilt else None


COPY = Algorithm("copy", "memory copy", "mpi")
"""No reduction: every rank copies as many bytes, all at once. What memory alone allows."""
NCCL = "horovod-nccl"
ALGORITHMS = {
    algorithm.name: algorithm
    for algorithm in (
        Algorithm("mpi4py", "mpi4py", "mpi"),
        Algorithm("horovod-mpi", "Horovod, MPI", "mpi", ("mpi",)),
        Algorithm("horovod-gloo", "Horovod, Gloo", "gloo", ("gloo",)),
        Algorithm(NCCL, "Horovod, NCCL", "mpi", ("mpi", "nccl")),
    )
}


def _built() -> dict[str, object]:
    """Return what Horovod's build noted about itself; nothing where it is no build of ours, and may have anything."""
    spec = importlib.util.find_spec("horovod")
    file = Path(spec.origin).parent / "metadata.json" if spec and spec.origin else None
    if file is None or not file.exists():
        return {}
    noted: dict[str, object] = json.loads(file.read_text())
    return noted
