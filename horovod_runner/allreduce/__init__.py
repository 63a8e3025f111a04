"""The shared reduction layer: how gradients are averaged over workers, when, and in what pieces.

`config/strategies.py` says what each strategy is. This room is neutral; the strategies themselves are in
`frameworks/<framework>/horovod.py` and `mpi.py`, by their transport, and `reducer.py` there is what a strategy looks
like to the framework's backend. Nothing else but `frameworks/<framework>/collectives.py`, which reduces for the
measurement of the collective alone, imports Horovod.
"""
