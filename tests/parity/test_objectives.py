"""The objectives: the definition against worked examples, both implementations against the definition.

Tolerance in float64, 1e-12: a few thousand additions of numbers of order one, each off by 1e-16.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf
import torch

from benchmarks.objectives import reference
from benchmarks.objectives import tensorflow as tensorflow_objectives
from benchmarks.objectives import torch as torch_objectives
from benchmarks.targets import VOID
from horovod_runner.config.settings import LossConfig

TASKS = ("classification", "segmentation")
CONFIGS = [LossConfig(label_smoothing=s, dice_weight=d) for s, d in itertools.product((0.0, 0.1), (0.0, 0.5))]
PAD = {"all real": np.ones(4), "two of padding": np.array([1.0, 0, 1, 0])}


def _example(task: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return logits of 4 examples and 3 classes, and int32 targets."""
    generator = np.random.default_rng(seed)
    pixels = () if task == "classification" else (5, 6)
    return 3 * generator.standard_normal((4, *pixels, 3)), generator.integers(0, 3, (4, *pixels), dtype=np.int32)


def _torch(
    task: str, config: LossConfig, logits: np.ndarray, targets: np.ndarray, weights: np.ndarray, void: bool = False
):
    """Return PyTorch's loss and its gradient by the logits, channels last."""
    moved = torch.from_numpy(np.moveaxis(logits, -1, 1).copy()).requires_grad_()
    value = torch_objectives.loss(task, config, void)(moved, torch.from_numpy(targets), torch.from_numpy(weights))
    value.backward()
    return value.detach(), np.moveaxis(moved.grad.double().numpy(), 1, -1)


def _tensorflow(
    task: str, config: LossConfig, logits: np.ndarray, targets: np.ndarray, weights: np.ndarray, void: bool = False
):
    """Return TensorFlow's loss and its gradient by the logits."""
    x = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = tensorflow_objectives.loss(task, config, void)(x, tf.constant(targets), tf.constant(weights))
    return value, tape.gradient(value, x).numpy().astype(np.float64)


FRAMEWORKS = {"torch": _torch, "tensorflow": _tensorflow}


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("weights", PAD.values(), ids=PAD)
@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"smoothing {c.label_smoothing} dice {c.dice_weight}")
@pytest.mark.parametrize("task", TASKS)
def test_loss_is_the_definition(framework: str, task: str, config: LossConfig, weights: np.ndarray) -> None:
    logits, targets = _example(task)
    value, _ = FRAMEWORKS[framework](task, config, logits, targets, weights)
    assert float(value) == pytest.approx(reference.loss(task, logits, targets, weights, config), rel=1e-12)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"smoothing {c.label_smoothing} dice {c.dice_weight}")
def test_void_pixels_count_nowhere(framework: str, config: LossConfig) -> None:
    """Neither in the value nor in the gradient; an example of nothing but void costs nothing."""
    logits, targets = _example("segmentation")
    targets[0, :2], targets[1, :, 3:], targets[2] = VOID, VOID, VOID
    weights = reference.example_weights(targets, np.ones(4))
    value, gradient = FRAMEWORKS[framework]("segmentation", config, logits, targets, weights, void=True)
    assert float(value) == pytest.approx(reference.loss("segmentation", logits, targets, np.ones(4), config), rel=1e-12)
    changed = np.where((targets == VOID)[..., None], 7.0, logits)
    other, _ = FRAMEWORKS[framework]("segmentation", config, changed, targets, weights, void=True)
    assert float(other) == pytest.approx(float(value), rel=1e-12)
    assert not gradient[targets == VOID].any()
    assert gradient[targets != VOID].all()


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("task", TASKS)
def test_gradient_is_the_definitions_slope(framework: str, task: str) -> None:
    """Central differences with h = 1e-5 are off by h^2 / 6 times a third derivative, and by 1e-16 / h: about 1e-11."""
    config, weights, h = LossConfig(label_smoothing=0.1, dice_weight=0.5), np.array([1.0, 0, 1, 1]), 1e-5
    logits, targets = _example(task)
    _, gradient = FRAMEWORKS[framework](task, config, logits, targets, weights)
    for index in [(0,) * logits.ndim, tuple(n - 1 for n in logits.shape), (1,) * logits.ndim]:
        step = np.zeros_like(logits)
        step[index] = h
        above, below = (reference.loss(task, x, targets, weights, config) for x in (logits + step, logits - step))
        assert gradient[index] == pytest.approx((above - below) / (2 * h), abs=1e-9)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("task", TASKS)
def test_a_batch_of_padding_costs_nothing(framework: str, task: str) -> None:
    logits, targets = _example(task)
    value, gradient = FRAMEWORKS[framework](task, CONFIGS[-1], logits, targets, np.zeros(4))
    assert float(value) == reference.loss(task, logits, targets, np.zeros(4), CONFIGS[-1]) == 0
    assert not gradient.any()


@pytest.mark.parametrize("task", TASKS)
def test_low_precision_is_computed_in_float32(task: str) -> None:
    """The logits are rounded to bfloat16 first, so what remains is float32's own rounding, 6e-8 an operation."""
    logits, targets = _example(task)
    low = torch.from_numpy(logits).bfloat16()
    exact = reference.loss(task, low.double().numpy(), targets, np.ones(4), CONFIGS[-1])
    one = torch.ones(4)
    ours = torch_objectives.loss(task, CONFIGS[-1])(low.movedim(-1, 1), torch.from_numpy(targets), one)
    theirs = tensorflow_objectives.loss(task, CONFIGS[-1])(
        tf.cast(tf.constant(low.double().numpy()), tf.bfloat16), tf.constant(targets), tf.ones(4)
    )
    assert ours.dtype == torch.float32
    assert theirs.dtype == tf.float32
    assert [float(ours), float(theirs)] == pytest.approx([exact, exact], rel=1e-6)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"smoothing {c.label_smoothing} dice {c.dice_weight}")
@pytest.mark.parametrize("task", TASKS)
def test_loss_does_not_depend_on_how_a_batch_is_divided(task: str, config: LossConfig) -> None:
    """What makes a mean over workers the loss of the global batch; a Dice over the whole batch would fail here."""
    logits, targets = _example(task)
    whole = reference.loss(task, logits, targets, np.ones(4), config)
    halves = [reference.loss(task, logits[s], targets[s], np.ones(2), config) for s in (slice(2), slice(2, 4))]
    assert np.mean(halves) == pytest.approx(whole, rel=1e-12)


def test_cross_entropy_is_the_sum_over_valid_pixels_by_their_number() -> None:
    """However a batch is divided: shards' means count by their valid pixels."""
    logits, targets = _example("segmentation")
    targets[0, :2], targets[1, :, 3:], targets[2] = VOID, VOID, VOID
    config, valid = LossConfig(label_smoothing=0.1, dice_weight=0.0), targets != VOID
    pixels = reference.cross_entropy(reference.log_softmax(logits), targets, 0.1)[valid]
    assert reference.loss("segmentation", logits, targets, np.ones(4), config) == pytest.approx(
        pixels.mean(), rel=1e-12
    )
    total = sum(
        reference.sums("segmentation", logits[s], targets[s], np.ones(2), config) for s in (slice(2), slice(2, 4))
    )
    assert reference.figures("segmentation", total)[0] == pytest.approx(pixels.mean(), rel=1e-12)
    assert total[2:].sum() == valid.sum()


def test_dice_over_valid_pixels_of_a_worked_example() -> None:
    """The worked example above with a third pixel of void, whatever is predicted there."""
    logits = np.array([[[[math.log(3), 0.0], [0.0, math.log(3)], [9.0, 1.0]]]])
    ours = reference.loss("segmentation", logits, np.array([[[0, 1, VOID]]]), np.ones(1), LossConfig(dice_weight=2.0))
    assert ours == pytest.approx(-math.log(0.75) + 2 * (1 - 2.5 / 3), rel=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_label_smoothing_is_pytorchs(smoothing: float) -> None:
    logits, targets = _example("classification")
    theirs = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)
    expected = theirs(torch.from_numpy(logits), torch.from_numpy(targets).long())
    ours = reference.loss("classification", logits, targets, np.ones(4), LossConfig(label_smoothing=smoothing))
    assert ours == pytest.approx(float(expected), rel=1e-12)


def test_dice_of_a_worked_example() -> None:
    """Two pixels of class 0 and 1, p = 3/4 for the truth: each class has 2 sum(p y) + 1 = 2.5 over 1 + 1 + 1 = 3."""
    logits = np.array([[[[math.log(3), 0.0], [0.0, math.log(3)]]]])
    ours = reference.loss("segmentation", logits, np.array([[[0, 1]]]), np.ones(1), LossConfig(dice_weight=2.0))
    assert ours == pytest.approx(-math.log(0.75) + 2 * (1 - 2.5 / 3), rel=1e-12)


def test_large_logits_do_not_overflow() -> None:
    logits = np.array([[1e4, 0.0]])
    assert reference.loss("classification", logits, np.array([1]), np.ones(1), LossConfig()) == pytest.approx(1e4)


@pytest.mark.parametrize("task", TASKS)
def test_sums_add_over_batches_and_leave_padding_out(task: str) -> None:
    logits, targets = _example(task)
    weights, config = np.array([1.0, 1, 1, 0]), CONFIGS[-1]
    total = reference.empty_sums(task, 3)
    for part in (slice(2), slice(2, 4)):
        total = total + reference.sums(task, logits[part], targets[part], weights[part], config)
    assert total == pytest.approx(reference.sums(task, logits[:3], targets[:3], np.ones(3), config), rel=1e-12)
    assert reference.figures(task, total)[0] == pytest.approx(reference.loss(task, logits, targets, weights, config))


@pytest.mark.parametrize("task", TASKS)
def test_sums_of_padding_only_are_empty(task: str) -> None:
    logits, targets = _example(task)
    total = reference.sums(task, logits, targets, np.zeros(4), CONFIGS[-1])
    assert np.array_equal(total, reference.empty_sums(task, 3))
    loss, _, metric = reference.figures(task, total)
    assert math.isnan(loss)
    assert math.isnan(metric)


def test_top1_of_a_worked_example() -> None:
    logits = np.array([[2.0, 1, 0], [0, 1, 2], [0, 3, 1], [5, 0, 0]])
    total = reference.sums("classification", logits, np.array([0, 2, 2, 1]), np.array([1.0, 1, 1, 0]), LossConfig())
    assert reference.figures("classification", total)[1:] == ("top1", pytest.approx(2 / 3))


def test_mean_iou_of_a_worked_example() -> None:
    """Truth 0 0 1 1, prediction 0 1 1 2; class 0: 1/2, class 1: 1/3, class 2: 0/1; class 3 occurs nowhere."""
    logits = np.eye(4)[[0, 1, 1, 2]].reshape(1, 2, 2, 4)
    total = reference.sums("segmentation", logits, np.array([[[0, 0], [1, 1]]]), np.ones(1), LossConfig())
    assert reference.figures("segmentation", total)[1:] == ("mean_iou", pytest.approx((1 / 2 + 1 / 3) / 3))
