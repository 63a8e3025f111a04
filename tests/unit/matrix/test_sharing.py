"""Runs that share the machine: which they are, in which order they are done, and what is said of their times."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from horovod_runner.config.machine import Machine
from horovod_runner.config.schema import RunConfig, decode
from horovod_runner.errors import UserError
from horovod_runner.matrix.experiment import load_experiment
from horovod_runner.matrix.pool import code_of
from horovod_runner.matrix.progress import outcome
from horovod_runner.matrix.sharing import Waiting, in_order, needs, require_cores, shares
from horovod_runner.results.record import StepRecord
from horovod_runner.results.store import RunFolder
from horovod_runner.results.summary import summarise
from horovod_runner.training.reuse import graph_of
from horovod_runner.training.worker import closing_line


def config(framework: str = "torch", **changes: Any) -> RunConfig:
    return decode({"framework": framework, "steps": 10, "local_batch": 8, **changes}, "test")


def steps(count: int) -> list[StepRecord]:
    seconds = {"step_seconds": 0.1, "data_seconds": 0.0, "worker_seconds": (0.1,)}
    return [StepRecord(step=n, epoch=1, learning_rate=0.1, train_loss=1.0, **seconds) for n in range(1, count + 1)]


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 4},
        {"repeat": 1},
        {"steps": 11},
        {"steps": None, "epochs": 2},
        {"experiment": "another"},
        {"optimizer": {"learning_rate": 0.3}},
        {"schedule": {"decay": "cosine", "warmup_epochs": 1, "scaling": "linear_samples"}},
        {"checkpoint": {"every": 3}},
        {"validate_every": 2},
        {"record_every": 5, "discard_steps": 2},
    ],
)
def test_runs_that_differ_in_this_share_a_graph(change: dict[str, Any]) -> None:
    assert graph_of(config(**change)) == graph_of(config())


@pytest.mark.parametrize(
    "change",
    [
        {"framework": "tensorflow"},
        {"width": 8},
        {"local_batch": 16},
        {"virtual_workers": 2},
        {"accumulate": 2},
        {"batch_norm": "ghost", "ghost_batch": 4},
        {"optimizer": {"momentum": 0.8}},
        {"optimizer": {"weight_decay": 1e-4}},
        {"optimizer": {"name": "adam"}},
        {"loss": {"label_smoothing": 0.1}},
        {"precision": "float64"},
        {"threads": 2},
        {"zero_init_last_gamma": True},
        {"data": {"image_size": 16}},
    ],
)
def test_runs_that_differ_in_this_do_not(change: dict[str, Any]) -> None:
    assert graph_of(config(**change)) != graph_of(config())


def test_only_training_on_one_worker_shares_the_machine() -> None:
    assert shares(config(), 2) and not shares(config(), 1)
    assert not shares(config(workers=2), 2) and not shares(config(measure="loading"), 2)
    assert not shares(config(strategy="none"), 2), "compute-only workers are there to be timed"


def test_runs_of_one_graph_follow_each_other_and_several_workers_come_last() -> None:
    runs = [
        config(framework, seed=seed, local_batch=batch, workers=workers)
        for seed in (0, 1)
        for workers in (2, 1)
        for framework in ("torch", "tensorflow")
        for batch in (8, 16)
    ]
    ordered = [(c.workers, c.framework, c.local_batch, c.seed) for c in in_order(runs, 2)]
    one = [(1, f, b, s) for f in ("torch", "tensorflow") for b in (8, 16) for s in (0, 1)]
    assert ordered == one + [(2, *rest) for _, *rest in one]
    assert in_order(runs, 1) == runs, "alone, runs keep the order that lets drift hit all arms alike"


def test_a_pool_worker_keeps_its_graph_then_its_process_and_leaves_others_theirs() -> None:
    first, second, other = ({"local_batch": 8}, {"local_batch": 16}, {"local_batch": 24})
    runs = [config(seed=s, **job) for job in (first, second, other) for s in (0, 1)]
    runs += [config("tensorflow", seed=s) for s in (0, 1)]
    waiting = Waiting(in_order(runs, 2))

    def taken(last: RunConfig | None, *others: RunConfig) -> RunConfig:
        return waiting.take(last and needs(last), [needs(c) for c in others]).config

    one = taken(None)
    assert (one.local_batch, one.seed) == (8, 0)
    two = taken(None, one)
    assert two.local_batch == 16, "what one worker builds, another need not build"
    one = taken(one, two)
    assert (one.local_batch, one.seed) == (8, 1)
    one = taken(one, two)
    assert (one.framework, one.local_batch) == ("torch", 24), "a new graph before a new process"
    two = taken(taken(two, one), one)
    assert (two.framework, two.local_batch) == ("torch", 24), "and a graph that another has before one, too"
    assert [taken(two, one).framework for _ in range(2)] == ["tensorflow"] * 2 and not waiting


def test_more_at_once_than_cores_is_refused_and_so_are_other_hosts() -> None:
    cores = len(os.sched_getaffinity(0))
    require_cores(cores, Path("study.yaml"), Machine())
    with pytest.raises(UserError, match=rf"study.yaml: at_once: {cores + 1} .* write {cores} or less"):
        require_cores(cores + 1, Path("study.yaml"), Machine())
    elsewhere = Machine(hosts={"node1": 2})
    require_cores(1, Path("study.yaml"), elsewhere)
    if cores > 1:
        with pytest.raises(UserError, match=r"study.yaml: at_once: .* remove at_once, or hosts"):
            require_cores(2, Path("study.yaml"), elsewhere)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"at_once": 0}, "at_once: should be at least 1, but it is 0"),
        ({"at_once": "two"}, "at_once: should be a whole number"),
        ({"base": {"at_once": 2}}, "base.at_once: is of the whole file; write it beside base"),
        ({"axes": {"at_once": [1, 2]}}, "axes.at_once: is of the whole file; write it beside base"),
    ],
)
def test_mistakes_name_file_key_and_remedy(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump({"description": "a question", "axes": {"framework": ["torch"]}, **changes}))
    with pytest.raises(UserError) as caught:
        load_experiment(file)
    assert "study.yaml:" in str(caught.value) and sentence in str(caught.value)


def test_it_is_one_unless_the_file_says_otherwise(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    plain: dict[str, Any] = {"description": "a question", "base": {"framework": "torch"}, "axes": {"seed": [0, 1]}}
    file.write_text(yaml.safe_dump(plain))
    assert load_experiment(file).at_once == 1
    file.write_text(yaml.safe_dump({**plain, "at_once": 3, "smoke": {"repeats": 2}}))
    assert load_experiment(file).at_once == load_experiment(file).smoked().at_once == 3


def test_a_run_beside_others_is_not_timed() -> None:
    figures: dict[str, Any] = {"steps": steps(40), "wall_seconds": 5.0, "peak_memory_bytes": 7}
    result = summarise(config(), "completed", at_once=2, **figures)
    assert result.at_once == 2 and result.train_loss == (1.0,) and result.wall_seconds == 5.0
    for name in ("images_per_second", "step_seconds", "slowest_worker", "peak_memory_bytes", "data_wait_fraction"):
        assert getattr(result, name) is None, name
        assert getattr(summarise(config(), "completed", **figures), name) is not None, name
    assert outcome(result) == "not timed, 5 s"
    assert "not timed, 2 runs at once" in closing_line(result, RunFolder(Path("somewhere")))


def test_a_pool_worker_answers_with_the_code_and_the_folder() -> None:
    assert code_of(b"0 /results/a study/run\n") == 0 and code_of(b"3 results/run\n") == 3
