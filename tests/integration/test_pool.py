"""Several runs at once, by a pool of workers: the numbers are those of alone, and a kill loses and leaves nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from horovod_runner.config.machine import Machine
from horovod_runner.config.schema import decode
from horovod_runner.matrix.pool import Pool, State
from horovod_runner.matrix.sharing import needs
from horovod_runner.results.store import Store
from tests.conftest import ROOT, bench, losses, plain_environment, run, workers_of

pytestmark = pytest.mark.usefixtures("real_ranks")

BASE: dict[str, Any] = {
    "workload": "resnet50",
    "width": 8,
    "zero_init_last_gamma": True,
    "data": {"name": "digits", "image_size": 16},
    "local_batch": 8,
    "threads": 1,
    "steps": 40,
    "validate_every": 0,
    "checkpoint": {"every": 5},
}


def written(tmp_path: Path, **axes: list[Any]) -> Path:
    file = tmp_path / "pool.yaml"
    file.write_text(json.dumps({"description": "small", "at_once": 2, "base": BASE, "axes": axes}))
    return file


def argv(file: Path, results: Path) -> list[str]:
    return [sys.executable, "-m", "horovod_runner", "run", str(file), "--results", str(results)]


def start(file: Path, results: Path) -> subprocess.Popen[str]:
    """Start a runner; return it when a run has saved a state."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen(argv(file, results), cwd=ROOT, env=plain_environment(), **pipes)
    deadline = time.monotonic() + 90
    while not list(results.glob("*/*/checkpoints/*.json")):
        assert process.poll() is None and time.monotonic() < deadline, "the runner ended before its time"
        time.sleep(0.02)
    return process


def test_a_killed_worker_costs_one_run_and_all_runs_are_what_they_are_alone(results: Path, tmp_path: Path) -> None:
    file = written(tmp_path, framework=["torch", "tensorflow"], seed=[0, 1, 2])
    process = start(file, results)
    workers = workers_of(process, "pool_worker")
    assert len(workers) == 2
    begun = [str(folder.parent) for folder in results.glob("*/*/checkpoints")]
    next(w for w in workers if any(f.path.startswith(tuple(begun)) for f in w.open_files())).kill()
    out, _ = process.communicate(timeout=120)
    ended = [folder.read_result() for folder in Store(results).finished()]
    assert process.returncode == 1, out
    assert sorted(result.status for result in ended) == ["completed"] * 5 + ["failed"], out
    (failed,) = [result for result in ended if result.status == "failed"]
    assert "ended by SIGKILL" in (failed.error or "") and failed.log_tail and failed.at_once == 2
    again = run(argv(file, results), results)
    assert again.code == 0, again.out + again.err
    folders = again.folders
    assert all(folder.read_result().status == "completed" for folder in folders)
    assert all([step.step for step in folder.read_steps()] == list(range(1, 41)) for folder in folders)
    assert "".join(folder.log_file.read_text() for folder in folders).count("going on after step") == 1
    assert {(folder.read_result().at_once, folder.read_result().images_per_second) for folder in folders} == {(2, None)}
    words = [word for key in ("data", "steps", "validate_every", "checkpoint") for word in _set(key)]
    for framework in ("torch", "tensorflow"):
        alone = bench(framework, "resnet50", results / "alone" / framework, "--seed", "1", *words)
        (beside,) = [f for f in folders if (c := f.read_config()).framework == framework and c.seed == 1]
        assert losses(beside) == losses(alone.folder)


def _set(key: str) -> list[str]:
    value = BASE[key]
    pairs = {f"{key}.{name}": inner for name, inner in value.items()} if isinstance(value, dict) else {key: value}
    return [word for path, inner in pairs.items() for word in ("--set", f"{path}={inner}")]


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_runner_that_is_ended_leaves_no_worker(end: signal.Signals, results: Path, tmp_path: Path) -> None:
    process = start(written(tmp_path, framework=["torch"], seed=[0, 1, 2]), results)
    workers = workers_of(process, "pool_worker")
    process.send_signal(end)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == (130 if end == signal.SIGTERM else -signal.SIGKILL), out
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert workers and not alive
    assert not [folder for folder in Store(results).finished() if folder.read_result().status == "failed"]


def test_a_run_that_shows_no_progress_is_given_up_with_its_process(tmp_path: Path) -> None:
    config = decode({**BASE, "framework": "torch", "steps": 1_000_000, "width": 64}, "test")
    folder = Store(tmp_path).open_run(config)
    with Pool(1, Machine(silence_minutes=0.005)) as pool:  # nobody has imported a framework within 0.3 s
        (worker,) = pool.free
        assert worker.state is State.DEAD
        worker.give(needs(config), folder)
        assert worker.state is State.RUNNING and pool.running == [worker] and not pool.free
        process = psutil.Process().children()[-1]
        while not (told := pool.ended(0.5)):
            assert process.is_running()
        assert not process.is_running() and worker.state is State.DEAD
    ((_, ended),) = told
    assert ended.given_up == "it showed no progress for 0.005 minutes (silence_minutes of the machine file)"
