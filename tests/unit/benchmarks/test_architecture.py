"""Specifications: counts, initial values, and the sizes that are refused."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from benchmarks.architecture import Architecture, ArraySpec, draw_initial
from benchmarks.resnet50 import spec as resnet50
from benchmarks.unet import spec as unet
from benchmarks.vgg16 import spec as vgg16
from benchmarks.workloads import WORKLOADS


def _resnet50(**changes: int) -> Architecture:
    return resnet50.architecture(**{"width": 64, "channels": 3, "classes": 1000, "image_size": 224} | changes)


def _unet(**changes: int) -> Architecture:
    return unet.architecture(**{"width": 64, "channels": 1, "classes": 2, "image_size": 64} | changes)


def _vgg16(**changes: int | str) -> Architecture:
    return vgg16.architecture(**{"width": 64, "channels": 3, "classes": 1000, "image_size": 224} | changes)


def _unet_count(width: int, channels: int, classes: int) -> int:
    """Count by formula: two 3x3 convs and four BN vectors a stage, 2x2 transposed convs with bias, a 1x1 conv."""
    widths = [width * 2**level for level in range(5)]
    stages = [*zip([channels, *widths], widths, strict=False), *((2 * w, w) for w in widths[:4])]
    convs = sum(9 * into * out + 9 * out * out + 4 * out for into, out in stages)
    ups = sum(4 * 2 * w * w + w for w in widths[:4])
    return convs + ups + width * classes + classes


def test_resnet50_has_the_published_number_of_parameters() -> None:
    assert _resnet50().parameter_count() == 25_557_032
    assert len(_resnet50().trainable) == 161
    assert len(_resnet50().statistics) == 2 * 53


@pytest.mark.parametrize(("width", "channels", "classes"), [(64, 1, 2), (32, 3, 11), (8, 1, 3)])
def test_unet_count_follows_from_its_layers(width: int, channels: int, classes: int) -> None:
    architecture = _unet(width=width, channels=channels, classes=classes)
    assert architecture.parameter_count() == _unet_count(width, channels, classes)


def test_unet_of_the_paper_has_31_million_parameters() -> None:
    assert round(_unet().parameter_count() / 1e6, 1) == 31.0


@pytest.mark.parametrize("size", [0, -16])
@pytest.mark.parametrize("key", ["width", "channels", "classes", "image_size"])
@pytest.mark.parametrize("make", [_resnet50, _unet, _vgg16])
def test_sizes_below_one_are_named(make, key: str, size: int) -> None:
    with pytest.raises(ValueError, match=f"{key} must be at least 1, but it is {size}"):
        make(**{key: size})


@pytest.mark.parametrize("size", [8, 17, 100])
def test_unet_refuses_what_four_halvings_do_not_divide(size: int) -> None:
    with pytest.raises(ValueError, match=f"multiple of 16, but it is {size}"):
        _unet(image_size=size)


def test_vgg16_has_the_published_number_of_parameters() -> None:
    assert _vgg16().parameter_count() == 138_357_544
    assert len(_vgg16().trainable) == 2 * 16
    assert not _vgg16().normalises and _resnet50().normalises


@pytest.mark.parametrize(("width", "channels", "classes"), [(64, 3, 10), (32, 1, 7), (5, 3, 2)])
@pytest.mark.parametrize(("classifier", "hidden"), [("full", (64, 64)), ("small", (8,))])
def test_vgg16_scales_with_its_width(
    width: int, channels: int, classes: int, classifier: str, hidden: tuple[int, ...]
) -> None:
    """Count by formula: 3x3 convolutions, then dense layers on 49 or 1 pixels of the last maps, biases everywhere."""
    widths = [channels, *(width * m for m in (1, 1, 2, 2, 4, 4, 4, 8, 8, 8, 8, 8, 8))]
    sizes = [8 * width * (49 if classifier == "full" else 1), *(width * m for m in hidden), classes]
    count = sum(9 * into * out + out for into, out in pairwise(widths))
    count += sum(into * out + out for into, out in pairwise(sizes))
    sized = _vgg16(width=width, channels=channels, classes=classes, classifier=classifier, image_size=64)
    assert sized.parameter_count() == count


@pytest.mark.parametrize(("size", "classifier"), [(32, "small"), (223, "small"), (224, "full"), (320, "full")])
def test_vgg16_chooses_its_classifier_by_the_size(size: int, classifier: str) -> None:
    assert _vgg16(image_size=size) == _vgg16(image_size=size, classifier=classifier)
    assert WORKLOADS["vgg16"].default_option("classifier", size) == classifier


@pytest.mark.parametrize("size", [1, 16, 31])
def test_vgg16_refuses_what_five_halvings_leave_nothing_of(size: int) -> None:
    with pytest.raises(ValueError, match=f"halves its input 5 times, .* at least 32, but it is {size}"):
        _vgg16(image_size=size)
    assert _vgg16(image_size=32 + size).minimum_values_per_channel == 1


def test_a_workload_hands_on_the_options_that_it_declares() -> None:
    sizes = {"width": 8, "channels": 3, "classes": 5, "image_size": 64}
    assert WORKLOADS["vgg16"].architecture(**sizes, classifier="full") == _vgg16(**sizes, classifier="full")
    assert WORKLOADS["resnet50"].architecture(**sizes, classifier=None) == _resnet50(**sizes)


@pytest.mark.parametrize(("size", "values"), [(1, 1), (32, 1), (33, 4), (47, 4), (64, 4), (224, 49)])
def test_resnet50_knows_its_smallest_map(size: int, values: int) -> None:
    assert _resnet50(image_size=size).minimum_values_per_channel == values


@pytest.mark.parametrize(("size", "values"), [(16, 1), (48, 9)])
def test_unet_knows_its_smallest_map(size: int, values: int) -> None:
    assert _unet(image_size=size).minimum_values_per_channel == values


def test_names_are_unique() -> None:
    for architecture in (_resnet50(), _unet(), _vgg16()):
        names = [array.name for array in architecture.arrays]
        assert len(set(names)) == len(names)


def test_initial_values_have_the_deviations_of_their_sources() -> None:
    """Expected by hand from shapes: He fan out for ResNet's kernels, fan in for the U-Net's, 0.01 for the classifier.

    The empirical deviation of n draws is itself off by about 1 / sqrt(2 n); the smallest kernel here has 8,192
    values, so 5 % is more than six times that.
    """
    arrays = {**draw_initial(_resnet50().arrays, seed=1), **draw_initial(_unet().arrays, seed=1)}
    expected = {
        "conv1.weight": (2 / (64 * 49)) ** 0.5,
        "layer2.0.conv2.weight": (2 / (128 * 9)) ** 0.5,
        "layer4.0.downsample.0.weight": (2 / 2048) ** 0.5,
        "fc.weight": 0.01,
        "down.1.conv1.weight": (2 / (64 * 9)) ** 0.5,
        "up.0.upsample.weight": (2 / 1024) ** 0.5,
        "up.0.stage.conv1.weight": (2 / (1024 * 9)) ** 0.5,
    }
    for name, deviation in expected.items():
        assert arrays[name].std() == pytest.approx(deviation, rel=0.05), name
        assert abs(arrays[name].mean()) < 5 * deviation / arrays[name].size ** 0.5, name


def test_normalisation_starts_as_the_identity_and_biases_at_zero() -> None:
    architecture = _unet(width=8)
    constants = {"norm_weight": 1, "norm_bias": 0, "bias": 0, "running_mean": 0, "running_var": 1}
    initial = draw_initial(architecture.arrays, seed=0)
    for array in architecture.arrays:
        assert array.kind in constants or array.is_kernel
        if array.kind in constants:
            assert np.all(initial[array.name] == constants[array.kind])


def test_identity_residuals_zero_the_last_norm_of_each_block_and_nothing_else() -> None:
    plain, zeroed = _resnet50(width=8), _resnet50(width=8).with_identity_residuals()
    before, after = draw_initial(plain.arrays, 0), draw_initial(zeroed.arrays, 0)
    changed = [name for name in before if not np.array_equal(before[name], after[name])]
    assert len(changed) == 3 + 4 + 6 + 3
    assert all(name.endswith(".bn3.weight") and not after[name].any() for name in changed)


def test_a_draw_depends_on_seed_and_name_only() -> None:
    kernel = ArraySpec("kernel", (3, 4), "dense_kernel", 1.0, random=True)
    other = ArraySpec("other", (3, 4), "dense_kernel", 1.0, random=True)
    alone, among = draw_initial([kernel], 7), draw_initial([other, kernel], 7)
    assert np.array_equal(alone["kernel"], among["kernel"])
    assert not np.array_equal(among["kernel"], among["other"])
    assert not np.array_equal(alone["kernel"], draw_initial([kernel], 8)["kernel"])


def test_a_draw_is_a_float32_number_held_in_float64() -> None:
    values = draw_initial([ArraySpec("kernel", (100,), "bias", 1.0, random=True)], 0)["kernel"]
    assert values.dtype == np.float64
    assert np.array_equal(values, values.astype(np.float32))
