"""All that names TensorFlow."""
