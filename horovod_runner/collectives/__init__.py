"""The collective alone: one allreduce between ranks that do nothing else, by every algorithm that this machine has.

plan.py says what is measured, allreduce/algorithms.py by whom, rank.py is one rank of it, measure.py starts the ranks
and collects, fit.py knows numbers only, and table.py and figure.py show what record.py describes. The modules that
reduce (`by_*.py`) are imported by ranks alone, since they import mpi4py or Horovod.
"""
