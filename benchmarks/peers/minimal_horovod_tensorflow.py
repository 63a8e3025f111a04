"""A minimal Horovod script in TensorFlow, in Horovod's default settings: every gradient through hvd.allreduce.

`horovodrun -np 2 python -m benchmarks.peers.minimal_horovod_tensorflow OUT`; rank 0 writes the seconds of every step to
OUT as JSON. The documentation wraps the tape instead, which fails on Keras 3's variables. One thread computes; those
that run operations beside each other are left as TensorFlow has them, since with one alone the reduction would block
the thread that computes.
"""

from __future__ import annotations

from benchmarks.peers.options import options, timed, write


def main() -> None:
    """Train together and write down how long each step took."""
    given = options()
    import horovod.tensorflow as hvd
    import tensorflow as tf

    from benchmarks.peers import tensorflow_job

    hvd.init()
    model = tensorflow_job.model(given)
    optimizer = tensorflow_job.optimizer(given, model)
    hvd.broadcast_variables([variable.value for variable in (*model.variables, *optimizer.variables)], root_rank=0)
    images, labels = tensorflow_job.batch(given)

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        gradients = [hvd.allreduce(gradient) for gradient in tape.gradient(loss, model.trainable_variables)]
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    seconds = timed(lambda: float(step()), given.steps)
    if hvd.rank() == 0:
        write(given.out, seconds)


if __name__ == "__main__":
    main()
