"""The one pipeline that feeds every framework: the same bytes, in the same order, for any number of workers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Literal, Self

import numpy as np

from benchmarks.data.assemble import TrainItems, ValidationItems
from benchmarks.data.batch import Batch
from benchmarks.data.dataset import Dataset, Split
from benchmarks.data.order import Shard
from benchmarks.data.prefetch import Stream, decoding_processes
from benchmarks.data.progress import Say, unheard

Broken = Literal["stop", "skip"]


class TrainBatches:
    """This worker's training batches by global step; a context manager, and `close` ends all that reads ahead."""

    def __init__(
        self,
        dataset: Dataset,
        *,
        global_batch: int,
        rank: int,
        workers: int,
        seed: int,
        processes: int | None = None,
        broken: Broken = "stop",
        local_workers: int | None = None,
        on_broken: Say = unheard,
        augmented: bool = True,
    ) -> None:
        """Take worker `rank` of `workers`; `local_workers` of them share this machine's cores (None: all of them).

        `processes` decode files (None: the worker's share of the cores; 0: one thread of this process); sources in
        memory need none. With `broken` "skip" an example that cannot be read weighs 0, and `on_broken` is told about it
        when its batch is handed out. Not `augmented`, they look as in evaluation. DataError if the batch is larger than
        the data or cannot be divided.
        """
        self._on_broken = on_broken
        self._split = dataset.train
        self._shard = Shard(len(dataset.train), global_batch, rank, workers, seed)
        self._skip, self._augmented = broken == "skip", augmented
        self._local_workers = local_workers or workers
        self._processes = decoding_processes(self._local_workers) if processes is None else processes
        self._stream: Stream | None = None
        self._next_step = 0

    @property
    def first_row(self) -> int:
        """Where this worker's part begins in a global batch."""
        return self._shard.rank * self._shard.local_batch

    def iterate(self, start_step: int, stop_step: int) -> Iterator[Batch]:
        """Yield the batches of global steps start_step to stop_step - 1, counted from 0 over all epochs.

        Going on where the last call stopped finds batches already made. BrokenExample names an unreadable file.
        """
        for step in range(start_step, stop_step):
            yield self._batch(step)

    def close(self) -> None:
        """End reading ahead and its processes; iterating again would start them anew."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _batch(self, step: int) -> Batch:
        try:
            *arrays, problems = next(self._stream_from(step))
        except BaseException:
            self.close()
            raise
        self._next_step = step + 1
        for problem in problems:
            self._on_broken(problem)
        return _to_batch(*arrays)

    def _stream_from(self, step: int) -> Stream:
        if self._stream is None or step != self._next_step:
            self.close()
            items = TrainItems(self._split, self._shard, step, self._skip, self._augmented)
            self._stream = Stream(items, self._processes, self._local_workers)
        return self._stream


def validation_batches(
    split: Split,
    *,
    local_batch: int,
    rank: int,
    workers: int,
    processes: int | None = None,
    broken: Broken = "stop",
    local_workers: int | None = None,
    on_broken: Say = unheard,
) -> Iterator[Batch]:
    """Yield worker `rank`'s part of every example exactly once, with the evaluation transform.

    All workers get equally many batches of `local_batch` rows; rows that are padding weigh 0. A skipped example weighs
    0 as well, and `on_broken` is told about it. The processes of a file source end with the generator.
    """
    sharing = local_workers or workers
    items = ValidationItems(split, local_batch, rank, workers, broken == "skip")
    stream = Stream(items, decoding_processes(sharing) if processes is None else processes, sharing)
    try:
        for *arrays, problems in stream:
            for problem in problems:
                on_broken(problem)
            yield _to_batch(*arrays)
    finally:
        stream.close()


def _digests(batch: Batch) -> Iterator[bytes | None]:
    """Yield 8 bytes for each row, None for one that does not count."""
    for image, target, weight in zip(batch.images, batch.targets, batch.weights, strict=True):
        yield _digest(image, target) if weight else None


def _digest(image: np.ndarray, target: np.ndarray) -> bytes:
    """Return 8 bytes of SHA-256, which processors compute faster than any other hash of the standard library."""
    whole = hashlib.sha256(np.ascontiguousarray(image).data)
    whole.update(np.ascontiguousarray(target).data)
    return whole.digest()[:8]


FINGERPRINTS = 2**48
"""Marks of batches are numbers below this one, which a float64 holds exactly."""


def batch_fingerprint(batch: Batch, first_row: int) -> int:
    """Return a hash of this worker's rows of a global batch, which begin at `first_row` of it.

    Fingerprints of all workers, added up modulo FINGERPRINTS, are equal exactly for equal global batches: the same
    examples, in the same rows, byte by byte, however many workers there are.
    """
    digests = ((row, d) for row, d in enumerate(_digests(batch), first_row) if d is not None)
    words = (hashlib.blake2b(row.to_bytes(8, "big") + d, digest_size=6).digest() for row, d in digests)
    return sum(int.from_bytes(word, "big") for word in words) % FINGERPRINTS


def _to_batch(images: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> Batch:
    """Wrap arrays as they came: a view keeps shared memory mapped for as long as anything refers to it."""
    return Batch(np.asarray(images), np.asarray(targets), np.asarray(weights))
