"""How micro-batches count: by hand, for workers whose batches lack examples."""

import numpy as np
import pytest

from benchmarks.data.batch import Batch
from horovod_runner.config.schema import decode
from horovod_runner.errors import SharedError, UserError
from horovod_runner.frameworks.weighting import Weighting, weighting


def batch(*weights: float) -> Batch:
    size = len(weights)
    return Batch(
        np.arange(size, dtype=np.float32).reshape(size, 1, 1, 1), np.arange(size), np.array(weights, np.float32)
    )


def beside(*others: tuple[float, float]):
    return lambda own: np.array([own, *others])


def test_a_share_is_what_is_here_over_the_mean_of_all():
    """Three of four here, four there: 3 / 3.5; micro-batches of two and one: 2 / 1.75, 1 / 1.75."""
    (whole,), counted, mean = Weighting(1, True, beside((4, 4)))(batch(1, 0, 1, 1))
    assert (whole.share, counted, mean, whole.examples) == (3 / 3.5, 1, 3.5, 3)
    assert whole.batch.targets.tolist() == [0, 2, 3], "the order stays"
    parts, counted, _ = Weighting(2, True, beside((4, 4)))(batch(1, 1, 1, 0))
    assert [part.share for part in parts] == pytest.approx([2 / 1.75, 1 / 1.75])
    assert [(part.number, part.examples) for part in parts] == [(0, 2), (1, 1)]


def test_a_blank_micro_batch_has_no_turn():
    parts, counted, _ = Weighting(2, True, lambda own: own[None])(batch(0, 0, 1, 1))
    assert [(part.number, part.examples, part.share) for part in parts] == [(0, 0, 0.0), (0, 2, 2.0)]
    assert counted == 1


@pytest.mark.parametrize("workers", [2, 3, 6, 49])
def test_full_batches_have_a_share_of_exactly_one(workers):
    """49 * (1 / 49) is not 1 in floating point."""
    parts, _, _ = Weighting(1, True, beside(*[(7, 7)] * (workers - 1)))(batch(*[1] * 7))
    assert parts[0].share == 1.0


def test_nothing_is_exchanged_where_batches_are_alike():
    parts, counted, _ = Weighting(2, False, lambda own: 1 / 0)(batch(1, 1, 1, 1))
    assert ([part.share for part in parts], counted) == ([1.0, 1.0], 2)


def test_what_is_too_little_is_said():
    with pytest.raises(SharedError, match="not one image of a batch of 8 could be read"):
        Weighting(1, True, beside((0, 0)))(batch(0, 0, 0, 0))
    config = decode(
        {"framework": "torch", "local_batch": 2, "data": {"path": "x", "broken": "skip", "image_size": 32}}, "t"
    )
    small = config.job.architecture(width=4, channels=3, classes=2, image_size=32)
    with pytest.raises(UserError, match=r"only 1 example of a batch could be read, .* raise local_batch"):
        weighting(config, lambda own: own[None], small)(batch(1, 0))
    large = config.job.architecture(width=4, channels=3, classes=2, image_size=64)
    assert weighting(config, lambda own: own[None], large)(batch(1, 0)).counted == 1
