"""ResNet-50 in TensorFlow as one writes it by hand: a Keras model, Keras' optimizer, one `tf.function`, random images.

The model is the suite's, since Keras' own ResNet-50 is another network (v1, with convolution biases). `python -m
benchmarks.peers.bare_tensorflow OUT --steps 40` writes the seconds of every step to OUT as JSON.
"""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.peers.options import options, write


def main() -> None:
    """Train and write down how long each step took."""
    given = options()
    import keras
    import tensorflow as tf

    from benchmarks.resnet50 import spec, tf_model

    tf.config.threading.set_intra_op_parallelism_threads(given.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    model = tf_model.build(spec.architecture(width=64, channels=3, classes=1000, image_size=given.image_size))
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
    optimizer.build(model.trainable_variables)
    images = tf.random.normal((given.batch, given.image_size, given.image_size, 3))
    labels = tf.random.uniform((given.batch,), 0, 1000, tf.int32)

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    seconds = []
    for _ in range(given.steps):
        began = time.perf_counter()
        float(step())
        seconds.append(time.perf_counter() - began)
    write(Path(given.out), seconds)


if __name__ == "__main__":
    main()
