"""What the trivial predictor (objectives/trivial.py) scores, as far as labels and numbers of classes tell."""

from __future__ import annotations

import numpy as np


def most_frequent_label(train: np.ndarray, validation: np.ndarray) -> float:
    """Return the accuracy on validation labels, int (n,), of always predicting the most frequent training label."""
    return float((validation == np.bincount(train).argmax()).mean())


def chance(task: str, classes: int) -> float:
    """Return what guessing scores where each of the classes is as frequent: 1/C of examples, 1/(2C - 1) of mean IoU.

    (A class and its guesses both have 1/C of the pixels, and share 1/C^2 of them.)
    """
    return 1 / classes if task == "classification" else 1 / (2 * classes - 1)
