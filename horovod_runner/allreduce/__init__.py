"""The shared reduction layer: how gradients are averaged over workers, when, and in what pieces.

The strategies, in both frameworks:

- `none`: no reduction, and no Horovod in the process: workers compute as much and stay silent, the ceiling.
- `blocking`: one MPI allreduce of all gradients after the backward pass, by mpi4py, the traditional way; no Horovod.
- `unfused`: Horovod, a message for each tensor, started as soon as its gradient exists.
- `fused`: the same, and Horovod fuses what waits (Sergeev and Del Balso 2018).
- `grouped`: Horovod, all gradients as one group after the backward pass.
- `multistep`: gradients are reduce-scattered as they appear, each worker updates its own shard, and the parameters are
  all-gathered while the next forward pass waits for them layer by layer (Lee et al., SC18).
- `lag1`: the gradients of the step before are applied while this step's travel (Kurth et al., SC18); before the first
  step they are zero.

All but `none` and `lag1` are the same arithmetic. This room is neutral; the strategies themselves are in
`frameworks/<framework>/horovod.py` and `mpi.py`, by their transport, and `reducer.py` there is what a strategy looks
like to the framework's backend. Nothing else but `frameworks/<framework>/collectives.py`, which reduces for the
measurement of the collective alone, imports Horovod.
"""
