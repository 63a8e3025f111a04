"""Every way in which a run can end early: killed and continued, diverged, refused. Nothing is lost, one sentence says
why."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from horovod_runner.cli import main
from horovod_runner.results.store import RunFolder
from tests.conftest import ROOT, bench, bench_argv, losses, plain_environment, program, run, workers_of

OPTIONS = ["--workers", "2", "--epochs", "5", "--set", "data.examples=160", "--set", "checkpoint.every=10"]


def kill_a_rank(process: subprocess.Popen[bytes]) -> None:
    workers_of(process)[-1].kill()


def kill_all(process: subprocess.Popen[bytes]) -> None:
    for rank in workers_of(process):
        rank.kill()


def kill_the_launcher(process: subprocess.Popen[bytes]) -> None:
    children = psutil.Process(process.pid).children(recursive=True)
    next(p for p in children if p.cmdline()[0].endswith("mpirun")).kill()


def kill_the_parent(process: subprocess.Popen[bytes]) -> None:
    process.kill()


def start_and_kill(argv: list[str], results: Path, kill: Callable[[subprocess.Popen[bytes]], None]) -> RunFolder:
    """Kill a run once it has saved a state and gone on from there; return its folder when all ranks are gone."""
    before = saved_states(results)
    process = subprocess.Popen(
        argv, cwd=ROOT, env=plain_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not saved_states(results) - before:
        assert process.poll() is None and time.monotonic() < deadline, "the run ended before it was killed"
        time.sleep(0.02)
    time.sleep(0.1)
    ranks = workers_of(process)
    assert len(ranks) == 2
    kill(process)
    assert process.wait(60) not in (0, 2)
    _, alive = psutil.wait_procs(ranks, timeout=60)
    assert not alive, f"ranks outlived {kill.__name__}"
    folder = RunFolder(next(results.glob("*/*/config.json")).parent)
    assert not folder.done
    return folder


def saved_states(results: Path) -> set[str]:
    """Return the names of all states that are saved whole."""
    return {file.name for file in results.glob("*/*/checkpoints/*.json")}


@pytest.mark.usefixtures("real_ranks")
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_curve(results: Path) -> None:
    """By a rank, all ranks, the launcher and whoever called it; and a state that was cut short is named and kept."""
    undisturbed = bench("torch", "unet", results / "undisturbed", *OPTIONS)
    assert undisturbed.code == 0, undisturbed.err
    killed = results / "killed"
    argv = bench_argv("torch", "unet", killed, *OPTIONS)
    for kill in (kill_a_rank, kill_the_launcher, kill_the_parent, kill_all):
        folder = start_and_kill(argv, killed, kill)
    # The newest complete one: the kill may have come between a state's arrays and its description.
    newest = sorted(folder.checkpoints.glob("*.json"))[-1].with_suffix(".safetensors")
    newest.write_bytes(newest.read_bytes()[:-100])
    refused = run(argv, killed)
    assert refused.code == 2 and newest.name in refused.err and "cut short" in refused.err
    newest.unlink()
    newest.with_suffix(".json").unlink()
    done = run(argv, killed)
    assert done.code == 0, "the remedy that the sentence gave works"
    assert "going on after step" in done.out
    assert losses(done.folder) == losses(undisturbed.folder), "bit for bit: two workers' sums have one order"


@pytest.mark.usefixtures("real_ranks")
def test_tensorflow_goes_on_too(results: Path) -> None:
    """That it ends with the same curve is shown where runs are resumed that are not killed."""
    argv = bench_argv("tensorflow", "unet", results, *OPTIONS)
    start_and_kill(argv, results, kill_a_rank)
    done = run(argv, results)
    assert done.code == 0 and "going on after step" in done.out, done.err
    result = done.folder.read_result()
    assert [step.step for step in done.folder.read_steps()] == list(range(1, result.steps + 1))


@pytest.mark.parametrize("framework", ["tensorflow", "torch"])
def test_a_loss_that_is_no_number_is_kept_as_a_result(framework: str, results: Path) -> None:
    explosion = ["name=sgd", "learning_rate=1e6", "weight_decay=1e3"]  # each step multiplies the weights by -1e9
    settings = [word for setting in explosion for word in ("--set", f"optimizer.{setting}")]
    done = bench(framework, "unet", results, "--steps", "30", *settings)
    assert done.code == 3, done.err
    result = done.folder.read_result()
    assert result.status == "diverged" and "step" in (result.error or "")
    assert result.steps < 30


@pytest.mark.usefixtures("real_ranks")
def test_ranks_that_disagree_are_told_about_what(results: Path) -> None:
    mpirun = [program("mpirun"), "--allow-run-as-root", "--oversubscribe", "--bind-to", "none"]
    one = bench_argv("torch", "unet", results, "--steps", "4", "--seed", "0")
    other = bench_argv("torch", "unet", results, "--steps", "4", "--seed", "1")
    prefix = str(Path(program("mpirun")).parent.parent)
    done = run([*mpirun, "-np", "1", *one, ":", "-np", "1", *other], results, env=plain_environment(OPAL_PREFIX=prefix))
    assert done.code == 2, done.err
    assert done.err.count("horovod-runner:") == 1 and "the workers disagree about seed" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--workload", "alexnet"], "there is no 'alexnet'"),
        (["--framework", "jax"], "framework"),
        (["--data", "no/such/folder"], "no/such/folder"),
        (["--epochs", "0"], "epochs"),
        (["--epochs", "x"], "epochs"),
        (["--epochs", "1", "--steps", "1"], "not allowed with"),
        (["--workers", "many"], "workers"),
        (["--seed", "-1"], "seed"),
        (["--local-batch", "99999999999"], "local_batch"),
        (["--local-batch", "5000"], "the global batch of 5000"),
        (["--set", "optimizer.name=rmsprop"], "optimizer.name"),
        (["--set", "nonsense"], "path=value"),
        (["--results", "/proc/nowhere"], "--results"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_2(
    options: list[str], words: str, results: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """In this process: what the program does with the code and the sentence is seen in test_missing.py."""
    code = main(bench_argv("torch", "resnet50", results, *options)[3:])
    told = capfd.readouterr().err
    assert code == 2, told
    assert words in told and "Traceback" not in told
    assert len(told.strip().splitlines()) == 1, told
    assert not results.exists() or not list(results.iterdir()), "a refused run leaves no folder"


@pytest.mark.usefixtures("real_ranks")
def test_what_two_workers_refuse_leaves_no_folder(tmp_path: Path, results: Path) -> None:
    (tmp_path / "images").mkdir()
    data = str(tmp_path / "images")
    done = run(bench_argv("torch", "resnet50", results, "--workers", "2", "--data", data), results)
    assert done.code == 2 and done.err.count("has no folder train/") == 1, done.err
    assert not list(results.glob("*/*"))


@pytest.mark.usefixtures("real_ranks")
def test_a_launcher_and_a_number_of_workers_that_contradict_each_other(results: Path) -> None:
    argv = [program("horovodrun"), "--gloo", "-np", "2", *bench_argv("torch", "unet", results, "--workers", "3")]
    done = run(argv, results)
    assert done.code != 0 and (done.out + done.err).count("leave --workers out") == 1


@pytest.mark.usefixtures("real_ranks")
def test_interrupting_leaves_no_rank_behind(results: Path) -> None:
    process = subprocess.Popen(
        bench_argv("torch", "unet", results, *OPTIONS),
        cwd=ROOT,
        env=plain_environment(),
        stderr=subprocess.PIPE,
        # Shells without job control have their background commands ignore Ctrl-C, and what they start inherits that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not list(results.glob("*/*/steps.jsonl")):
        time.sleep(0.1)
    ranks = workers_of(process)
    os.kill(process.pid, signal.SIGINT)
    process.wait(60)
    _, alive = psutil.wait_procs(ranks, timeout=30)
    assert not alive and process.returncode == 130
