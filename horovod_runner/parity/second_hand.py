"""The rows about what the models are: each written a second time, in plain NumPy, from the papers.

Both builders read one specification, and would follow it into any mistake. Here the numbers stand again: ResNet-50 with
the stride in the 3x3 convolution (Goyal et al. 2017, section 5.1; torchvision), U-Net after Ronneberger et al. 2015,
padded and normalised, VGG-16 after Simonyan and Zisserman 2015, configuration D; batch normalisation with an epsilon of
1e-5 whose running statistics keep 0.9 and take in the unbiased variance (PyTorch's defaults).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from benchmarks.architecture import Arrays, draw_initial
from horovod_runner.config.frameworks import PAIR
from horovod_runner.config.schema import decode
from horovod_runner.parity.functions import BOUNDS, Computed, apart, computed, in_precision, telling
from horovod_runner.parity.rows import Row, worst
from horovod_runner.parity.sides import Side, moved
from horovod_runner.training.job import prepare

BLOCKS = (3, 4, 6, 3)
VGG_STAGES = (2, 2, 3, 3, 3)
WIDTH = 8  # of the cases in functions.py
SCATTER = 5.0  # standard errors of a deviation that was drawn, over all arrays of a model


class Functions:
    """Layers over named arrays, images as (batch, height, width, channels); normalising takes statistics in."""

    def __init__(self, arrays: Arrays, training: bool) -> None:
        self.arrays = {name: array.copy() for name, array in arrays.items()}
        self.training = training

    def conv(self, x: np.ndarray, name: str, stride: int = 1, padding: int = 0) -> np.ndarray:
        """Convolve with a kernel laid out as OIHW, and add a bias where there is one."""
        kernel = self.arrays[f"{name}.weight"]
        windows = _windows(x, kernel.shape[-1], stride, padding, 0.0)
        y = np.tensordot(windows, kernel, axes=([3, 4, 5], [1, 2, 3]))
        return y + self.arrays.get(f"{name}.bias", 0.0)

    def enlarge(self, x: np.ndarray, name: str) -> np.ndarray:
        """Convolve transposed, kernel and stride 2, laid out as IOHW: every pixel becomes a square of four."""
        squares = np.einsum("bhwc,coij->bhiwjo", x, self.arrays[f"{name}.weight"])
        batch, height, _, width, _, channels = squares.shape
        return squares.reshape(batch, 2 * height, 2 * width, channels) + self.arrays[f"{name}.bias"]

    def norm(self, x: np.ndarray, name: str) -> np.ndarray:
        """Normalise by the batch and take its statistics in, or by the running ones."""
        mean, var = self.arrays[f"{name}.running_mean"], self.arrays[f"{name}.running_var"]
        if self.training:
            count = x[..., 0].size
            running, (mean, var) = (mean, var), (x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2)))
            self.arrays[f"{name}.running_mean"] = 0.9 * running[0] + 0.1 * mean
            self.arrays[f"{name}.running_var"] = 0.9 * running[1] + 0.1 * var * count / (count - 1)
        scaled = (x - mean) / np.sqrt(var + 1e-5)
        return scaled * self.arrays[f"{name}.weight"] + self.arrays[f"{name}.bias"]

    def dense(self, x: np.ndarray, name: str) -> np.ndarray:
        """Multiply by a matrix and add a bias."""
        return x @ self.arrays[f"{name}.weight"].T + self.arrays[f"{name}.bias"]

    def statistics(self) -> Arrays:
        """Return the running statistics as they stand."""
        return {name: array for name, array in self.arrays.items() if ".running_" in name}


def _windows(x: np.ndarray, size: int, stride: int, padding: int, border: float) -> np.ndarray:
    """Return the windows of padded images: (batch, height, width, channels, size, size)."""
    edges = (padding, padding)
    padded = np.pad(x, ((0, 0), edges, edges, (0, 0)), constant_values=border)
    return np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))[:, ::stride, ::stride]


def _relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def _pool(x: np.ndarray, size: int, stride: int, padding: int = 0) -> np.ndarray:
    return np.asarray(_windows(x, size, stride, padding, -np.inf).max(axis=(4, 5)))


def _averages(x: np.ndarray, size: int) -> np.ndarray:
    """Return the means over size x size windows that cover a map, overlapping where its side is no multiple."""
    side = x.shape[1]
    edges = [(math.floor(i * side / size), math.ceil((i + 1) * side / size)) for i in range(size)]
    rows = [np.stack([x[:, a:b, c:d].mean(axis=(1, 2)) for c, d in edges], axis=1) for a, b in edges]
    return np.stack(rows, axis=1)


def resnet50(f: Functions, x: np.ndarray) -> np.ndarray:
    """Return the logits (batch, classes)."""
    x = _pool(_relu(f.norm(f.conv(x, "conv1", 2, 3), "bn1")), 3, 2, 1)
    for stage, blocks in enumerate(BLOCKS, 1):
        for block in range(blocks):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = _relu(f.norm(f.conv(x, f"{name}.conv1"), f"{name}.bn1"))
            y = _relu(f.norm(f.conv(y, f"{name}.conv2", stride, 1), f"{name}.bn2"))
            y = f.norm(f.conv(y, f"{name}.conv3"), f"{name}.bn3")
            if block == 0:
                x = f.norm(f.conv(x, f"{name}.downsample.0", stride), f"{name}.downsample.1")
            x = _relu(x + y)
    return f.dense(x.mean(axis=(1, 2)), "fc")


def unet(f: Functions, x: np.ndarray) -> np.ndarray:
    """Return the logits (batch, height, width, classes)."""

    def stage(x: np.ndarray, name: str) -> np.ndarray:
        x = _relu(f.norm(f.conv(x, f"{name}.conv1", 1, 1), f"{name}.bn1"))
        return _relu(f.norm(f.conv(x, f"{name}.conv2", 1, 1), f"{name}.bn2"))

    skips = [stage(x, "down.0")]
    for level in range(1, 5):
        skips.append(stage(_pool(skips[-1], 2, 2), f"down.{level}"))
    x = skips.pop()
    for level in range(4):
        x = f.enlarge(x, f"up.{level}.upsample")
        x = stage(np.concatenate([skips.pop(), x], axis=-1), f"up.{level}.stage")
    return f.conv(x, "head")


def vgg16(f: Functions, x: np.ndarray) -> np.ndarray:
    """Return the logits (batch, classes), with the published classifier and without its dropout."""
    place = 0
    for convolutions in VGG_STAGES:
        for _ in range(convolutions):
            x = _relu(f.conv(x, f"features.{place}", 1, 1))
            place += 2
        x = _pool(x, 2, 2)
        place += 1
    x = _averages(x, 7).transpose(0, 3, 1, 2).reshape(len(x), -1)
    for dense in ("classifier.0", "classifier.3"):
        x = _relu(f.dense(x, dense))
    return f.dense(x, "classifier.6")


MODELS: dict[str, Callable[[Functions, np.ndarray], np.ndarray]] = {
    "resnet50": resnet50, "unet": unet, "vgg16": vgg16,
}  # fmt: skip


def second_hand(workload: str) -> list[Row]:
    """Return the rows about a workload: outputs and statistics in either framework, and how its arrays are drawn."""
    rows: list[Row] = []
    for framework in PAIR:
        side = Side(framework, in_precision(workload, "float64"))
        batch = telling(side.first_batch())
        found, arrays = computed(side, batch), moved(side.architecture)
        outputs = {training: Functions(arrays, training) for training in (False, True)}
        logits = {training: MODELS[workload](f, batch.images.astype(np.float64)) for training, f in outputs.items()}
        rows += _rows(f"{workload}, {framework}", found, logits, outputs[True].statistics())
    return [*rows, *drawn(workload)]


def _rows(label: str, found: Computed, logits: dict[bool, np.ndarray], statistics: Arrays) -> Iterator[Row]:
    label, bounds = f"{label} = the model by a second hand", BOUNDS["float64"]
    yield _row(f"{label}: logits in evaluation", (apart(logits[False], found.evaluated), ""), bounds.logits, bounds.why)
    yield _row(f"{label}: logits in training", (apart(logits[True], found.trained), ""), bounds.logits, bounds.why)
    if statistics:
        off = worst(statistics, found.statistics)
        yield _row(f"{label}: running statistics after a step", off, bounds.statistics, bounds.why)


def drawn(workload: str) -> Iterator[Row]:
    """Yield the rows about first values: the deviation of every kernel by He et al. 2015, and what starts at 0 or 1."""
    job = in_precision(workload, "float64", framework=PAIR[0], zero_init_last_gamma=False)
    architecture = prepare(decode(job, "parity")).architecture
    arrays = draw_initial(architecture.arrays, seed=1)
    errors, constants = {}, []
    for name, array in arrays.items():
        if name.endswith(".weight") and array.ndim > 1:
            off = array.std() / expected_deviation(workload, name, array.shape) - 1
            errors[name] = abs(off) * math.sqrt(2 * array.size)
        elif not np.all(array == (1 if _starts_at_one(name, array) else 0)):
            constants.append(name)
    largest = max(errors, key=lambda name: errors[name])
    off, why = (errors[largest], largest), "the largest of so many; a factor of 1.1 would be 30 and more"
    yield _row(f"{workload}: deviation of every kernel's first values, in standard errors", off, SCATTER, why)
    yield _counted(f"{workload}: biases start at 0, normalisation at 1", constants)
    if workload == "resnet50":
        identity = architecture.with_identity_residuals()
        zeroed = {array.name for array in identity.arrays if array.kind == "norm_weight" and not array.init}
        wrong = sorted(zeroed ^ {name for name in arrays if name.endswith("bn3.weight")})
        yield _counted(f"{workload}: zero_init_last_gamma is of each block's third normalisation", wrong)


def _row(what: str, found: tuple[float, str], tolerance: float, why: str) -> Row:
    return Row(claim="shared", what=what, difference=found[0], where=found[1], tolerance=tolerance, why=why)


def _counted(what: str, wrong: Sequence[str]) -> Row:
    return _row(what, (len(wrong), wrong[0] if wrong else ""), 0, "counted")


def _starts_at_one(name: str, array: np.ndarray) -> bool:
    return name.endswith(".running_var") or (name.endswith(".weight") and array.ndim == 1)


def expected_deviation(workload: str, name: str, shape: tuple[int, ...]) -> float:
    """Return the standard deviation of a kernel's first values.

    Convolutions: sqrt(2 / fan), fan out in ResNet-50 and VGG-16 (torchvision), fan in in U-Net (the paper's section 3),
    whose transposed convolutions see one input value a channel, since their kernels do not overlap. Dense: 0.01 in
    ResNet-50 (Goyal et al. 2017, section 5.1), and in VGG-16 times sqrt(64 / width), which is 1 at the published width.
    """
    first, second, area = shape[0], shape[1], math.prod(shape[2:])
    if len(shape) == 2:
        return 0.01 * math.sqrt(64 / WIDTH) if workload == "vgg16" else 0.01
    if workload == "unet":
        return math.sqrt(2 / first) if "upsample" in name else math.sqrt(2 / (second * area))
    return math.sqrt(2 / (first * area))
