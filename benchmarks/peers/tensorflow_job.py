"""A job in TensorFlow as one sets it up by hand: a Keras model, Keras' own optimizer, and one batch of random images.

The models are the suite's, since Keras' own ResNet-50 is another network (v1, with convolution biases). The objective
is cross-entropy alone.
"""

from __future__ import annotations

import argparse
import importlib

import keras
import tensorflow as tf

from benchmarks.peers.jobs import architecture
from benchmarks.workloads import WORKLOADS


def model(given: argparse.Namespace) -> keras.Model:
    """Return the model, having given this process its threads."""
    tf.config.threading.set_intra_op_parallelism_threads(given.threads)
    builder = importlib.import_module(WORKLOADS[given.workload].builder("tensorflow"))
    made: keras.Model = builder.build(architecture(given.workload, given.image_size))
    return made


def optimizer(given: argparse.Namespace, network: keras.Model) -> keras.optimizers.Optimizer:
    """Return Keras' own optimizer of the kind that the workload uses, its slots made."""
    job = WORKLOADS[given.workload]
    rate = job.learning_rates[job.optimizer]
    made = keras.optimizers.SGD(rate, momentum=0.9) if job.optimizer == "sgd" else keras.optimizers.Adam(rate)
    made.build(network.trainable_variables)
    return made


def batch(given: argparse.Namespace) -> tuple[tf.Tensor, tf.Tensor]:
    """Return random images (batch, size, size, channels), and labels (batch,) or masks (batch, size, size)."""
    job, side = WORKLOADS[given.workload], given.image_size
    classes = architecture(given.workload, side).classes
    shape = (given.batch, side, side) if job.task == "segmentation" else (given.batch,)
    return tf.random.normal((given.batch, side, side, job.channels)), tf.random.uniform(shape, 0, classes, tf.int32)
