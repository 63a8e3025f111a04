"""Real ranks: Horovod's timeline divides their steps, and a rank that is slowed on purpose is found."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from horovod_runner.analysis.load import tables
from horovod_runner.analysis.load.groups import groups
from horovod_runner.analysis.questions.scaling.causes import find_straggler
from horovod_runner.analysis.report import write as report
from horovod_runner.config.schema import decode
from horovod_runner.results.record import RunResult
from horovod_runner.results.store import Store
from tests.conftest import bench, plain_environment, program, run

pytestmark = pytest.mark.usefixtures("real_ranks")

SMALL: dict[str, Any] = {"workload": "unet", "width": 8, "workers": 2, "local_batch": 4, "threads": 1, "steps": 24}
SMALL |= {"data": {"examples": 64}, "validate_every": 0, "checkpoint": {"every": 0}}


def with_a_slow_rank(framework: str, rank: int, results: Path) -> RunResult:
    """Train on two workers, of which one is busy for 50 ms before each step, and return the result."""
    asked = {"timeline": True, "cache": False}
    config = decode({**SMALL, "framework": framework, "allreduce": asked}, "the test")
    folder = Store(results).open_run(config)
    mpirun = [program("mpirun"), "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-np", "2"]
    worker = [sys.executable, "-m", "tests.integration.slowed_worker", str(folder.path), str(rank), "0.05"]
    prefix = str(Path(program("mpirun")).parent.parent)
    done = run([*mpirun, *worker], results, env=plain_environment(OPAL_PREFIX=prefix))
    assert done.code == 0, done.out + done.err
    return folder.read_result()


@pytest.mark.parametrize("framework, rank", [("torch", 1), ("tensorflow", 0)])
def test_a_rank_slowed_on_purpose_is_found(framework: str, rank: int, results: Path) -> None:
    """By when it reaches its first reduction; the steps of both take equally long, since they wait for each other."""
    result = with_a_slow_rank(framework, rank, results)
    ready, late = result.ready_seconds, result.last_to_reduce
    assert late is not None and late.rank == rank and (late.later.ci95_low or 0) > 0.05
    assert ready[rank] - ready[1 - rank] > 0.025, "half of the 50 ms, on a busy machine"
    assert max(result.worker_seconds) < 1.1 * min(result.worker_seconds)
    (cell,) = groups(tables.read(results))[0].cells
    found = find_straggler(cell)
    assert found is not None and found.rank == rank
    assert f"rank {rank} reaches its first reduction" in report.write_report(results).read_text()
    traced = result.timeline
    assert traced is not None and traced.last_ready[rank] > 3 * traced.last_ready[1 - rank], "without a cache: all told"
    assert 0.02 < traced.seconds["waiting"] < sum(traced.seconds.values()) < traced.step_seconds
    assert traced.seconds["reducing"] > 0 and traced.seconds["copying"] > 0, "by MPI"


def test_a_timeline_divides_the_timed_steps(results: Path) -> None:
    """Every phase that a reduction on CPUs has is there, and all of them fit into a step; here by Gloo."""
    options = ["--workers", "2", "--steps", "20", "--set", "discard_steps=5", "--set", "width=8"]
    options += ["--set", "allreduce.timeline=true", "--set", "allreduce.controller=gloo"]
    done = bench("torch", "unet", results, *options)
    assert done.code == 0, done.err
    result = done.folder.read_result()
    told = result.timeline
    assert told is not None and told.steps == result.timed_steps == 15
    slowest = done.folder.read_steps()[5:]
    assert told.step_seconds == pytest.approx(sum(s.worker_seconds[0] for s in slowest) / 15, rel=1e-3)
    assert told.seconds["reducing"] > 0 and told.seconds["copying"] > 0 and told.seconds["waiting"] > 0
    assert sum(told.seconds.values()) < told.step_seconds
    assert all(told.summed_seconds[phase] >= seconds - 1e-9 for phase, seconds in told.seconds.items())
    assert len(result.ready_seconds) == 2 and all(0 < ready < told.step_seconds for ready in result.ready_seconds)
