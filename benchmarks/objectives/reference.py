"""The definition of every loss and metric, in NumPy and float64.

A batch's loss is the mean of its examples' losses, and each of these depends on its own example alone. So the loss of a
global batch does not depend on how the batch is divided into equal shards, which data parallelism relies on.

Pixels that are VOID, of no class, count nowhere: an example's cross-entropy is the mean over its other pixels, its Dice
sums over them, and in the mean over examples it weighs as many pixels as it has of them. So cross-entropy comes to the
sum over the valid pixels of a global batch divided by their number.

Cross-entropy with label smoothing e over C classes is PyTorch's (Szegedy et al. 2016, section 7): the target
distribution is (1 - e) one-hot + e / C. Segmentation adds `dice_weight` times soft Dice (after Milletari et al. 2016,
eq. 5, without squares, smoothed by one): 1 - mean over classes of (2 sum(p y) + 1) / (sum(p) + sum(y) + 1), the sums
over an example's pixels, p the softmax, y the one-hot target, which is not smoothed.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from benchmarks.targets import VOID

DICE_SMOOTHING = 1.0
METRICS = {"classification": "top1", "segmentation": "mean_iou"}
_LOSS, _EXAMPLES, _COUNTS = 0, 1, 2  # layout of the sums


class LossSettings(Protocol):
    """What may be chosen of an objective."""

    @property
    def label_smoothing(self) -> float:
        """The share of the target distribution that is uniform, 0 to below 1."""
        ...

    @property
    def dice_weight(self) -> float:
        """The weight of soft Dice beside cross-entropy, in segmentation."""
        ...


def loss(task: str, logits: np.ndarray, targets: np.ndarray, weights: np.ndarray, config: LossSettings) -> float:
    """Return the mean over examples by their weights; 0 for a batch of padding only.

    logits: (batch, classes), or (batch, height, width, classes) in segmentation. targets: integers without the class
    axis. weights: (batch,), 1 for an example and 0 for padding.
    """
    weights = example_weights(targets, weights)
    whole = weights.sum()
    return float((loss_per_example(task, logits, targets, config) * weights).sum() / whole) if whole else 0.0


def example_weights(targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return what each example weighs in a mean, float64 (batch,): the share of its pixels that are not VOID.

    1 for an example without void and in classification, 0 for padding.
    """
    pixels = tuple(range(1, targets.ndim))
    return weights * (targets != VOID).mean(axis=pixels) if pixels else weights.astype(np.float64)


def loss_per_example(task: str, logits: np.ndarray, targets: np.ndarray, config: LossSettings) -> np.ndarray:
    """Return the loss of each example, (batch,)."""
    log_p = log_softmax(logits)
    crossed = cross_entropy(log_p, targets, config.label_smoothing)
    if task == "classification":
        return crossed
    valid = targets != VOID
    crossed = (crossed * valid).sum(axis=(1, 2)) / np.maximum(valid.sum(axis=(1, 2)), 1)
    if config.dice_weight == 0:
        return crossed
    return crossed + config.dice_weight * dice_loss(np.exp(log_p), targets)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return log softmax over the last axis, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def cross_entropy(log_p: np.ndarray, targets: np.ndarray, smoothing: float) -> np.ndarray:
    """Return cross-entropy per target, of no meaning where it is VOID; log_p has one axis more, the classes."""
    hit = np.take_along_axis(log_p, targets[..., None].astype(np.int64), axis=-1)[..., 0]
    return -(1 - smoothing) * hit - smoothing * log_p.mean(axis=-1)


def dice_loss(p: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return soft Dice loss per example from probabilities (batch, height, width, classes)."""
    p = p * (targets != VOID)[..., None]
    y = targets[..., None] == np.arange(p.shape[-1])
    both, sizes = (p * y).sum(axis=(1, 2)), p.sum(axis=(1, 2)) + y.sum(axis=(1, 2))
    return 1 - ((2 * both + DICE_SMOOTHING) / (sizes + DICE_SMOOTHING)).mean(axis=-1)


def sums(task: str, logits: np.ndarray, targets: np.ndarray, weights: np.ndarray, config: LossSettings) -> np.ndarray:
    """Return what validation needs of a batch, float64; add it over batches and workers, then take `figures`.

    Shapes as in `loss`. Classification: (3,): sum of losses, examples, hits. Segmentation: (2 + classes^2,): sum of
    losses, examples (both by what an example weighs), and the confusion matrix of pixels, row by row, the true class
    first. Padding and void count nowhere.
    """
    weights = example_weights(targets, weights)
    real = weights > 0
    logits, targets, weights = logits[real], targets[real], weights[real]
    if not len(targets):
        return empty_sums(task, logits.shape[-1])
    losses = loss_per_example(task, logits, targets, config)
    counts = _COUNT[task](logits.argmax(axis=-1), targets, logits.shape[-1])
    return np.concatenate([[(losses * weights).sum(), weights.sum()], counts]).astype(np.float64)


def empty_sums(task: str, classes: int) -> np.ndarray:
    """Return the `sums` of no batch: zeros to add to."""
    return np.zeros(_COUNTS + (1 if task == "classification" else classes**2))


def examples(total: np.ndarray) -> float:
    """Return of how many examples added-up `sums` are, by what each weighs."""
    return float(total[_EXAMPLES])


def figures(task: str, total: np.ndarray) -> tuple[float, str, float]:
    """Return (validation loss, name of the metric, its value) from added-up `sums`; NaN if no example was counted."""
    if total[_EXAMPLES] == 0:
        return float("nan"), METRICS[task], float("nan")
    return float(total[_LOSS] / total[_EXAMPLES]), METRICS[task], _METRIC[task](total)


def _hits(predicted: np.ndarray, targets: np.ndarray, classes: int) -> np.ndarray:
    return np.array([(predicted == targets).sum()])


def _confusion(predicted: np.ndarray, targets: np.ndarray, classes: int) -> np.ndarray:
    pairs = targets.astype(np.int64) * classes + predicted
    return np.bincount(pairs[targets != VOID], minlength=classes**2)


def _top1(total: np.ndarray) -> float:
    return float(total[_COUNTS] / total[_EXAMPLES])


def confusion(total: np.ndarray) -> np.ndarray:
    """Return the confusion matrix of pixels, (classes, classes), the true class first, from `sums` of segmentation."""
    return total[_COUNTS:].reshape(2 * (round(len(total[_COUNTS:]) ** 0.5),))


def mean_iou(matrix: np.ndarray) -> float:
    """Return the mean of intersection over union, over the classes that occur among targets or predictions."""
    union = matrix.sum(axis=0) + matrix.sum(axis=1) - matrix.diagonal()
    occurs = union > 0
    return float((matrix.diagonal()[occurs] / union[occurs]).mean())


def _mean_iou(total: np.ndarray) -> float:
    return mean_iou(confusion(total))


_COUNT = {"classification": _hits, "segmentation": _confusion}
_METRIC = {"classification": _top1, "segmentation": _mean_iou}
