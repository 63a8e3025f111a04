"""Every command of the README is run, made small: by more options, fewer ranks, and hosts that exist here."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT, plain_environment, run

COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    for line in block.splitlines()
]
SMALL = "--set width=4 --set threads=1"
WITHOUT_RUNS = {"plan", "submit", "compare", "report", "doctor", "parity", "allreduce", "tune"}
THIS_TEST = "make test"  # the command that is running


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in ImageNet's layout: two classes of noise."""
    root = tmp_path_factory.mktemp("imagenet")
    noise = np.random.default_rng(0)
    for split, count in (("train", 40), ("val", 6)):
        for name in ("cat", "dog"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                Image.fromarray(noise.integers(0, 255, (40, 50, 3), np.uint8)).save(folder / f"{index}.jpg")
    return root


def made_small(command: str, results: Path, imagenet: Path) -> list[str]:
    """Return the command with the same program, launcher and verb, and less to do."""
    command = command.replace("-np 16 -H node1:8,node2:8", "-np 2 -H localhost:2")
    command = command.replace("/path/to/imagenet", str(imagenet)).replace("LOCAL_BATCH=32", "LOCAL_BATCH=16")
    # A machine that runs tests has no Slurm: another launcher that starts ranks directly takes its place.
    command = command.replace("srun --mpi=pmix --ntasks 2", ".venv/bin/mpirun --oversubscribe -np 2")
    command = command.replace("$PWD", str(ROOT))
    if "mpirun" in command and os.geteuid() == 0:
        command = command.replace("-np", "--allow-run-as-root -np")
    words = shlex.split(command)
    if "report" in words:  # of a copy: a test leaves the repository as it was
        shutil.copytree(ROOT / "results" / "bench", results / "bench")
        return [*words[:-1], str(results)]
    if "DATA=" in command:
        words.append("IMAGE_SIZE=32")
    if "throughput" in command:
        return [*words, "--seconds", "1", "--image-size", "32"]
    if words[0] == "make" and words[1] == "bench":
        return [*words, f"RESULTS={results}", "ARGS=--smoke"]
    if "make" in words:
        length = [] if "EPOCHS" in command or "STEPS" in command else ["STEPS=4"]
        few = " --set data.examples=32" if "unet" in command else ""
        return [*words, *length, f"RESULTS={results}", f"ARGS={SMALL}{few}"]
    if "parity" in words:
        return [*words, *([] if "--workload" in words else ["--workload", "unet", "--optimizer", "sgd"])]
    if "allreduce" in words:
        return [*words, "--sizes", "4", "4096", "--models", "--iterations", "3", "--results", str(results)]
    if "tune" in words:  # one choice is left: to yield or not
        few = ["width=4", "data.examples=64", "threads=1", "steps=8", "local_batch=4", "allreduce.controller=mpi"]
        few += ["allreduce.cycle_ms=1", "allreduce.fusion_mb=64"]
        few = [word for setting in few for word in ("--set", setting)]
        places = ["--results", str(results), "--machine", str(results.parent / "machine.yaml")]
        return [*words, "--candidates", "fused", "--minutes", "0.2", *places, *few]
    if "bench" in words:
        length = [] if "--epochs" in words or "--steps" in words else ["--steps", "4"]
        few = ["--set", "data.examples=32"] if "unet" in words else []
        return [*words, *length, *shlex.split(SMALL), *few, "--results", str(results)]
    if "submit" in words:
        return [*words, "--out", str(results.parent / "job.sh")]
    if "run" in words:
        smoke = [] if "--smoke" in words else ["--smoke"]
        few = ["framework=torch", *(["workers=1"] if "bench.yaml" in command else ["workload=unet", "strategy=none"])]
        return [*words, *smoke, "--results", str(results), *(word for setting in few for word in ("--set", setting))]
    return words


@pytest.mark.usefixtures("real_ranks")
@pytest.mark.parametrize("command", [c for c in COMMANDS if c != THIS_TEST])
def test_command(command: str, tmp_path: Path, imagenet: Path) -> None:
    done = run(made_small(command, tmp_path / "r", imagenet), tmp_path / "r", env=plain_environment(), timeout=400)
    assert done.code == 0, done.out + done.err
    assert done.err == "" or "horovodrun" in command or "mpirun" in command, "no library is heard"
    if not WITHOUT_RUNS & set(command.split()) and "thr" not in command:
        assert done.folders
        assert all(folder.read_result().status == "completed" for folder in done.folders)
    if command == "make bench" or "report" in command:
        assert done.out.strip().splitlines()[-1].endswith("report.html")


def test_the_readme_shows_what_exists() -> None:
    text = (ROOT / "README.md").read_text()
    assert THIS_TEST in COMMANDS
    headings = ["#" + line.strip("# ?").lower().replace(" ", "-") for line in text.splitlines() if line.startswith("#")]
    for path in re.findall(r"\]\(([^)h][^)]*)\)", text):
        assert path in headings or (ROOT / path).exists(), path


def test_the_readme_names_every_field_of_a_result() -> None:
    from horovod_runner.results.record import RunResult, StepRecord

    text = (ROOT / "README.md").read_text()
    for name in [*RunResult.model_fields, *StepRecord.model_fields]:
        assert f"`{'schema' if name == 'schema_version' else name}`" in text, name
