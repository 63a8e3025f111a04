"""Batch normalisation by other statistics: each layer in both frameworks, against the statistics written out.

Tolerance in float64: some hundred roundings of 2.2e-16.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.layers.batch_norm import Normalisation, share
from benchmarks.layers.tensorflow import other_norms as tensorflow_other_norms
from benchmarks.layers.torch import batch_norm as torch_batch_norm
from horovod_runner.frameworks.tensorflow.graphs import graph
from horovod_runner.parity.rows import relative

EPSILON, KEPT = 1e-5, 0.9
TOLERANCE = {"float64": 1e-13, "float32": 2e-5}
Layer = tuple[np.ndarray, ...]


def _arrays(dtype: str) -> dict[str, np.ndarray]:
    """Return a batch far from zero, where squares cancel, with scale, offset and the gradient that comes back."""
    generator = np.random.default_rng(0)
    x = generator.normal(30, 2, (8, 5, 4, 6))
    given = {"x": x, "weight": generator.normal(1, 0.1, 6), "bias": generator.normal(0, 0.1, 6)}
    return {name: a.astype(dtype) for name, a in {**given, "dy": generator.normal(size=x.shape)}.items()}


def _torch(how: Normalisation, arrays: dict[str, np.ndarray], passes: int = 1, mean: Any = lambda v, name: v) -> Layer:
    """Return y, the gradients of x, weight and bias, and the running statistics after so many micro-batches."""
    current = torch_batch_norm.CurrentMicroBatch()
    current.counted = passes
    make = torch_batch_norm.factory(how, current, mean) or torch.nn.BatchNorm2d
    layer = make(6, eps=EPSILON, momentum=1 - KEPT).to(torch.from_numpy(arrays["x"]).dtype).train()
    layer.weight.data, layer.bias.data = (torch.from_numpy(arrays[name]) for name in ("weight", "bias"))
    x = torch.from_numpy(arrays["x"]).permute(0, 3, 1, 2).requires_grad_()
    made = []
    for current.number, piece in enumerate(x.chunk(passes)):
        made.append(layer(piece))
    y = torch.cat(made)
    y.backward(torch.from_numpy(arrays["dy"]).permute(0, 3, 1, 2))
    found = [y.permute(0, 2, 3, 1), x.grad.permute(0, 2, 3, 1), layer.weight.grad, layer.bias.grad]
    return tuple(a.detach().numpy() for a in (*found, layer.running_mean, layer.running_var))


def _tensorflow(
    how: Normalisation, arrays: dict[str, np.ndarray], passes: int = 1, mean: Any = lambda v, n: v
) -> Layer:
    current = tensorflow_other_norms.CurrentMicroBatch(passes)
    make = tensorflow_other_norms.factory(how, current, mean) or tensorflow_other_norms.BatchNorm
    layer = make(epsilon=EPSILON, momentum=KEPT, name="norm", dtype=arrays["x"].dtype.name)
    layer.build(arrays["x"].shape)
    layer.weight.assign(arrays["weight"])
    layer.bias.assign(arrays["bias"])

    @graph
    def train(x: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            made = []
            for number, piece in enumerate(tf.split(x, passes)):
                current.number.assign(number)
                made.append(layer(piece, training=True))
            y = tf.concat(made, axis=0)
            loss = tf.reduce_sum(y * arrays["dy"])
        return y, *tape.gradient(loss, [x, layer.weight.value, layer.bias.value])

    return tuple(
        a.numpy() for a in (*train(tf.constant(arrays["x"])), layer.running_mean.value, layer.running_var.value)
    )


FRAMEWORKS = {"torch": _torch, "tensorflow": _tensorflow}
frameworks = pytest.mark.parametrize("layer", FRAMEWORKS.values(), ids=FRAMEWORKS)
dtypes = pytest.mark.parametrize("dtype", TOLERANCE)


def _close(found: Layer, expected: Layer, tolerance: float) -> None:
    assert [relative(a, b) < tolerance for a, b in zip(found, expected, strict=True)] == [True] * len(expected)


@frameworks
@dtypes
def test_synchronised_over_one_worker_is_plain(layer: Any, dtype: str) -> None:
    arrays = _arrays(dtype)
    _close(layer(Normalisation(synchronised=True), arrays), _torch(Normalisation(), arrays), TOLERANCE[dtype])


@frameworks
@dtypes
def test_synchronised_normalises_by_what_the_reduction_returns(layer: Any, dtype: str) -> None:
    """A worker whose sums come back as those of two copies of itself, one of them moved by 10.

    The law of total variance, by hand: means 10 apart add (10 / 2)^2 to the variance.
    """

    def with_a_moved_twin(vector: Any, name: str) -> Any:
        if not name.endswith("forward"):
            return vector
        offset, second = vector[:6], vector[6:]
        moved = offset + 10
        pieces = [(offset + moved) / 2, (second + (second - offset * offset + moved * moved)) / 2]
        return torch.cat(pieces) if isinstance(vector, torch.Tensor) else tf.concat(pieces, axis=0)

    arrays = _arrays(dtype)
    y, *_, running_mean, running_var = layer(Normalisation(synchronised=True, workers=2), arrays, 1, with_a_moved_twin)
    x = arrays["x"].astype(np.float64)
    mean, variance = x.mean((0, 1, 2)) + 5, x.var((0, 1, 2)) + 25
    values = 2 * x.size // 6
    expected = (x - mean) / np.sqrt(variance + EPSILON) * arrays["weight"] + arrays["bias"]
    assert relative(y, expected) < TOLERANCE[dtype]
    assert relative(running_mean, (1 - KEPT) * mean) < TOLERANCE[dtype]
    assert relative(running_var, KEPT + (1 - KEPT) * variance * values / (values - 1)) < TOLERANCE[dtype]


@frameworks
@dtypes
def test_ghost_groups_are_normalised_each_by_itself(layer: Any, dtype: str) -> None:
    arrays = _arrays(dtype)
    found = layer(Normalisation(group=2), arrays)
    pieces = [_torch(Normalisation(), {**arrays, "x": x, "dy": dy}) for x, dy in _pieces(arrays, 4)]
    expected = (
        np.concatenate([p[0] for p in pieces]),
        np.concatenate([p[1] for p in pieces]),
        *(np.sum([p[i] for p in pieces], axis=0) for i in (2, 3)),
        *(np.mean([p[i] for p in pieces], axis=0) for i in (4, 5)),
    )
    _close(found, expected, TOLERANCE[dtype])


def _pieces(arrays: dict[str, np.ndarray], count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return list(zip(np.split(arrays["x"], count), np.split(arrays["dy"], count), strict=True))


@frameworks
@pytest.mark.parametrize(("micro_batches", "group"), [(4, None), (2, 2), (1, 2)])
def test_micro_batches_and_groups_of_the_same_examples_are_the_same(
    layer: Any, micro_batches: int, group: int | None
) -> None:
    """Four workers of two examples, as virtual workers, as ghost groups, and as two of each."""
    arrays = _arrays("float64")
    _close(
        layer(Normalisation(micro_batches=micro_batches, group=group), arrays, micro_batches),
        _torch(Normalisation(group=2), arrays),
        1e-13,
    )


@given(st.floats(0.001, 0.999), st.integers(1, 40), st.integers(0, 40), st.randoms(use_true_random=False))
def test_shares_come_to_the_mean(new: float, groups: int, blank: int, random: Any) -> None:
    """Of groups that hold an example; the others leave what was there, as if they had seen just that."""
    counted = max(0, groups - blank)
    values = [random.uniform(-1, 1) for _ in range(counted)]
    running = 0.7
    for index, value in enumerate(values):
        taken = share(new, groups, counted, index)
        running = (1 - taken) * running + taken * value
    seen = sum(values) + (groups - counted) * 0.7
    assert running == pytest.approx((1 - new) * 0.7 + new * seen / groups, abs=1e-12)
