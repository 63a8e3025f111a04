"""The dense network in NumPy, forward and backward by hand."""

from __future__ import annotations

import numpy as np

from benchmarks.architecture import Architecture, Arrays

Layers = tuple[np.ndarray, np.ndarray]


def build(architecture: Architecture) -> Dense:
    """Return the model: (batch, height, width, channels) -> logits (batch, classes); sizes are the weights' own."""
    return Dense()


class Dense:
    """output(relu(hidden(pixels)))."""

    def forward(self, weights: Arrays, images: np.ndarray) -> tuple[np.ndarray, Layers]:
        """Return logits, and what `backward` needs: the input and the hidden layer's values."""
        pixels = images.reshape(len(images), -1)
        hidden = np.maximum(pixels @ weights["hidden.weight"].T + weights["hidden.bias"], 0)
        return hidden @ weights["output.weight"].T + weights["output.bias"], (pixels, hidden)

    def backward(self, weights: Arrays, layers: Layers, towards: np.ndarray) -> Arrays:
        """Return the gradient of every array, from the derivative of the loss by logits."""
        pixels, hidden = layers
        behind = (towards @ weights["output.weight"]) * (hidden > 0)
        return {
            "hidden.weight": behind.T @ pixels,
            "hidden.bias": behind.sum(axis=0),
            "output.weight": towards.T @ hidden,
            "output.bias": towards.sum(axis=0),
        }
