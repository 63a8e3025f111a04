"""The collective alone, with two real ranks by every algorithm there is here; wrong sums and dying ranks are told."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from horovod_runner.collectives.rank import SPOILED
from horovod_runner.collectives.record import FILE, AlgorithmResult, Report
from horovod_runner.collectives.samples import Sample
from tests.conftest import ROOT, Done, plain_environment, program, run

pytestmark = pytest.mark.usefixtures("real_ranks")
SIZES = ["4", "40000", "4194304"]


def argv(results: Path, *options: str) -> list[str]:
    """Return the command, for few iterations of few sizes."""
    return [sys.executable, "-m", "horovod_runner", "allreduce", "--results", str(results), *options]


def measured(results: Path, *options: str, **variables: str) -> tuple[Done, Report]:
    """Measure to the end."""
    done = run(argv(results, *options), results, env=plain_environment(**variables))
    return done, kept(results)


def kept(results: Path) -> Report:
    return Report.model_validate_json((results / "allreduce" / FILE).read_text())


def by_name(report: Report) -> dict[str, AlgorithmResult]:
    return {algorithm.name: algorithm for algorithm in report.algorithms}


def test_every_algorithm_reduces_and_is_kept_with_its_figure(results: Path) -> None:
    done, report = measured(results, "--sizes", *SIZES, "--models", "resnet50", "--iterations", "6")
    assert done.code == 0, done.out + done.err
    folder = results / "allreduce"
    assert done.out.strip().splitlines()[-1] == str(folder / "allreduce.json")
    assert (folder / "allreduce.png").exists() and (folder / "allreduce.svg").exists()
    algorithms = by_name(report)
    assert list(algorithms) == ["copy", "mpi4py", "horovod-mpi", "horovod-gloo", "horovod-nccl"]
    assert algorithms["horovod-nccl"].status == "missing" and "not built with NCCL" in done.out
    for algorithm in report.measured:
        assert algorithm.correct and algorithm.line is not None
        assert [(row.name, row.handed) for row in algorithm.rows[3:]] == [("resnet50", "tensors"), ("resnet50", "flat")]
        assert [row.tensors for row in algorithm.rows] == [1, 1, 1, 161, 1]
        for row in algorithm.rows:
            assert row.iterations == 6 and 0 < row.min_seconds <= row.avg_seconds <= row.max_seconds
            assert (
                row.busbw_gb_per_second
                == row.algbw_gb_per_second
                == pytest.approx(row.bytes / row.median_seconds / 1e9)
            )
    assert algorithms["horovod-gloo"].launcher == {"name": "horovodrun", "controller": "gloo", "hosts": 1}
    assert (algorithms["mpi4py"].environment or {})["OMPI_MCA_mpi_yield_when_idle"] == "1"
    assert set(report.copy_seconds) == {row.bytes for row in algorithms["mpi4py"].rows}
    lines = (folder / "horovod-mpi.samples.jsonl").read_text().splitlines()
    samples = [Sample.model_validate_json(line) for line in lines]
    assert [len(sample.seconds) for sample in samples] == [2] * 5, "every rank's own times are kept"


def test_the_other_binding_without_yielding(results: Path) -> None:
    options = ["--framework", "tensorflow", "--through", "horovod-mpi", "--no-yield"]
    done, report = measured(results, *options, "--sizes", *SIZES, "--models", "--iterations", "3")
    assert done.code == 0, done.out + done.err
    (algorithm,) = report.measured
    assert algorithm.correct and len(algorithm.rows) == 3 and report.framework == "tensorflow"
    assert "OMPI_MCA_mpi_yield_when_idle" not in (algorithm.environment or {})


def test_a_rank_that_sends_something_else_turns_the_rows_red(results: Path) -> None:
    options = ["--through", "mpi4py", "--workers", "3", "--sizes", "4", "4096", "--models", "--iterations", "2"]
    done, report = measured(results, *options, **{SPOILED: "1"})
    assert done.code == 1
    assert done.out.count("WRONG") == 2
    rows = report.measured[0].rows
    assert len(rows) == 2 and not any(row.correct for row in rows)
    for row in rows:
        assert row.busbw_gb_per_second == pytest.approx(row.algbw_gb_per_second * 4 / 3)


@pytest.mark.parametrize("algorithm", ["mpi4py", "horovod-gloo"])
def test_a_rank_that_is_killed_ends_the_others_with_the_reason(algorithm: str, results: Path) -> None:
    options = ["--through", algorithm, "--sizes", "4000000", "--models", "--iterations", "3000"]
    process = subprocess.Popen(
        argv(results, *options), cwd=ROOT, env=plain_environment(), stdout=subprocess.PIPE, text=True
    )
    try:
        ranks = ranks_in_the_first_case(process, results / "allreduce" / ".ranks" / algorithm)
        ranks[1].kill()
        killed = time.monotonic()
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 1
    assert time.monotonic() - killed < 60
    assert "failed: rank 1, ended by SIGKILL" in out and "in a message of 4.0 MB" in out
    _, alive = psutil.wait_procs(list(ranks.values()), timeout=30)
    assert not alive
    result = by_name(kept(results))[algorithm]
    assert result.status == "failed" and not result.rows and "SIGKILL" in (result.reason or "")


def ranks_in_the_first_case(process: subprocess.Popen[str], folder: Path) -> dict[int, psutil.Process]:
    """Return the ranks of a algorithm by their number, once they have begun to reduce."""
    deadline = time.monotonic() + 120
    while not (folder / "origin.json").exists():
        assert process.poll() is None and time.monotonic() < deadline, "the ranks did not begin"
        time.sleep(0.05)
    time.sleep(0.5)
    found = {}
    for child in psutil.Process(process.pid).children(recursive=True):
        variables = child.environ()
        if child.cmdline()[1:3] == ["-m", "horovod_runner.collectives.rank"]:
            found[int(variables.get("OMPI_COMM_WORLD_RANK") or variables["HOROVOD_RANK"])] = child
    assert len(found) == 2
    return found


def test_under_a_launcher_it_is_refused_once(results: Path) -> None:
    words = [program("mpirun"), "--allow-run-as-root", "--oversubscribe", "-np", "2", *argv(results)]
    prefix = str(Path(program("mpirun")).parent.parent)
    done = run(words, results, env=plain_environment(OPAL_PREFIX=prefix))
    assert done.code == 2 and done.err.count("horovod-runner: allreduce starts its ranks itself") == 1
    assert not results.exists()
