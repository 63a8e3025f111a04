"""What a machine file gives to runs: settings as defaults of their job, refused on another machine, mistakes named."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from horovod_runner.cli import main
from horovod_runner.config.job_settings import decode_with
from horovod_runner.config.machine import Machine, fingerprint, load_machine, read_machine
from horovod_runner.errors import UserError
from horovod_runner.matrix.experiment import load_experiment, runs
from horovod_runner.results.store import Store
from horovod_runner.results.summary import summarise
from horovod_runner.tuning.machine_file import add_settings

JOB = {"framework": "torch", "workload": "unet", "workers": 2}
UNET = "  - when: {workload: unet, framework: torch, workers: 2}\n    set: "


def machine_file(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "machine.yaml"
    file.write_text(text)
    return file


def tuned(tmp_path: Path, chosen: str) -> Machine:
    return load_machine(machine_file(tmp_path, f"tuned_on: {fingerprint()}\nsettings:\n{UNET}{chosen}\n"))


def test_settings_become_the_defaults_of_their_job(tmp_path: Path) -> None:
    settings = tuned(tmp_path, "{strategy: grouped, allreduce.cycle_ms: 5, threads: 1}").settings
    with_them = decode_with(settings, JOB, "test")
    assert (with_them.strategy, with_them.allreduce.cycle_ms, with_them.threads) == ("grouped", 5.0, 1)
    assert with_them.run_id != decode_with((), JOB, "test").run_id
    for other in ({"workers": 4}, {"framework": "tensorflow"}, {"workload": "vgg16"}):
        assert decode_with(settings, JOB | other, "test") == decode_with((), JOB | other, "test")


def test_what_is_set_explicitly_stays(tmp_path: Path) -> None:
    settings = tuned(tmp_path, "{strategy: grouped, allreduce.cycle_ms: 5, threads: 1}").settings
    own = decode_with(settings, JOB | {"allreduce": {"cycle_ms": 2.0}}, "test")
    assert own.allreduce.cycle_ms == 2.0 and own.strategy == "fused", "what was chosen together stays together"
    assert own.threads == 1 and decode_with(settings, JOB | {"threads": 2}, "test").threads == 2
    assert decode_with(settings, JOB | {"strategy": "unfused"}, "test").allreduce.cycle_ms is None


def test_a_run_that_settings_do_not_suit_goes_without_them(tmp_path: Path) -> None:
    settings = tuned(tmp_path, "{strategy: multistep, threads: 1}").settings
    lars = decode_with(settings, JOB | {"optimizer": {"name": "lars"}}, "test")
    assert lars.strategy == "fused" and lars.threads == 1
    with pytest.raises(UserError, match=r"^test: wdith: is not a setting of a run; write width$"):
        decode_with(settings, JOB | {"wdith": 4}, "test")


def test_an_experiment_gets_them_where_it_says_nothing(tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    axes = {"strategy": ["fused", "unfused"]}
    file.write_text(json.dumps({"description": "d", "base": JOB, "axes": {"workers": [1, 2]}}))
    settings = tuned(tmp_path, "{strategy: grouped, threads: 1}").settings
    made = {c.workers: (c.strategy, c.threads) for c in runs(load_experiment(file), file, settings)}
    assert made == {1: ("fused", None), 2: ("grouped", 1)}
    file.write_text(json.dumps({"description": "d", "base": JOB, "axes": axes}))
    assert [c.strategy for c in runs(load_experiment(file), file, settings)] == axes["strategy"]


def test_plan_looks_for_the_runs_with_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(json.dumps({"description": "d", "base": JOB, "axes": {"seed": [0, 1]}}))
    machine = machine_file(tmp_path, "settings:\n" + UNET + "{strategy: multistep, threads: 2}\n")
    config = runs(load_experiment(file), file, load_machine(machine).settings)[0]
    Store(tmp_path).open_run(config).write_result(summarise(config, "completed"))
    for options, left in (["--machine", str(machine)], 1), ([], 2):
        assert main(["plan", str(file), "--results", str(tmp_path), *options]) == 0
        assert f"2 runs, {left} to do" in capsys.readouterr().out
    assert main(["plan", str(file), "--machine", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml cannot be read" in capsys.readouterr().err


def test_settings_of_another_machine_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    elsewhere = f"launcher: mpirun\ntuned_on: 64 cores, 0123456789\nsettings:\n{UNET}{{threads: 8}}\n"
    file = machine_file(tmp_path, elsewhere)
    assert main(["bench", "--framework", "torch", "--machine", str(file), "--results", str(tmp_path / "r")]) == 2
    said = capsys.readouterr().err
    assert f"{file}: tuned_on: the settings were found on another kind of machine (64 cores, 0123456789" in said
    assert "run horovod-runner tune here, or remove settings" in said and said.count("\n") == 1
    assert not (tmp_path / "r").exists()
    for harmless in ("launcher: mpirun\ntuned_on: 64 cores, 0123456789\n", elsewhere.replace("{threads: 8}", "{}")):
        file.write_text(harmless)
        assert load_machine(file).launcher == "mpirun"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            UNET + "{allreduce.cycle_m: 5}",
            "settings.0.set.allreduce.cycle_m: is not a setting that a machine may choose",
        ),
        (UNET + "{optimizer.momentum: 0.5}", "settings.0.set.optimizer.momentum: is not a setting that a machine may"),
        (
            UNET + "{allreduce.compression: fp16}",
            "settings.0.set.allreduce.compression: is not a setting that a machine",
        ),
        (UNET + "{strategy: lag1}", "settings.0.set.strategy: should be 'blocking', 'unfused', 'fused', 'grouped' or"),
        (UNET + "{threads: 0}", "settings.0.set.threads: should be at least 1"),
        ("  - when: {worker: 2}\n    set: {}", "settings.0.when.worker: is not a key of a job; write workers"),
        ("  - {when: {}}", "settings.0.set: is missing; add it"),
        ("  - {when: {}, set: {}, unless: {}}", "settings.0.unless: is not a key of settings"),
        ("  strategy: fused", "settings: should be a list"),
    ],
)
def test_mistakes_in_settings_are_named(text: str, said: str, tmp_path: Path) -> None:
    file = machine_file(tmp_path, f"settings:\n{text}\n")
    with pytest.raises(UserError) as mistake:
        load_machine(file)
    assert said in str(mistake.value) and "\n" not in str(mistake.value)
    assert re.match(rf"{re.escape(str(file))}:[1-4]: ", str(mistake.value)), "which line it is"


BY_HAND = "# ours\nlauncher: horovodrun\nsilence_minutes: 2   # for a slow disk\n"


def test_the_rest_of_a_machine_file_stays_as_it_is(tmp_path: Path) -> None:
    file = machine_file(tmp_path, BY_HAND)
    when = {"workload": "unet", "framework": "torch", "workers": 2}
    add_settings(file, when, {"strategy": "grouped", "allreduce.cycle_ms": 5}, fingerprint())
    add_settings(file, when | {"workers": 4}, {"threads": 1}, fingerprint())
    assert file.read_text().startswith(BY_HAND) and file.read_text().count("#") == 3
    add_settings(file, when, {"strategy": "blocking"}, fingerprint())
    machine = load_machine(file)
    assert machine.launcher == "horovodrun" and machine.silence_minutes == 2
    assert {entry.when.workers: entry.chosen.by_path() for entry in machine.settings} == {
        2: {"strategy": "blocking"},
        4: {"threads": 1},
    }


def test_settings_found_elsewhere_give_way(tmp_path: Path) -> None:
    text = "{launcher: mpirun, tuned_on: '64 cores, 0123456789', settings: [{when: {}, set: {threads: 8}}]}"
    file = machine_file(tmp_path, text)
    add_settings(file, {"workload": "unet"}, {}, "2 cores, febcac29df")
    machine = read_machine(file)
    assert machine.launcher == "mpirun" and machine.tuned_on == "2 cores, febcac29df"
    assert [entry.chosen.by_path() for entry in machine.settings] == [{}]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--workers", "1"], "--workers 1: one worker has nobody to reduce with; give at least 2"),
        (["--minutes", "0"], "--minutes 0: it should be more than 0"),
        (["--minutes", "soon"], "argument --minutes: invalid float value"),
        (
            ["--candidates", "fused,lag1"],
            "--candidates fused,lag1: 'lag1' is not one of them; choose from blocking, unfused",
        ),
        (
            ["--set", "strategy=none"],
            "strategy: tune compares strategies that compute the same updates, and none does not",
        ),
        (["--set", "epochs=2"], "epochs: tune makes many short runs; give steps"),
        (["--set", "steps=4"], "steps: 4 are too few to time; give at least 8"),
        (["--set", "measure=loading"], "measure: nothing is reduced in a run that measures loading"),
        (["--workload", "alexnet"], "workload: there is no 'alexnet'"),
        (["--machine", "/none/such/machine.yaml"], "there is no folder /none/such; make it"),
    ],
)
def test_a_mistake_is_one_sentence(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["tune", "--results", str(tmp_path), "--machine", str(tmp_path / "m.yaml"), *options]
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not list(tmp_path.iterdir())
