"""What somebody would run instead, and the ceilings: measured in the same session as ours, interleaved.

bare_torch.py and bare_tensorflow.py are training steps as one writes them by hand, with nothing of the suite but the
model; speed.py sets them against the suite; loop_cost.py sets the loop against a bare loop around the same step.
"""
