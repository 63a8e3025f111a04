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
    process = subprocess.Popen(
        argv, cwd=ROOT, env=plain_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not list(results.glob("*/*/checkpoints/*.json")):
        assert process.poll() is None and time.monotonic() < deadline, "the run ended before it was killed"
        time.sleep(0.05)
    time.sleep(0.4)
    ranks = workers_of(process)
    assert len(ranks) == 2
    kill(process)
    assert process.wait(60) not in (0, 2)
    _, alive = psutil.wait_procs(ranks, timeout=60)
    assert not alive, "ranks outlived their launcher"
    folder = RunFolder(next(results.glob("*/*/config.json")).parent)
    assert not folder.done
    return folder


@pytest.fixture(scope="module")
def undisturbed(real_ranks: None, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    done = bench("torch", "unet", tmp_path_factory.mktemp("undisturbed"), *OPTIONS)
    assert done.code == 0, done.err
    return losses(done.folder)


@pytest.mark.parametrize("kill", [kill_a_rank, kill_all, kill_the_launcher, kill_the_parent])
def test_a_killed_run_goes_on_and_ends_with_the_same_curve(
    kill: Callable[[subprocess.Popen[bytes]], None], undisturbed: list[float], results: Path
) -> None:
    argv = bench_argv("torch", "unet", results, *OPTIONS)
    start_and_kill(argv, results, kill)
    done = run(argv, results)
    assert done.code == 0, done.err
    assert "going on after step" in done.out
    assert losses(done.folder) == undisturbed, "bit for bit: two workers' sums do not depend on their order"


@pytest.mark.usefixtures("real_ranks")
def test_tensorflow_goes_on_too(results: Path) -> None:
    reference = bench("tensorflow", "unet", results / "undisturbed", *OPTIONS)
    argv = bench_argv("tensorflow", "unet", results, *OPTIONS)
    start_and_kill(argv, results, kill_a_rank)
    done = run(argv, results / "bench")
    assert done.code == 0 and "going on after step" in done.out, done.err
    assert losses(done.folder) == losses(reference.folder)


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
def test_mistakes_are_one_sentence_and_exit_code_2(options: list[str], words: str, results: Path) -> None:
    argv = bench_argv("torch", "resnet50", results, *options)
    done = run(argv, results)
    assert done.code == 2, done.err
    assert words in done.err and "Traceback" not in done.err
    assert len(done.err.strip().splitlines()) == 1, done.err


@pytest.mark.usefixtures("real_ranks")
def test_a_launcher_and_a_number_of_workers_that_contradict_each_other(results: Path) -> None:
    argv = [program("horovodrun"), "--gloo", "-np", "2", *bench_argv("torch", "unet", results, "--workers", "3")]
    done = run(argv, results)
    assert done.code != 0 and (done.out + done.err).count("leave --workers out") == 1


@pytest.mark.usefixtures("real_ranks")
def test_a_cut_checkpoint_is_named_and_kept(results: Path) -> None:
    argv = bench_argv("torch", "unet", results, *OPTIONS)
    folder = start_and_kill(argv, results, kill_all)
    # The newest complete one: the kill may have come between a state's arrays and its description.
    newest = sorted(folder.checkpoints.glob("*.json"))[-1].with_suffix(".safetensors")
    newest.write_bytes(newest.read_bytes()[:-100])
    done = run(argv, results)
    assert done.code == 2 and newest.name in done.err and "cut short" in done.err
    newest.unlink()
    newest.with_suffix(".json").unlink()
    assert run(argv, results).code == 0, "the remedy that the sentence gave works"


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
