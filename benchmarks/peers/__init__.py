"""What somebody would run instead, and the ceilings: measured in the same session as ours, interleaved.

Scripts as one writes them by hand, each started as processes of its own: bare_torch.py and bare_tensorflow.py (one
process), ddp_torch.py (torch's DistributedDataParallel), minimal_horovod_torch.py and minimal_horovod_tensorflow.py,
bare_allreduce.py (the collective alone). They take their jobs from torch_job.py and tensorflow_job.py. arms.py runs
them, and the suite beside them; rounds.py does so round after round. On these stand speed.py (the suite beside a bare
step), norm_cost.py, and layer.py (the reduction layer beside its peers; layer_rows.py and layer_tables.py).
loop_cost.py sets the loop against a bare loop around the same step.
"""
