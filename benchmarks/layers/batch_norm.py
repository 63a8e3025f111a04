"""Whose statistics normalise, and how running statistics take them in: what both frameworks' layers agree on.

A worker's step may have several micro-batches, and a micro-batch several groups of examples (ghost
batch normalisation, Hoffer et al. 2017, algorithm 1). Each group is normalised by its own statistics, and the running
ones take in the mean of all groups' statistics, as if each group had been a worker whose statistics were averaged with
the others' afterwards: the update is linear.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Normalisation:
    """What a model's batch normalisations have in common during training.

    A step has `micro_batches`, a forward pass each, which is normalised in groups of `group` examples (None: all of
    them), or over all `workers` with `synchronised`. `uneven`: a batch may lack examples that could not be read.
    """

    micro_batches: int = 1
    group: int | None = None
    synchronised: bool = False
    workers: int = 1
    uneven: bool = False

    @property
    def plain(self) -> bool:
        """Whether this is what every framework's own layer does: one group, this worker's."""
        return self.micro_batches == 1 and self.group is None and not self.synchronised


def share(new: float, groups: int, counted: Any, index: Any) -> Any:
    """Return the share with which the statistics of group `index` are taken in, one group after another.

    running <- (1 - share) running + share statistics, for each group in turn, comes to
    (1 - new) running + new mean(statistics): what a group leaves of those before it is what it takes less than they
    did. Where only `counted` of the groups hold an example, the others have no turn, and leave the running statistics
    as they are, as a worker without an example does. Numbers, or a framework's.
    """
    each = new / groups
    return each / (1 - each * (counted - 1 - index))
