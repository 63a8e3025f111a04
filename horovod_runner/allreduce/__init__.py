"""The shared reduction layer: how gradients are averaged over workers, when, and in what pieces.

settings.py is neutral; torch.py and tensorflow.py hold the same strategies in each framework. With the two backends
this is the only code that imports Horovod.
"""
