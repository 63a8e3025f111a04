"""Whose statistics normalise, and how running statistics take them in: what both frameworks' layers agree on.

A worker's step may have several micro-batches, and a micro-batch several groups of examples (ghost
batch normalisation, Hoffer et al. 2017, algorithm 1). Each group is normalised by its own statistics, and the running
ones take in the mean of all groups' statistics, as if each group had been a worker whose statistics were averaged with
the others' afterwards: the update is linear.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class Normalisation:
    """What a model's batch normalisations have in common during training.

    A step has `micro_batches`, a forward pass each, which is normalised in groups of `group` examples (None: all of
    them), or over all `workers` with `synchronised`.
    """

    micro_batches: int = 1
    group: int | None = None
    synchronised: bool = False
    workers: int = 1

    @property
    def plain(self) -> bool:
        """Whether this is what every framework's own layer does: one group, this worker's."""
        return self.micro_batches == 1 and self.group is None and not self.synchronised


@lru_cache(maxsize=64)
def shares(new: float, groups: int) -> tuple[float, ...]:
    """Return the share with which each group's statistics are taken in, one group after another.

    running <- (1 - share) running + share statistics, for each group in turn, comes to
    (1 - new) running + new mean(statistics): what a group leaves of those before it is what it takes less than they
    did.
    """
    each = new / groups
    return tuple(each / (1 - each * (groups - 1 - index)) for index in range(groups))
