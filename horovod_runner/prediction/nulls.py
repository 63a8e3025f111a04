"""What a prediction has to beat: four ways of extending a ladder that know nothing of a network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from horovod_runner.statistics import laws

TITLES = {"linear": "linear", "last efficiency": "last efficiency", "amdahl": "Amdahl", "usl": "USL"}
"""How the nulls are called, by their names."""


def nulls(workers: Sequence[int], images_per_second: Sequence[float], at: int) -> dict[str, float | None]:
    """Return images a second at `at` workers by each null, from fitted rows in ascending order of workers.

    Laws are fitted to speedups over the smallest number; None where fewer sizes are left beside it than a law has
    parameters.
    """
    first, last = workers[0], workers[-1]
    made: dict[str, float | None] = {
        "linear": images_per_second[0] * at / first,
        "last efficiency": images_per_second[-1] * at / last,
    }
    units = np.array(workers) / first
    speedups = np.array(images_per_second) / images_per_second[0]
    for law in ("amdahl", "usl"):
        try:
            parameters = laws.fit(law, units, speedups)
        except ValueError:
            made[law] = None
        else:
            made[law] = float(images_per_second[0] * laws.speedup(law, parameters, [at / first])[0])
    return made
