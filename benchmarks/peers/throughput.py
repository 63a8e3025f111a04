"""How many images a second a folder's pipeline can deliver alone, when nothing trains: `python -m
benchmarks.peers.throughput`.

A run whose training is faster than the last line waits for its data.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from benchmarks.data import open_dataset
from benchmarks.data.dataset import Dataset
from benchmarks.data.pipeline import TrainBatches
from benchmarks.data.prefetch import decoding_processes
from horovod_runner.config.settings import DataConfig
from horovod_runner.errors import EXIT_USER_ERROR, USER_ERRORS
from horovod_runner.machine.terminal import alone, err, tell

WARM_UP_BATCHES = 4


def images_per_second(dataset: Dataset, batch: int, processes: int, seconds: float) -> float:
    """Return the delivery rate of training batches, all examples over all time, once every process is at work."""
    with TrainBatches(dataset, global_batch=batch, rank=0, workers=1, seed=0, processes=processes) as batches:
        ahead = batches.iterate(0, sys.maxsize)
        for _ in range(WARM_UP_BATCHES * max(1, processes)):
            next(ahead)
        images, begin = 0, time.perf_counter()
        while time.perf_counter() - begin < seconds:
            images += len(next(ahead))
        return images / (time.perf_counter() - begin)


def open_folder(path: Path, image_size: int) -> Dataset:
    """Open a folder of images with masks if it holds train/masks, and one of classes otherwise."""
    task, name = "classification", "image_folder"
    if (path / "train" / "masks").is_dir():
        task, name = "segmentation", "mask_folder"
    data = DataConfig.model_validate({"name": name, "path": str(path), "image_size": image_size, "channels": 3})
    return open_dataset(data, task, 0)


def main(arguments: list[str] | None = None) -> int:
    """Measure one process and all cores; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.throughput", description=__doc__)
    parser.add_argument("path", type=Path, help="a folder with train/ and val/")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--processes", type=int, nargs="*", help="how many to try; default: 0, 1 and one a core")
    options = parser.parse_args(arguments)
    try:
        dataset = open_folder(options.path, options.image_size)
        for processes in options.processes or sorted({0, 1, decoding_processes(1)}):
            rate = images_per_second(dataset, options.batch, processes, options.seconds)
            tell(f"{processes} processes: {rate:.0f} images per second")
    except USER_ERRORS as error:
        print(f"throughput: {error}", file=err())
        return EXIT_USER_ERROR
    return 0


if __name__ == "__main__":
    sys.exit(alone(main))
