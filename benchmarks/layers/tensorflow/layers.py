"""What the TensorFlow builders share: layers with PyTorch's padding, and the way from Keras' layouts to canonical ones.

Keras pads strided layers asymmetrically under SAME; here paddings are pixels on each side, handed to the kernels. Every
layer carries its canonical name, and its weights torch's (`weight`, `bias`, `running_mean`, `running_var`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.architecture import Architecture
from benchmarks.layers.tensorflow.batch_norm import BatchNorm

Shape = tuple[int | None, ...]
NormFactory = Callable[..., keras.layers.Layer]

# Axes of the canonical layout (OIHW, IOHW, (out, in)), in the order of Keras' (HWIO, HWOI, (in, out)).
_AXES = {"conv_kernel": (2, 3, 1, 0), "transposed_conv_kernel": (2, 3, 1, 0), "dense_kernel": (1, 0)}


def from_canonical(kind: str, array: np.ndarray) -> np.ndarray:
    """Return a canonical array of this kind (benchmarks/architecture.py) in the layout of its tf.Variable."""
    return np.asarray(array.transpose(_AXES.get(kind, range(array.ndim))), order="C")


def to_canonical(kind: str, array: np.ndarray) -> np.ndarray:
    """Return the value of a tf.Variable of this kind in the canonical layout."""
    axes = np.argsort(_AXES.get(kind, range(array.ndim)))
    return np.asarray(array.transpose(axes), order="C")


def variables_by_name(model: keras.Model) -> dict[str, tf.Variable]:
    """Return canonical name -> variable, weights and statistics, in the order of the specification.

    They are TensorFlow's own variables: Horovod and the gradient tape do not accept Keras' wrappers.
    """
    found = {f"{layer.name}.{v.name}": v.value for layer in model.layers for v in layer.weights}
    return {name: found[name] for name in model.canonical_names}


def _explicit(padding: int) -> list[list[int]]:
    return [[0, 0], [padding, padding], [padding, padding], [0, 0]]


class Convolution(keras.layers.Layer):
    """Square 2-D convolution with `padding` zeros on each side."""

    def __init__(
        self, filters: int, kernel: int, *, stride: int = 1, padding: int = 0, bias: bool = False, **options: Any
    ) -> None:
        super().__init__(**options)
        self.filters, self.kernel, self.stride, self.padding, self.has_bias = (filters, kernel, stride, padding, bias)

    def build(self, input_shape: Shape) -> None:
        """Make weight (HWIO) and, if asked for, bias."""
        self.weight = self.add_weight(name="weight", shape=(self.kernel, self.kernel, input_shape[-1], self.filters))
        if self.has_bias:
            self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return (batch, height, width, filters) for PyTorch's arithmetic of sizes."""
        return (input_shape[0], *map(self._length, input_shape[1:3]), self.filters)

    def _length(self, pixels: int | None) -> int | None:
        return None if pixels is None else (pixels + 2 * self.padding - self.kernel) // self.stride + 1

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Convolve (batch, height, width, channels)."""
        # A convolution with explicit paddings leaves oneDNN for a slower kernel (a step takes 1.4 times as long,
        # measured), so strided layers pad first; elsewhere SAME means the same as this padding.
        same = self.stride == 1 and self.kernel == 2 * self.padding + 1
        if self.padding and not same:
            x = tf.pad(x, _explicit(self.padding))
        y = tf.nn.conv2d(x, self.weight.value, self.stride, "SAME" if same else "VALID")
        return tf.nn.bias_add(y, self.bias.value) if self.has_bias else y


class Upsampling(keras.layers.Layer):
    """Transposed convolution whose kernel is as large as its stride, so that no two of its outputs overlap."""

    def __init__(self, filters: int, scale: int, **options: Any) -> None:
        super().__init__(**options)
        self.filters, self.scale = filters, scale

    def build(self, input_shape: Shape) -> None:
        """Make weight (HWOI) and bias."""
        self.weight = self.add_weight(name="weight", shape=(self.scale, self.scale, self.filters, input_shape[-1]))
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return (batch, scale * height, scale * width, filters)."""
        height, width = (None if n is None else n * self.scale for n in input_shape[1:3])
        return (input_shape[0], height, width, self.filters)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Enlarge (batch, height, width, channels): one matrix product, whose rows are then laid out as squares.

        Without overlap this is the transposed convolution itself, and on CPUs faster than its kernel (measured).
        """
        batch, height, width, channels = tf.unstack(tf.shape(x))
        kernel = tf.reshape(self.weight.value, (-1, channels))
        rows = tf.matmul(tf.reshape(x, (-1, channels)), kernel, transpose_b=True)
        squares = tf.reshape(rows, (batch, height, width, self.scale**2 * self.filters))
        return tf.nn.bias_add(tf.nn.depth_to_space(squares, self.scale), self.bias.value)


class Dense(keras.layers.Layer):
    """x W + b."""

    def __init__(self, units: int, **options: Any) -> None:
        super().__init__(**options)
        self.units = units

    def build(self, input_shape: Shape) -> None:
        """Make weight (in, out) and bias."""
        self.weight = self.add_weight(name="weight", shape=(input_shape[-1], self.units))
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return (batch, units)."""
        return (input_shape[0], self.units)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Map (batch, in) to (batch, units)."""
        return tf.nn.bias_add(tf.matmul(x, self.weight.value), self.bias.value)


class MaxPool(keras.layers.Layer):
    """Maximum over windows, padded by minus infinity as in PyTorch.

    Zeros would do behind a ReLU only: elsewhere they would win over negative values at the border.
    """

    def __init__(self, kernel: int, stride: int, padding: int = 0, **options: Any) -> None:
        super().__init__(**options)
        self.kernel, self.stride, self.padding = kernel, stride, padding

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return (batch, height, width, channels) for PyTorch's arithmetic of sizes."""
        height, width = (
            None if n is None else (n + 2 * self.padding - self.kernel) // self.stride + 1 for n in input_shape[1:3]
        )
        return (input_shape[0], height, width, input_shape[-1])

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Pool (batch, height, width, channels)."""
        if self.padding:  # first: the kernel's own explicit paddings take four times as long (measured on CPUs)
            x = tf.pad(x, _explicit(self.padding), constant_values=tf.constant(float("-inf"), x.dtype))
        return tf.nn.max_pool2d(x, self.kernel, self.stride, "VALID")


class AdaptiveAveragePool(keras.layers.Layer):
    """Average over `size` x `size` windows that cover a map of any size, as torch.nn.AdaptiveAvgPool2d lays them.

    The windows of one axis do not depend on the other, so this is a product with a constant matrix on either side.
    """

    def __init__(self, size: int, **options: Any) -> None:
        super().__init__(**options)
        self.size = size

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return (batch, size, size, channels)."""
        return (input_shape[0], self.size, self.size, input_shape[-1])

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Pool (batch, height, width, channels), whose height and width are known when the model is built."""
        rows, columns = (tf.constant(averaging_matrix(n, self.size), x.dtype) for n in x.shape[1:3])
        return tf.einsum("bhwc,ih,jw->bijc", x, rows, columns)


def averaging_matrix(pixels: int, size: int) -> np.ndarray:
    """Return (size, pixels): row i averages PyTorch's window i, from floor(i p / size) to ceil((i + 1) p / size).

    Windows overlap where `size` does not divide `pixels`, and repeat pixels where there are fewer of them.
    """
    window, pixel = np.arange(size)[:, None], np.arange(pixels)
    covers = (pixel >= window * pixels // size) & (pixel < -(-(window + 1) * pixels // size))
    return covers / covers.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class Layers:
    """Makes layers of one model: they share the precision, the normalisation and its numbers."""

    architecture: Architecture
    policy: str
    batch_norm: NormFactory | None = None

    def image(self) -> keras.KerasTensor:
        """Return the model's input (batch, size, size, channels), float64 for the float64 policy and else float32."""
        a = self.architecture
        dtype = "float64" if self.policy == "float64" else "float32"
        return keras.Input((a.image_size, a.image_size, a.channels), dtype=dtype)

    def conv(self, x: Any, name: str, filters: int, kernel: int, **options: Any) -> Any:
        """Convolve; `options` are those of Convolution."""
        return Convolution(filters, kernel, name=name, dtype=self.policy, **options)(x)

    def norm(self, x: Any, name: str) -> Any:
        """Normalise over the batch, with the specification's epsilon and momentum."""
        numbers = self.architecture.numbers
        make = self.batch_norm or BatchNorm
        return make(epsilon=numbers.epsilon, momentum=numbers.momentum, name=name, dtype=self.policy)(x)

    def upsample(self, x: Any, name: str, filters: int, scale: int) -> Any:
        """Enlarge by a transposed convolution."""
        return Upsampling(filters, scale, name=name, dtype=self.policy)(x)

    def pool(self, x: Any, kernel: int, stride: int, padding: int = 0) -> Any:
        """Take maxima over windows."""
        return MaxPool(kernel, stride, padding, dtype=self.policy)(x)

    def dense(self, x: Any, name: str, units: int) -> Any:
        """Map features to `units`."""
        return Dense(units, name=name, dtype=self.policy)(x)

    def average(self, x: Any) -> Any:
        """Average over height and width."""
        return keras.layers.GlobalAveragePooling2D(dtype=self.policy)(x)

    def adaptive_average(self, x: Any, size: int) -> Any:
        """Average over `size` x `size` windows."""
        return AdaptiveAveragePool(size, dtype=self.policy)(x)

    def flatten(self, x: Any) -> Any:
        """Put maps in one row in the canonical order, (channel, height, width): dense kernels are laid out for it."""
        return keras.layers.Flatten(dtype=self.policy)(keras.layers.Permute((3, 1, 2), dtype=self.policy)(x))

    def relu(self, x: Any) -> Any:
        """Cut off below zero."""
        return keras.layers.Activation("relu", dtype=self.policy)(x)

    def add(self, x: Any, y: Any) -> Any:
        """Add two branches."""
        return keras.layers.Add(dtype=self.policy)([x, y])

    def concatenate(self, x: Any, y: Any) -> Any:
        """Put y's channels behind x's."""
        return keras.layers.Concatenate(dtype=self.policy)([x, y])

    def model(self, image: Any, logits: Any) -> keras.Model:
        """Return the model, its logits float32 or float64; ArraysDiffer if its arrays are not the specification's."""
        wide = keras.layers.Activation("linear", dtype="float64" if self.policy == "float64" else "float32")
        made = keras.Model(image, wide(logits))
        made.canonical_names = [a.name for a in self.architecture.arrays]
        _check_arrays(made, self.architecture)
        return made


class ArraysDiffer(RuntimeError):
    """A builder made other arrays than its specification lists."""


def _check_arrays(model: keras.Model, architecture: Architecture) -> None:
    """Compare names and shapes: two descriptions of one model drift apart when nobody looks."""
    made = {f"{layer.name}.{v.name}": tuple(v.shape) for layer in model.layers for v in layer.weights}
    laid_out = {a.name: tuple(a.shape[i] for i in _AXES.get(a.kind, range(len(a.shape)))) for a in architecture.arrays}
    if made != laid_out:
        wrong = sorted(n for n in made.keys() | laid_out.keys() if made.get(n) != laid_out.get(n))
        raise ArraysDiffer(f"the TensorFlow builder disagrees with the specification about {', '.join(wrong)}")
