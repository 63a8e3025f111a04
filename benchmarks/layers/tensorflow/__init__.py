"""Layers of TensorFlow that several jobs are built of."""
