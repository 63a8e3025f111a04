"""Decoding processes: the same batches whatever their number, made ahead, and gone when they should be."""

import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from PIL import Image

from benchmarks.data import open_dataset, prefetch
from benchmarks.data.dataset import BrokenExample, Dataset
from benchmarks.data.pipeline import TrainBatches, validation_batches
from benchmarks.data.prefetch import decoding_processes
from benchmarks.errors import DataError
from benchmarks.peers import throughput
from horovod_runner.config.settings import DataConfig
from tests.unit.benchmarks.data.digests import example_digests

IMAGES = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    for number in range(IMAGES):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        for split in ("train", "val"):
            path = root / split / f"class{number % 2}" / f"{number:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return root


def opened(folder) -> Dataset:
    config = DataConfig(name="image_folder", path=str(folder), image_size=16, channels=3)
    return open_dataset(config, "classification", 0)


def batches(dataset, processes, **settings) -> TrainBatches:
    settings = {"global_batch": 4, "rank": 0, "workers": 1, "seed": 1, **settings}
    return TrainBatches(dataset, processes=processes, **settings)


def digests(pipeline, start=0, stop=7) -> list[list[str]]:
    with pipeline:
        return [example_digests(batch) for batch in pipeline.iterate(start, stop)]


def decoders() -> list[psutil.Process]:
    """Return the decoding processes of this one; Python's own resource tracker stays for good."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def wait_until(condition, seconds=120.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


class Noted:
    """A file source that leaves a file for every example it has read."""

    example_bytes = 100

    def __init__(self, folder) -> None:
        self.folder = folder

    def __len__(self) -> int:
        return 64

    def read(self, index, rng):
        (self.folder / str(index)).touch()
        return np.zeros((1, 1, 1), np.float32), np.int32(index)


class Fatal(Noted):
    """A file source that kills the process that reads it."""

    def read(self, index, rng):
        os.kill(os.getpid(), signal.SIGKILL)


def test_batches_do_not_depend_on_the_number_of_processes_or_workers(folder, monkeypatch):
    dataset = opened(folder)
    alone = digests(batches(dataset, 0))
    assert digests(batches(dataset, 2)) == alone
    shards = [digests(batches(dataset, 0, rank=rank, workers=2)) for rank in range(2)]
    assert [a + b for a, b in zip(*shards, strict=True)] == alone
    monkeypatch.setattr(prefetch, "_smallest_shared", lambda needed: prefetch.NEVER)
    assert digests(batches(dataset, 3), start=2) == alone[2:]


@pytest.mark.parametrize("processes", [0, 1])
def test_validation_reads_every_file_once(folder, processes):
    validation = opened(folder).validation
    labels = []
    for batch in validation_batches(validation, local_batch=5, rank=0, workers=1, processes=processes):
        labels.extend(batch.targets[batch.weights == 1])
    assert np.bincount(labels).tolist() == [IMAGES // 2] * 2
    assert not decoders()


@pytest.mark.parametrize("processes", [0, 1])
def test_batches_are_made_while_the_last_one_is_in_use(processes, tmp_path):
    split = Noted(tmp_path)
    dataset = Dataset(split, split, classes=64, channels=1, image_size=1)
    with batches(dataset, processes) as pipeline:
        next(pipeline.iterate(0, 3))
        assert wait_until(lambda: len(list(tmp_path.iterdir())) >= 8), "the next four have not been asked for"


def test_processes_and_threads_are_gone_after_close_and_when_the_pipeline_is_dropped(folder):
    """Grain keeps four idle threads once and for all, to free shared memory; nothing may be added to those."""
    digests(batches(opened(folder), 1))
    before = set(threading.enumerate())
    pipeline = batches(opened(folder), 2)
    kept = next(pipeline.iterate(0, 9))
    assert len(decoders()) == 2
    pipeline.close()
    assert not decoders()
    assert kept.images.shape == (4, 16, 16, 3)
    assert np.isfinite(kept.images).all()
    next(pipeline.iterate(3, 9))
    del pipeline
    assert wait_until(lambda: not decoders())
    assert wait_until(lambda: set(threading.enumerate()) <= before)


def test_processes_go_on_from_epoch_to_epoch(folder):
    with batches(opened(folder), 1) as pipeline:
        list(pipeline.iterate(0, 2))
        first = {process.pid for process in decoders()}
        list(pipeline.iterate(2, 5))
        assert {process.pid for process in decoders()} == first


@pytest.fixture
def consumer(folder):
    """A program that reads one batch, says so, waits for so many seconds, and ends without closing anything."""
    code = (
        "import sys, time\n"
        "from benchmarks.data import open_dataset\n"
        "from benchmarks.data.pipeline import TrainBatches\n"
        "from horovod_runner.config.settings import DataConfig\n"
        "if __name__ == '__main__':\n"
        "    data = DataConfig(name='image_folder', path=sys.argv[1], image_size=16, channels=3)\n"
        "    dataset = open_dataset(data, 'classification', 0)\n"
        "    p = TrainBatches(dataset, global_batch=4, rank=0, workers=1, seed=0, processes=2)\n"
        "    it = p.iterate(0, 99)\n"
        "    next(it)\n"
        "    print('ready', bool({'torch', 'tensorflow'} & set(sys.modules)), flush=True)\n"
        "    time.sleep(float(sys.argv[2]))\n"
    )
    script = folder / "consumer.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}

    def start(seconds):
        command = [sys.executable, str(script), str(folder), str(seconds)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(command, env=environment, **pipes)
        assert process.stdout.readline() == "ready False\n"
        return process, psutil.Process(process.pid).children(recursive=True)

    return start


def test_processes_end_when_their_consumer_is_killed(consumer):
    process, children = consumer(60)
    process.kill()
    _, chatter = process.communicate()
    assert len(children) >= 2
    assert wait_until(lambda: not any(child.is_running() for child in children))
    assert "jax" not in chatter


def test_a_consumer_that_ends_without_closing_leaves_nothing_and_says_nothing(consumer):
    process, children = consumer(0.5)
    _, chatter = process.communicate(timeout=240)
    assert process.returncode == 0
    assert chatter == ""
    assert wait_until(lambda: not any(child.is_running() for child in children))


@pytest.fixture
def broken(folder, tmp_path):
    """The folder with one training image of class1 cut short."""
    for path in folder.rglob("*.png"):
        target = tmp_path / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    victim = tmp_path / "train/class1/03.png"
    victim.write_bytes(victim.read_bytes()[:200])
    return victim


@pytest.mark.parametrize("processes", [0, 2])
def test_a_broken_image_stops_with_its_name(broken, processes):
    with pytest.raises(BrokenExample, match=r"train/class1/03.png cannot be read: .*set data.broken to skip"):
        digests(batches(opened(broken.parents[2]), processes))
    assert not decoders()


@pytest.mark.parametrize("processes", [0, 2])
def test_a_broken_image_can_be_skipped_and_is_told(broken, processes):
    told = []
    with batches(opened(broken.parents[2]), processes, broken="skip", on_broken=told.append) as pipeline:
        epoch = list(pipeline.iterate(0, 3))
        assert len(told) == 1
        list(pipeline.iterate(3, 6))
    assert [str(broken) in problem for problem in told] == [True, True]
    assert {batch.images.shape for batch in epoch} == {(4, 16, 16, 3)}
    assert sum(batch.weights.sum() for batch in epoch) == IMAGES - 1
    assert all((batch.images[batch.weights == 0] == 0).all() for batch in epoch)


def test_a_broken_validation_image_can_be_skipped_and_is_told(broken):
    dataset, told = opened(broken.parents[2]), []
    settings = {"local_batch": 5, "rank": 0, "workers": 1, "processes": 0}
    counted = validation_batches(dataset.train, **settings, broken="skip", on_broken=told.append)
    assert sum(batch.weights.sum() for batch in counted) == IMAGES - 1
    assert len(told) == 1
    with pytest.raises(BrokenExample):
        list(validation_batches(dataset.train, **settings))


def test_order_stays_where_an_image_is_broken(broken, folder):
    """The same rows as of the sound folder, but for the blank one."""
    rows = {}
    for root in (folder, broken.parents[2]):
        with batches(opened(root), 0, broken="skip") as pipeline:
            rows[root] = np.concatenate([batch.images for batch in pipeline.iterate(0, 3)])
    sound, short = rows.values()
    blank = ~short.any(axis=(1, 2, 3))
    assert blank.sum() == 1
    assert np.array_equal(short[~blank], sound[~blank])


def test_a_batch_that_is_all_broken_is_blank_among_others_and_an_end_alone(broken):
    """Even where the folder's first images, which give a blank row its shape, are broken as well."""
    for path in sorted(broken.parents[1].rglob("*.png"))[:11]:
        path.write_bytes(b"broken")
    dataset = opened(broken.parents[2])
    for rank in range(12):
        with batches(dataset, 0, broken="skip", global_batch=12, workers=12, rank=rank) as pipeline:
            batch = next(pipeline.iterate(0, 1))
        assert batch.images.shape == (1, 16, 16, 3)
    with pytest.raises(DataError, match=r"not one image of a batch of 1 could be read, .* raise the batch"):
        digests(batches(dataset, 0, broken="skip", global_batch=1))


def test_a_folder_that_vanished_is_not_skipped_image_by_image(broken):
    dataset = opened(broken.parents[2])
    for path in broken.parents[1].rglob("*.png"):
        path.unlink()
    with pytest.raises(DataError, match="not one of 12 images could be read"):
        digests(batches(dataset, 0, broken="skip"))


def test_a_killed_decoding_process_ends_in_one_sentence(tmp_path):
    split = Fatal(tmp_path)
    dataset = Dataset(split, split, classes=64, channels=1, image_size=1)
    with pytest.raises(DataError, match=r"data.processes: a decoding process was killed"):
        digests(batches(dataset, 1))
    assert not decoders()


def test_workers_share_the_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    assert [decoding_processes(workers) for workers in (1, 2, 3, 8, 100)] == [8, 4, 2, 1, 1]


def test_little_shared_memory_is_left_alone(monkeypatch):
    monkeypatch.setattr(prefetch.shutil, "disk_usage", lambda path: SimpleNamespace(free=64 * 2**20))
    assert prefetch._smallest_shared(2**20) == 0
    assert prefetch._smallest_shared(40 * 2**20) == prefetch.NEVER


def test_the_throughput_of_a_folder_is_printed_and_a_bad_folder_is_one_sentence(folder, capsys):
    command = ["--image-size", "16", "--batch", "4", "--seconds", "0.1", "--processes", "0"]
    assert throughput.main([str(folder), *command]) == 0
    assert capsys.readouterr().out.startswith("0 processes: ")
    assert throughput.main([str(folder / "nowhere"), *command]) == 2
    assert "does not exist" in capsys.readouterr().err
