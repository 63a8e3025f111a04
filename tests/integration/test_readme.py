"""Every command of the front page and of the rooms' pages is run, made small: by more options, and fewer ranks.

They are how the suite is used, so what holds for every run that a user starts is looked at here.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from horovod_runner.results.record import RunResult, StepRecord
from tests.conftest import ROOT, plain_environment, run

ROOMS = [f"horovod_runner/{room}" for room in ("allreduce", "analysis", "collectives", "launch", "parity", "results")]
ROOMS += ["horovod_runner/training", "horovod_runner/tuning", "benchmarks", "benchmarks/data", "benchmarks/experiments"]
PAGES = [ROOT / "README.md", *(ROOT / room / "README.md" for room in ROOMS)]
COMMANDS = list(
    dict.fromkeys(
        line
        for page in PAGES
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)
        for line in block.splitlines()
    )
)
SMALL = "--set width=4 --set threads=1"
WITHOUT_RUNS = {"plan", "submit", "compare", "report", "doctor", "parity", "allreduce", "predict"}
THIS_TEST = "make test"  # the command that is running
# test_tune.py runs `tune`; notebooks are executed by the tests of theirs, and JupyterLab would be installed.
ELSEWHERE = [THIS_TEST, *(command for command in COMMANDS if " tune " in command or "make notebooks" in command)]
STARTS_RANKS = re.compile(r"horovodrun|mpirun|srun|--workers|allreduce|horovod-runner run|make bench$")
WITH_RANKS = [command for command in COMMANDS if STARTS_RANKS.search(command) and command not in ELSEWHERE]
ALONE = [command for command in COMMANDS if command not in [*WITH_RANKS, *ELSEWHERE]]
SAID = {
    "doctor": ["torch", "tensorflow", "Horovod", "mpi", "gloo", "cores", "memory", "disk"],
    "parity": ["unet", "loss of 20 steps", "all 3 rows pass"],
    "allreduce": ["mpi4py", "allreduce.json"],
}


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
        return [*words, "WORKLOAD=unet", f"RESULTS={results}", "ARGS=--smoke"]
    if "make" in words:
        length = [] if "EPOCHS" in command or "STEPS" in command else ["STEPS=4"]
        few = " --set data.examples=32" if "unet" in command else ""
        whole = ["GLOBAL_BATCH=8", "IMAGE_SIZE=16"] if "bench-tf" in command else []
        return [*words, *length, *whole, "SEED=3", f"RESULTS={results}", f"ARGS={SMALL}{few}"]
    if "parity" in words:
        return [*words, *([] if "--workload" in words else ["--workload", "unet", "--optimizer", "sgd"])]
    if "allreduce" in words:  # test_allreduce_verb.py goes by every algorithm
        few = ["--through", "mpi4py", "--sizes", "4", "4096", "--models", "--iterations", "3"]
        return [*words, *few, "--results", str(results)]
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
@pytest.mark.parametrize("command", WITH_RANKS)
def test_command_that_starts_ranks(command: str, tmp_path: Path, imagenet: Path) -> None:
    require_done(command, tmp_path / "r", imagenet)


@pytest.mark.parametrize("command", ALONE)
def test_command(command: str, tmp_path: Path, imagenet: Path) -> None:
    require_done(command, tmp_path / "r", imagenet)


def require_done(command: str, results: Path, imagenet: Path) -> None:
    """Run a command; it has to say and leave what a user expects of it."""
    done = run(made_small(command, results, imagenet), results, env=plain_environment(), timeout=400)
    assert done.code == 0, done.out + done.err
    assert done.err == "" or "horovodrun" in command or "mpirun" in command, "no library is heard"
    assert all(word in done.out for verb, words in SAID.items() if verb in command for word in words), done.out
    if command == "make bench" or "report" in command:
        assert done.out.strip().splitlines()[-1].endswith("report.html")
    if WITHOUT_RUNS & set(command.split()) or "throughput" in command:
        return
    ended = [folder.read_result() for folder in done.folders]
    assert ended and all(result.status == "completed" and result.timeline is None for result in ended)
    assert not any(folder.timeline_file.exists() for folder in done.folders)
    if command == "make bench":
        asked = {(framework, workers) for framework in ("tensorflow", "torch") for workers in (1, 2)}
        assert {(result.framework, result.workers) for result in ended} == asked
    elif "strong.yaml" in command:  # without a reduction
        assert all(len(f.read_steps()[0].worker_seconds) == f.read_config().workers for f in done.folders)
        assert {result.workers for result in ended} >= {1, 2} and all(result.images_per_second for result in ended)
    elif "horovod-runner run" not in command:
        (result,) = ended
        require_as_asked(command, result)
        require_one_voice(done.out + done.err)


def require_as_asked(command: str, result: RunResult) -> None:
    """Settings reach the run by make's variables, by options and by the launcher."""
    workers = 2 if STARTS_RANKS.search(command) else 1
    framework = "tensorflow" if re.search("bench-tf|tensorflow", command) else "torch"
    assert (result.workers, result.framework) == (workers, framework)
    assert result.workload == ("unet" if "unet" in command else "resnet50")
    for pattern, found in (
        (r"(?:STEPS=|--steps )(\d+)", result.steps),
        (r"(?:EPOCHS=|--epochs )(\d+)", result.epochs),
        (r"LOCAL_BATCH=(8)", result.local_batch),
    ):
        assert all(int(asked) == found for asked in re.findall(pattern, command)), command
    if "make" in command:
        assert result.seed == 3
    if "bench-tf" in command:
        assert (result.global_batch, result.local_batch) == (8, 4)


def require_one_voice(said: str) -> None:
    """Rank 0 alone talks, and make not at all."""
    assert said.count("completed: ") == 1 and "make:" not in said and "make[" not in said, said


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_a_page_links_to_what_exists(page: Path) -> None:
    for link in re.findall(r"\]\(((?!https?:)[^)]+)\)", page.read_text()):
        path, _, heading = link.partition("#")
        assert (page.parent / path).exists(), link
        linked = page.parent / path if path else page
        assert not heading or heading in headings(linked if linked.is_file() else linked / "README.md"), link


def test_the_front_page_is_short_and_leads_to_every_room_that_has_a_page() -> None:
    text = (ROOT / "README.md").read_text()
    assert THIS_TEST in COMMANDS and len(text.splitlines()) <= 200
    assert all(f"]({page.relative_to(ROOT)})" in text for page in PAGES[1:])


def headings(file: Path) -> list[str]:
    """Return the names by which a document's headings can be linked to."""
    lines = [line for line in file.read_text().splitlines() if line.startswith("#")]
    return [line.strip("# ?").lower().replace(" ", "-") for line in lines]


def test_every_field_of_a_result_has_its_line() -> None:
    text = (ROOT / "horovod_runner" / "results" / "README.md").read_text()
    for name in [*RunResult.model_fields, *StepRecord.model_fields]:
        assert f"`{'schema' if name == 'schema_version' else name}`" in text, name
