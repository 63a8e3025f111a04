"""What a user of `bench` sees, held to the last character: our own lines, and nothing from any library or launcher."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Done, bench, bench_argv, plain_environment, program, run

pytestmark = pytest.mark.usefixtures("real_ranks")

FRAMEWORKS = ("tensorflow", "torch")
LINES = [
    r"resnet50 in (tensorflow|torch): 4 steps of (8|16) images on (1 worker|2 workers), 1 thread each, float32",
    r"note: the model is validated after 4 steps, and batch normalisation's running statistics lag behind .*",
    r"epoch +1  step +\d  loss +\d+\.\d+  validation loss +\d+\.\d+  top1 [01]\.\d+",
    r"completed: (no step was timed|\d+\.\d images/s( \[-?\d+\.\d, \d+\.\d\])?)"
    r", has not learned \(top1 [01]\.\d+, the trivial predictor [01]\.\d+\), \S+/result\.json",
]
TAG = re.compile(r"^\[\d+(?:,\d+)?\]<std(?:out|err)>: ?", re.MULTILINE)


def assert_only_ours(done: Done) -> None:
    """Fail unless each line that was printed is one of ours, in their order."""
    assert done.code == 0, done.out + done.err
    said = [line for line in TAG.sub("", done.out + done.err).splitlines() if line]
    assert len(said) == len(LINES), said
    for line, pattern in zip(said, LINES, strict=True):
        assert re.fullmatch(pattern, line), said


@pytest.fixture
def odd_images(tmp_path: Path) -> Path:
    """Two classes of images about which Pillow has something to say: palettes with bytes of alpha, and a huge one."""
    noise = np.random.default_rng(0)
    for split, count in (("train", 16), ("val", 4)):
        for name in ("cat", "dog"):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                image = Image.fromarray(noise.integers(0, 255, (32, 32), np.uint8)).convert("P")
                image.save(folder / f"{index}.png", transparency=bytes(range(256)))
    huge = Image.fromarray(np.zeros((9500, 9500), np.uint8))  # 90 million pixels: Pillow warns of a bomb from 89
    huge.save(tmp_path / "images" / "train" / "cat" / "0.png")
    return tmp_path / "images"


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_bench_prints_what_we_wrote_and_nothing_else(framework: str, workers: str, results: Path) -> None:
    done = bench(framework, "resnet50", results, "--steps", "4", "--workers", workers)
    assert_only_ours(done)
    assert done.err == "" and done.folder.log_file.read_text().count("completed: ") == 1


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_decoding_processes_and_pillow_are_not_heard(framework: str, odd_images: Path, results: Path) -> None:
    options = ["--steps", "4", "--data", str(odd_images), "--set", "data.processes=2", "--image-size", "32"]
    assert_only_ours(bench(framework, "resnet50", results, *options))


@pytest.mark.parametrize(
    ("framework", "launcher"),
    [
        ("tensorflow", "horovodrun --mpi"),
        ("torch", "horovodrun --gloo"),
        ("tensorflow", "mpirun --oversubscribe"),
        ("torch", "mpirun --oversubscribe"),
    ],
)
def test_ranks_under_a_launcher_are_as_quiet(framework: str, launcher: str, results: Path) -> None:
    name, option = launcher.split()
    root = ["--allow-run-as-root"] if name == "mpirun" and os.geteuid() == 0 else []
    argv = [program(name), option, *root, "-np", "2", *bench_argv(framework, "resnet50", results, "--steps", "4")]
    prefix = str(Path(program("mpirun")).parent.parent)
    assert_only_ours(run(argv, results, env=plain_environment(OPAL_PREFIX=prefix)))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_what_a_library_has_to_say_is_in_the_log(framework: str, results: Path) -> None:
    """Its warnings are asked for by a variable, as somebody does who looks for a mistake."""
    asked = {"TF_CPP_MIN_LOG_LEVEL": "0"} if framework == "tensorflow" else {"TORCH_CPP_LOG_LEVEL": "INFO"}
    argv = bench_argv(framework, "resnet50", results, "--steps", "4", "--workers", "2")
    done = run(argv, results, env=plain_environment(HOROVOD_LOG_LEVEL="trace", **asked))
    assert_only_ours(done)
    assert "horovod/common" in done.folder.log_file.read_text(), "Horovod's trace names its source files"
