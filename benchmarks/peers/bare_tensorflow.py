"""A training step in TensorFlow as one writes it by hand: Keras' optimizer, one `tf.function`, random images.

`python -m benchmarks.peers.bare_tensorflow OUT --steps 40` writes the seconds of every step to OUT as JSON.
"""

from __future__ import annotations

from benchmarks.peers.options import options, timed, write


def main() -> None:
    """Train and write down how long each step took."""
    given = options()
    import tensorflow as tf

    from benchmarks.peers import tensorflow_job

    tf.config.threading.set_inter_op_parallelism_threads(1)
    model = tensorflow_job.model(given)
    optimizer = tensorflow_job.optimizer(given, model)
    images, labels = tensorflow_job.batch(given)

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    write(given.out, timed(lambda: float(step()), given.steps))


if __name__ == "__main__":
    main()
