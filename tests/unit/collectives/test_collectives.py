"""The collective alone, as far as it needs no ranks: plans, the alpha-beta model, bandwidths, the record, refusals."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from horovod_runner import cli
from horovod_runner.allreduce.algorithms import ALGORITHMS, COPY
from horovod_runner.analysis.plots import allreduce as figure
from horovod_runner.collectives import table
from horovod_runner.collectives.fit import busbw, fit, ring_seconds
from horovod_runner.collectives.plan import SIZES, AllreduceRequest, Case, chosen, cluster_of, plans
from horovod_runner.collectives.rank import fill
from horovod_runner.collectives.record import AlgorithmResult, CaseTimes, Report, line, row, write_report
from horovod_runner.collectives.samples import Sample
from horovod_runner.collectives.table import ring_words
from horovod_runner.errors import UserError

ALPHA, BETA = 20e-6, 3e9


def modelled(sizes: tuple[int, ...], noise: float = 0.0, seed: int = 0) -> list[float]:
    """Return the times of the model, with a relative error."""
    errors = np.random.default_rng(seed).standard_normal(len(sizes)) * noise
    return [(ALPHA + size / BETA) * (1 + error) for size, error in zip(sizes, errors, strict=True)]


def test_the_fit_finds_what_the_times_were_made_from() -> None:
    found = fit(SIZES, modelled(SIZES))
    assert found is not None
    assert found.alpha.value == pytest.approx(ALPHA) and found.beta.value == pytest.approx(BETA)
    assert abs(found.worst_residual) < 1e-9


def test_its_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    fits = [fit(SIZES, modelled(SIZES, noise=0.1, seed=seed)) for seed in range(200)]
    found = [one for one in fits if one is not None]
    assert all(one.alpha.value == pytest.approx(ALPHA, rel=0.2) for one in found)
    assert all(one.beta.value == pytest.approx(BETA, rel=0.25) for one in found)
    for held in (
        [o.alpha.low <= ALPHA <= o.alpha.high for o in found],
        [o.beta.low <= BETA <= o.beta.high for o in found],
    ):
        assert 0.85 <= sum(held) / len(held) <= 1.0


def test_small_messages_count_as_much_as_large_ones() -> None:
    # One part in ten of 256 MiB is nine milliseconds: unweighted, it would drown twenty microseconds.
    seconds = modelled(SIZES)
    seconds[-1] *= 1.1
    found = fit(SIZES, seconds)
    assert found is not None and found.alpha.value == pytest.approx(ALPHA, rel=0.03)


def test_neither_parameter_is_negative_and_the_worst_size_is_named() -> None:
    flat = fit((4, 1024, 65536, 2**20), (3e-4, 2e-4, 1.5e-4, 1e-4))
    assert flat is not None and flat.beta.value == math.inf and flat.alpha.value > 0
    seconds = modelled(SIZES)
    seconds[6] *= 4
    bent = fit(SIZES, seconds)
    assert bent is not None and bent.worst_bytes == SIZES[6] and bent.worst_residual < -0.5
    assert fit(SIZES[:2], seconds[:2]) is None


def test_bus_bandwidth_is_that_of_nccl_tests() -> None:
    assert busbw(10.0, 2) == 10.0
    assert busbw(10.0, 4) == 15.0
    assert busbw(10.0, 8) == 17.5


def test_a_ring_sends_twice_the_bytes_less_a_share() -> None:
    """Two hosts at 8 Mbit/s, a million bytes: each sends half of them twice, a megabyte a second."""
    assert ring_seconds(1_000_000, 2, 8.0) == pytest.approx(1.0)
    assert ring_seconds(1_000_000, 4, 16.0) == pytest.approx(0.75)


def test_over_links_of_a_rate_a_row_has_the_rings_bound_and_the_table_says_what_was_found() -> None:
    case = Case(name="message", elements=(1_000_000,))
    found = [row(case, sample(case), ranks=2, reduces=True, rate_mbit=rate) for rate in (None, 32.0)]
    assert [one.ring_seconds for one in found] == [None, pytest.approx(1.0)]
    told = [ring_words(AlgorithmResult(name="mpi4py", status="measured", rows=(one,))) for one in found]
    assert told == [None, "4.0 MB found 11 Mbit/s, 33% of the ring's bound"], "32 Mbit/s, in three times the bound"


def test_the_collective_takes_the_settings_of_emulated_hosts_alone() -> None:
    assert cluster_of({"cluster.rate_mbit": 100, "cluster.hosts": 2}, 4).hosts_of(4) == 2
    with pytest.raises(UserError, match=r"cluster\.hosts: 4 hosts are too many for 2 workers"):
        cluster_of({"cluster.hosts": 4}, 2)
    with pytest.raises(UserError, match="--set seed: allreduce takes the settings of cluster alone"):
        cluster_of({"seed": 3}, 2)


def sample(case: Case, correct: bool = True) -> Sample:
    """Return times of two ranks, of which the second is slower by its mean though not by its best."""
    return Sample(case=case.key, warm_up=((9.0,), (9.0,)), seconds=((2.0, 2.0, 2.0), (1.0, 3.0, 8.0)), correct=correct)


def test_a_row_sums_the_slowest_rank_up() -> None:
    case = Case(name="message", elements=(10**9,))
    made = row(case, sample(case), ranks=2, reduces=True)
    assert (made.min_seconds, made.avg_seconds, made.max_seconds) == (2.0, 3.0, 4.0)
    assert (made.median_seconds, made.p95_seconds) == (3.0, pytest.approx(7.5))
    assert made.bytes == 4 * 10**9 and made.iterations == 3
    assert made.algbw_gb_per_second == pytest.approx(4 / 3) and made.busbw_gb_per_second == pytest.approx(4 / 3)
    assert row(case, sample(case), ranks=2, reduces=False).busbw_gb_per_second is None


@pytest.mark.parametrize("ranks", [2, 3, 100])
def test_the_pattern_is_summed_exactly_and_tells_ranks_and_tensors_apart(ranks: int) -> None:
    parts = np.zeros((ranks, 1000), np.float32)
    for rank in range(ranks):
        fill(parts[rank], [rank], 3)
    whole, other = np.zeros(1000, np.float32), np.zeros(1000, np.float32)
    fill(whole, range(ranks), 3)
    fill(other, range(ranks), 4)
    assert np.array_equal(parts.sum(axis=0, dtype=np.float32), whole)
    assert not np.array_equal(whole, other)
    assert not np.array_equal(parts[0], parts[1])
    assert not np.array_equal(ranks * parts[0], whole), "a rank that hears only itself is found out"


def test_the_gradients_are_those_of_the_models() -> None:
    request = AllreduceRequest(sizes=(4,), models=("resnet50", "unet"))
    (plan,) = plans(request, [ALGORITHMS["mpi4py"]], ranks_here=2)
    tensors = {case.name: case for case in plan.cases if case.handed == "tensors"}
    assert len(tensors["resnet50"].elements) == 161, "53 kernels, 53 normalisations of two arrays, the last layer's two"
    flat = {case.name: case for case in plan.cases if case.handed == "flat"}
    assert all(flat[name].bytes == tensors[name].bytes for name in tensors)
    assert tensors["resnet50"].bytes == 4 * (23_508_032 + 2048 * 10 + 10)


def test_copies_are_made_of_as_many_bytes_and_once_each() -> None:
    request = AllreduceRequest(sizes=(64, 4, 64), models=("unet",))
    copied, reduced = plans(request, [COPY, ALGORITHMS["mpi4py"]], ranks_here=2)
    assert [case.bytes for case in reduced.cases[:2]] == [4, 64] and len(reduced.cases) == 4
    assert [case.bytes for case in copied.cases] == [4, 64, reduced.cases[-1].bytes]


def test_without_a_choice_every_algorithm_is_tried_once() -> None:
    assert [algorithm.name for algorithm in chosen(AllreduceRequest())] == [
        "mpi4py",
        "horovod-mpi",
        "horovod-gloo",
        "horovod-nccl",
    ]
    assert [algorithm.name for algorithm in chosen(AllreduceRequest(through=("mpi4py", "mpi4py")))] == ["mpi4py"]


def test_what_a_machines_launcher_cannot_start_is_refused_where_it_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = tmp_path / "machine.yaml"
    machine.write_text("launcher: mpirun\nhosts: {a1: 2, a2: 2}\n")
    options = ["allreduce", "--machine", str(machine), "--models", "--results", str(tmp_path)]
    assert cli.main([*options, "--through", "horovod-gloo"]) == 2
    assert "--through horovod-gloo: " in (said := capsys.readouterr().err) and "gloo" in said
    assert cli.main([*options, "--workers", "5"]) == 2
    assert "the machine's hosts take 4" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--workers", "1"], "--workers 2"),
        (["--workers", "x"], "invalid int"),
        (["--through", "mpi5py"], "there is no 'mpi5py'; choose from mpi4py"),
        (["--through", "horovod-nccl"], "not built with NCCL"),
        (["--models", "alexnet"], "there is no 'alexnet'"),
        (["--framework", "jax"], "there is no 'jax'"),
        (["--sizes", "6"], "multiple of 4"),
        (["--sizes", "0"], "as 4"),
        (["--sizes", "8589934592"], "at most"),
        (["--sizes", "8000000000", "--workers", "64", "--models"], "free"),
        (["--iterations", "0"], "--iterations"),
        (["--seconds-per-size", "nan"], "--seconds-per-size"),
        (["--iterations", "3", "--seconds-per-size", "1"], "not allowed with"),
        (["--machine", "no/such/file"], "no/such/file"),
        (["--models", "--results", "setup.cfg"], "--results"),
        (["--models", "--results", "/proc/nowhere"], "--results"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_2(
    options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["allreduce", *options]) == 2
    said = capsys.readouterr()
    assert words in said.err and len(said.err.strip().splitlines()) == 1 and not said.out


def made_row(size: int, seconds: float, name: str = "message", correct: bool = True) -> CaseTimes:
    """Return a row with these figures."""
    case = Case(name=name, elements=(size // 4,))
    timed = Sample(case=case.key, warm_up=((1.0,),) * 2, seconds=((seconds, seconds),) * 2, correct=correct)
    return row(case, timed, ranks=2, reduces=True)


@pytest.fixture
def report() -> Report:
    """Two algorithms that were measured, one with a bandwidth without end, one that is missing."""
    rows = tuple(made_row(size, seconds) for size, seconds in zip(SIZES, modelled(SIZES), strict=True))
    flat = tuple(made_row(size, 1e-3) for size in SIZES)
    copied = tuple(made_row(size, size / 1e10) for size in SIZES)
    model = made_row(4 * 10**6, 0.01, "resnet50")
    return Report(
        command=("horovod-runner", "allreduce"),
        started="2026-01-01T00:00:00+00:00",
        seconds=12.5,
        origin={"machine": {"cpu": "a processor", "cores": 2}},
        workers=2,
        framework="torch",
        yield_when_idle=True,
        algorithms=(
            AlgorithmResult(name="copy", status="measured", rows=copied),
            AlgorithmResult(name="mpi4py", status="measured", rows=(*rows, model), line=line(rows)),
            AlgorithmResult(name="horovod-mpi", status="measured", rows=flat, line=line(flat)),
            AlgorithmResult(name="horovod-nccl", status="missing", reason="Horovod was not built with NCCL"),
        ),
    )


def test_the_record_comes_back_as_it_was_written(report: Report, tmp_path: Path) -> None:
    file = write_report(report, tmp_path)
    assert file == tmp_path / "allreduce.json"
    assert Report.model_validate_json(file.read_text()) == report
    assert '"schema": 1' in file.read_text()


def test_one_wrong_sum_or_one_algorithm_that_failed_spoils_the_whole(report: Report) -> None:
    assert report.passed
    wrong = AlgorithmResult(name="mpi4py", status="measured", rows=(made_row(4, 1.0, correct=False),))
    failed = AlgorithmResult(name="mpi4py", status="failed", reason="rank 1")
    for algorithm in (wrong, failed):
        assert not report.model_copy(update={"algorithms": (*report.algorithms, algorithm)}).passed


def test_the_figure_names_the_algorithms_that_were_measured(report: Report, tmp_path: Path) -> None:
    figure.draw(report, tmp_path)
    drawing = (tmp_path / "allreduce.svg").read_text()
    for words in ("mpi4py", "Horovod, MPI", "memory copy", "Bus bandwidth", "resnet50", "a processor"):
        assert words in drawing
    assert "NCCL" not in drawing
    assert (tmp_path / "allreduce.png").read_bytes().startswith(b"\x89PNG")


def test_the_model_is_told_with_its_units_and_its_failure(report: Report) -> None:
    fitted, flat = (algorithm.line for algorithm in report.measured)
    assert fitted is not None and flat is not None
    assert table.line_words(fitted).startswith("time = 20 µs [20, 20] + bytes / 3 GB/s [3, 3]: off by at most")
    assert "1,000 µs" in table.line_words(flat) and "∞" in table.line_words(flat)
    bent = fitted.model_copy(update={"worst_residual": -0.6, "worst_bytes": 65536})
    assert table.line_words(bent).endswith("a poor description, off by -60% at 64 KiB")


@pytest.mark.parametrize(
    ("count", "words"), [(4, "4 B"), (1024, "1 KiB"), (2**28, "256 MiB"), (94_114_216, "94.1 MB"), (2**33, "8 GiB")]
)
def test_sizes_are_written_as_people_do(count: int, words: str) -> None:
    assert table.size_words(count) == words
