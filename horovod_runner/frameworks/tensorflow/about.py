"""What is installed of TensorFlow, as the doctor asks it in a process of its own."""

from __future__ import annotations

import keras
import tensorflow as tf


def version() -> str:
    """Return the versions of TensorFlow and of its Keras."""
    return f"{tf.__version__}, Keras {keras.__version__}"


def gpus() -> list[str]:
    """Return the names of the GPUs that it finds."""
    return [device.name for device in tf.config.list_physical_devices("GPU")]
