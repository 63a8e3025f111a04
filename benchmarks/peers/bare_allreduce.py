"""One blocking MPI allreduce of as many bytes as a model's gradients have, alone and in place, by mpi4py.

`mpirun -np 2 python -m benchmarks.peers.bare_allreduce OUT --workload vgg16 --steps 24`; rank 0 writes the seconds of
every one of them to OUT as JSON.
"""

from __future__ import annotations

from benchmarks.peers.jobs import FLOAT_BYTES, gradient_bytes
from benchmarks.peers.options import options, timed, write


def main() -> None:
    """Reduce so many times, and write down how long each took."""
    given = options()
    import numpy as np
    from mpi4py import MPI

    values = np.zeros(gradient_bytes(given.workload, given.image_size) // FLOAT_BYTES, dtype=np.float32)

    def reduce() -> float:
        MPI.COMM_WORLD.Allreduce(MPI.IN_PLACE, values)
        return float(values[0])

    seconds = timed(reduce, given.steps)
    if MPI.COMM_WORLD.Get_rank() == 0:
        write(given.out, seconds)


if __name__ == "__main__":
    main()
