"""Both frameworks in one process, on one core: TensorFlow's threads are placed before its first operation."""

from __future__ import annotations

import tensorflow as tf
import torch

tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
torch.set_num_threads(1)
