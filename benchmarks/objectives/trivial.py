"""What the trivial predictor scores, and from where on a model may be said to have learned.

It looks at no image, and always predicts the same class: in classification the most frequent one of the training
examples, judged on the validation examples; in segmentation the one that most validation pixels have (the background,
as a rule). Where targets have nothing to do with images, nothing beats chance, and chance it is.

The rule: a run has learned if its last validation metric lies above `learned_above`. Of an accuracy that is the score
and two standard errors of so many examples, since about one in forty that guess at such a rate comes that high by luck;
of mean IoU, whose pixels are no independent samples, the score and a small SLACK. It is the last validation that
counts, as in whatever is said of a run's end: who once was better has lost it, and the best of many is luck's choice.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from benchmarks.objectives import reference

STANDARD_ERRORS = 2.0
SLACK = 0.005
"""In mean IoU. To tell ink from background is worth three times this on digit scenes."""


class Trivial(NamedTuple):
    """The metric of the trivial predictor, and the value that a run's metric has to exceed."""

    metric: float
    learned_above: float


def trivial(task: str, score: float | None, total: np.ndarray) -> Trivial:
    """Return both for a validation with these added-up `reference.sums`.

    `score` is that of the data set, where it knows it; None where the validation's own masks have to tell.
    """
    known = most_frequent_everywhere(total) if score is None else score
    return Trivial(known, learned_above(task, known, reference.examples(total)))


def most_frequent_everywhere(total: np.ndarray) -> float:
    """Return the mean IoU of predicting, for every pixel, the class that most pixels of a validation have.

    total: added-up `reference.sums` of segmentation, whose confusion matrix knows the classes of all pixels.
    """
    pixels = reference.confusion(total).sum(axis=1)
    matrix = np.zeros((len(pixels), len(pixels)))
    matrix[:, pixels.argmax()] = pixels
    return reference.mean_iou(matrix)


def learned_above(task: str, score: float, examples: float) -> float:
    """Return the metric above which a model may be said to have learned, see the module."""
    if task != "classification":
        return score + SLACK
    return score + STANDARD_ERRORS * math.sqrt(score * (1 - score) / examples)
