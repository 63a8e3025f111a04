"""The order of examples: one global shuffle an epoch, whoever reads it."""

import numpy as np
import pytest

from benchmarks.data.batch import Batch
from benchmarks.data.dataset import Dataset
from benchmarks.data.order import epoch_order, example_rng, steps_per_epoch
from benchmarks.data.pipeline import FINGERPRINTS, TrainBatches, batch_fingerprint, validation_batches
from benchmarks.errors import DataError
from tests.unit.benchmarks.data.digests import example_digests

EXAMPLES = 37


class Numbers:
    """Example i is the 1 x 1 image i, labelled i, from memory."""

    def __init__(self, examples: int = EXAMPLES) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return self.examples

    def read(self, index, rng):
        images, targets = self.read_many(np.array([index]))
        return images[0], targets[0]

    def read_many(self, indices):
        return indices.astype(np.float32).reshape(-1, 1, 1, 1), indices.astype(np.int32)


class OneByOne:
    """Without read_many, so that the pipeline reads each example with a generator of its own."""

    def __len__(self) -> int:
        return EXAMPLES

    def read(self, index, rng):
        drawn = -1.0 if rng is None else rng.random()
        return np.full((1, 1, 1), drawn, np.float32), np.int32(index)


def dataset(split) -> Dataset:
    return Dataset(split, split, classes=10, channels=1, image_size=1)


def global_batches(split, workers: int, start: int, stop: int, seed: int = 3, global_batch: int = 8) -> list[Batch]:
    """Return global batches, put together from the shards of all workers."""
    shards = []
    for rank in range(workers):
        pipeline = TrainBatches(dataset(split), global_batch=global_batch, rank=rank, workers=workers, seed=seed)
        shards.append(list(pipeline.iterate(start, stop)))
    return [
        Batch(*(np.concatenate([getattr(part, field) for part in parts]) for field in ("images", "targets", "weights")))
        for parts in zip(*shards, strict=True)
    ]


def targets(batches: list[Batch]) -> list[list[int]]:
    return [batch.targets.tolist() for batch in batches]


@pytest.mark.parametrize("workers", [2, 4, 8])
@pytest.mark.parametrize("split", [Numbers(), OneByOne()], ids=["memory", "augmented"])
def test_global_batches_do_not_depend_on_the_number_of_workers(split, workers):
    alone = global_batches(split, 1, 0, 11)
    together = global_batches(split, workers, 0, 11)
    assert [example_digests(b) for b in together] == [example_digests(b) for b in alone]


def test_an_epoch_visits_no_example_twice_and_the_order_is_a_permutation():
    epoch = np.concatenate(targets(global_batches(Numbers(), 2, 0, 4)))
    assert len(epoch) == 32 == len(set(epoch.tolist()))
    assert sorted(epoch_order(EXAMPLES, 3, 0)) == list(range(EXAMPLES))
    assert epoch.tolist() == epoch_order(EXAMPLES, 3, 0)[:32].tolist()


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = {tuple(epoch_order(EXAMPLES, seed, epoch)) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16


def test_an_epoch_rolls_over_after_its_last_full_batch():
    assert targets(global_batches(Numbers(), 1, 4, 5)) == [epoch_order(EXAMPLES, 3, 1)[:8].tolist()]


@pytest.mark.parametrize("split", [Numbers(), OneByOne()], ids=["memory", "augmented"])
def test_resuming_at_a_step_gives_the_tail_of_an_undisturbed_run(split):
    whole = global_batches(split, 2, 0, 12)
    tail = global_batches(split, 2, 5, 12)
    assert [example_digests(b) for b in tail] == [example_digests(b) for b in whole[5:]]


def test_one_pipeline_can_go_on_and_can_jump():
    pipeline = TrainBatches(dataset(Numbers()), global_batch=8, rank=0, workers=1, seed=3)
    first = list(pipeline.iterate(0, 3))
    onwards = list(pipeline.iterate(3, 5))
    again = list(pipeline.iterate(1, 3))
    assert targets(first + onwards) == targets(global_batches(Numbers(), 1, 0, 5))
    assert targets(again) == targets(first[1:])


def test_augmentation_depends_on_seed_epoch_and_index_alone():
    draws = {
        (seed, epoch, index): example_rng(seed, epoch, index).random()
        for seed in range(3)
        for epoch in range(3)
        for index in range(3)
    }
    assert len(set(draws.values())) == len(draws)
    assert draws[1, 2, 0] == example_rng(1, 2, 0).random()


def test_augmentation_does_not_share_the_stream_of_the_shuffle():
    assert example_rng(5, 6, 0).random() != np.random.default_rng([5, 6]).random()


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
@pytest.mark.parametrize("split", [Numbers(), OneByOne(), Numbers(2)], ids=["memory", "one by one", "tiny"])
def test_validation_counts_every_example_once_in_batches_of_one_shape(split, workers):
    shards = [list(validation_batches(split, local_batch=4, rank=r, workers=workers)) for r in range(workers)]
    assert len({len(batches) for batches in shards}) == 1
    batches = [batch for shard in shards for batch in shard]
    assert {batch.images.shape for batch in batches} == {(4, 1, 1, 1)}
    counted = np.concatenate([batch.targets[batch.weights == 1] for batch in batches])
    assert sorted(counted.tolist()) == list(range(len(split)))
    assert all((batch.images[batch.weights == 0] == 0).all() for batch in batches)


def test_validation_is_read_without_augmentation():
    for batch in validation_batches(OneByOne(), local_batch=5, rank=0, workers=1):
        assert (batch.images[batch.weights == 1] == -1).all()


def test_batches_have_the_types_that_backends_are_promised():
    (batch,) = global_batches(OneByOne(), 1, 0, 1)
    assert (batch.images.dtype, batch.targets.dtype, batch.weights.dtype) == (np.float32, np.int32, np.float32)


def test_a_batch_larger_than_the_data_is_one_sentence():
    with pytest.raises(
        DataError, match=r"^global_batch: 64 is more than the 37 training examples; lower .* at most 37"
    ):
        TrainBatches(dataset(Numbers()), global_batch=64, rank=0, workers=2, seed=0)
    assert steps_per_epoch(37, 37) == 1


def test_a_batch_that_cannot_be_divided_is_one_sentence():
    with pytest.raises(DataError, match="global_batch: 8 cannot be divided over 3 workers; choose a multiple of 3"):
        TrainBatches(dataset(Numbers()), global_batch=8, rank=0, workers=3, seed=0)


def test_fingerprints_tell_order_images_and_targets_apart_and_leave_padding_out():
    images, labels = np.arange(3, dtype=np.float32).reshape(3, 1, 1, 1), np.arange(3, dtype=np.int32)
    whole, ones = Batch(images, labels, np.ones(3, np.float32)), np.ones(3, np.float32)
    others = [
        Batch(images[::-1], labels[::-1], ones),
        Batch(images, labels[::-1].copy(), ones),
        Batch(images[::-1].copy(), labels, ones),
        Batch(images, labels, np.array([1, 1, 0], np.float32)),
    ]
    assert len({batch_fingerprint(batch, 0) for batch in (whole, *others)}) == 5
    assert batch_fingerprint(whole, 0) != batch_fingerprint(whole, 1)
    padded = Batch(np.full_like(images, 9)[:1], labels[:1], np.zeros(1, np.float32))
    assert batch_fingerprint(padded, 3) == 0
    parts = [batch_fingerprint(Batch(images[r : r + 1], labels[r : r + 1], ones[:1]), r) for r in range(3)]
    assert sum(parts) % FINGERPRINTS == batch_fingerprint(whole, 0)
