"""Batches made ahead of the training that consumes them: Grain's decoding processes for files, nothing at all for
memory.

Grain (Google's data loader; it imports neither TensorFlow nor PyTorch) gives each decoding process every P-th batch and
hands them over in order through shared memory. Its processes are spawned, never forked, so they are safe beside MPI; an
error inside one is raised here, at the batch that it belongs to. What Grain leaves to us is below: processes that end
with their parent however that ends, and machines (containers, mostly) with little shared memory.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.data.assemble import Item, Items
from benchmarks.data.dataset import FileSplit
from benchmarks.errors import DataError

SHARED_MEMORY = Path("/dev/shm")
BATCHES_AHEAD = 4
"""Batches on their way from one decoding process: one being made, one in each of two buffers, one in use."""
NEVER = 2**62


class Stream:
    """Items in order, made ahead of their use where that costs real work; `close` ends every process of it.

    Items from memory are made as they are asked for: they cost microseconds, and a thread would only steal a core.
    """

    def __init__(self, items: Items, processes: int, local_workers: int = 1) -> None:
        """Read `items` with so many processes; 0 reads in this process (with one thread ahead for files)."""
        # Ended also when this object is dropped, or when Python ends: before modules are torn down, unlike __del__.
        self._held = [_open(items, processes, local_workers)]
        self._finalizer = weakref.finalize(self, _end, self._held)

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        try:
            return next(self._held[0])
        except RuntimeError as error:
            if "terminated unexpectedly" not in str(error):
                raise
            raise DataError(
                f"data.processes: a decoding process was killed ({error}); if memory ran out, lower data.processes"
                " or local_batch"
            ) from error

    def close(self) -> None:
        """Stop reading ahead; no process and no thread of this stream stays."""
        self._finalizer()


def decoding_processes(local_workers: int) -> int:
    """Return a worker's share of the cores that this process may use, at least 1."""
    return max(1, len(os.sched_getaffinity(0)) // max(1, local_workers))


def _open(items: Items, processes: int, local_workers: int) -> Any:
    if isinstance(items.split, FileSplit) and len(items):
        return _grain(items, items.split.example_bytes, min(processes, len(items)), local_workers)
    return (items[number] for number in range(len(items)))


def _end(held: list[Any]) -> None:
    """Close what is held, and let go of it, since Grain's own clean-up complains if it comes after its modules' end."""
    while held:
        held.pop().close()


def _grain(items: Items, example_bytes: int, processes: int, local_workers: int) -> Any:
    import grain
    from grain import experimental

    threads = 0 if processes else 1
    read = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    dataset = grain.MapDataset.source(items).to_iter_dataset(read)
    in_flight = (processes * BATCHES_AHEAD + 1) * local_workers
    smallest = _smallest_shared(in_flight * items.local_batch * example_bytes)
    dataset = experimental.WithOptionsIterDataset(dataset, experimental.DatasetOptions(min_shm_size=smallest))
    if processes:
        _hush_tracker()
        options = grain.MultiprocessingOptions(num_workers=processes, per_worker_buffer_size=1)
        dataset = dataset.mp_prefetch(options, worker_init_fn=_obey_parent)
    return iter(dataset)


def _hush_tracker() -> None:
    """Have Python's tracker of shared memory remove what a run that ends early leaves there without a remark.

    It is a process of its own, started with the first array that is shared, and gets its filters when it is.
    """
    quiet = "ignore:resource_tracker:UserWarning"
    if quiet not in sys.warnoptions:
        sys.warnoptions.append(quiet)


def _smallest_shared(needed_bytes: int) -> int:
    """Return the bytes from which an array goes through shared memory: 0, or never where all that is needed may not
    fit.

    Writing to a full /dev/shm kills the writer (SIGBUS), and containers often have only 64 MB of it; pipes are slower
    but have no such limit.
    """
    free = shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else 0
    return 0 if needed_bytes < free / 2 else NEVER


def _obey_parent(process: int, processes: int) -> None:
    """End with the parent, even if that was killed; leave Ctrl-C, which reaches the whole group, to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_after_parent, daemon=True).start()


def _exit_after_parent() -> None:
    from multiprocessing import connection, parent_process

    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
