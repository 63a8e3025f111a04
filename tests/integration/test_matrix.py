"""A matrix on a machine that fails: runs that hang or are killed, runners that are stopped, two that share the work."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from horovod_runner.results.record import RunResult
from horovod_runner.results.store import Store
from tests.conftest import ROOT, plain_environment, run, workers_of

pytestmark = pytest.mark.usefixtures("real_ranks")

SMALL = {"workload": "unet", "framework": "torch", "width": 4, "data": {"examples": 64}, "local_batch": 4, "threads": 1}
ELSEWHERE = "import socket; socket.gethostname = lambda: 'elsewhere'; from horovod_runner.cli import main; main()"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """An experiment of three runs on two workers, each of a few seconds."""
    base = {**SMALL, "workers": 2, "steps": 60, "checkpoint": {"every": 10}}
    path = tmp_path / "small.yaml"
    path.write_text(json.dumps({"description": "small", "base": base, "axes": {"seed": [0, 1, 2]}}))
    return path


def runner(file: Path, results: Path, *options: str, program: tuple[str, ...] = ("-m", "horovod_runner")) -> list[str]:
    return [sys.executable, *program, "run", str(file), "--results", str(results), *options]


def start(argv: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        argv, cwd=ROOT, env=plain_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_for(there: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not there():
        assert process.poll() is None and time.monotonic() < deadline, "the runner ended before its time"
        time.sleep(0.05)


def wait_for_state(process: subprocess.Popen[str], results: Path) -> list[psutil.Process]:
    """Return the ranks of the run in flight once it has saved a state."""
    before = saved_states(results)
    wait_for(lambda: bool(saved_states(results) - before), process)
    ranks = workers_of(process)
    assert len(ranks) == 2
    return ranks


def saved_states(results: Path) -> set[Path]:
    return set(results.glob("*/*/checkpoints/*.json"))


def runs_with_a_state_only(results: Path) -> set[Path]:
    done = {path.parent for path in results.glob("*/*/result.json")}
    return {path.parent.parent for path in saved_states(results)} - done


def ended(results: Path) -> list[RunResult]:
    return [folder.read_result() for folder in Store(results).finished()]


def require_whole(results: Path) -> None:
    """Every run once, completed, with every step once."""
    folders = list(Store(results).finished())
    assert [folder.read_result().status for folder in folders] == ["completed"] * 3
    assert sorted(folder.read_result().seed for folder in folders) == [0, 1, 2]
    for folder in folders:
        assert [step.step for step in folder.read_steps()] == list(range(1, 61))


def test_a_run_that_hangs_or_loses_a_rank_costs_itself_alone(file: Path, results: Path, tmp_path: Path) -> None:
    machine = tmp_path / "machine.yaml"
    machine.write_text("silence_minutes: 0.5")
    process = start(runner(file, results, "--machine", str(machine)))
    wait_for_state(process, results)[1].send_signal(signal.SIGSTOP)
    wait_for(lambda: bool(ended(results)), process)
    wait_for_state(process, results)[1].kill()
    out, _ = process.communicate(timeout=200)
    assert process.returncode == 1
    assert "timeout: it showed no progress for 0.5 minutes (silence_minutes of the machine file)" in out
    assert sorted(result.status for result in ended(results)) == ["completed", "failed", "timeout"]
    (failed,) = [result for result in ended(results) if result.status == "failed"]
    assert failed.error and failed.log_tail and f"failed: {failed.error}" in out
    assert "\n    " + failed.log_tail[-1] in out, "the tail of the log is shown"
    (standing,) = [folder for folder in Store(results).finished() if folder.done]
    moment = standing.result_file.stat().st_mtime_ns
    assert run(runner(file, results), results).code == 0, "both go on from their last states"
    require_whole(results)
    assert standing.result_file.stat().st_mtime_ns == moment


def test_a_runner_that_is_ended_leaves_no_rank_and_goes_on(file: Path, results: Path) -> None:
    cut_off = 0  # a run can end by itself between its state and the signal; then the next one was met before its first
    for end in (signal.SIGTERM, signal.SIGKILL):
        process = start(runner(file, results))
        ranks = wait_for_state(process, results)
        process.send_signal(end)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == (130 if end == signal.SIGTERM else -signal.SIGKILL)
        assert end == signal.SIGKILL or "the same command goes on from here" in out
        _, alive = psutil.wait_procs(ranks, timeout=30)
        assert not alive, end
        cut_off += len(runs_with_a_state_only(results))
    again = run(runner(file, results), results)
    assert again.code == 0, again.out + again.err
    require_whole(results)
    logs = "".join(folder.log_file.read_text() for folder in Store(results).finished())
    assert cut_off and logs.count("going on after step") == cut_off


def test_a_second_runner_here_is_refused_and_one_elsewhere_shares(file: Path, results: Path) -> None:
    first = start(runner(file, results))
    wait_for_state(first, results)
    refused = run(runner(file, results), results)
    assert refused.code == 2 and "another runner on this machine" in refused.err and "Traceback" not in refused.err
    second = start(runner(file, results, program=("-c", ELSEWHERE)))
    said = [process.communicate(timeout=200)[0] for process in (first, second)]
    assert first.returncode == 0 and second.returncode == 0, said
    require_whole(results)
    for folder in Store(results).finished():
        log = folder.log_file.read_text()
        assert log.count("completed: ") == 1 and "going on" not in log, "each run was done by one of them, once"
