"""`tune` with real ranks: it measures, can be stopped and started again, and what it found reaches a run."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from horovod_runner.config.machine import fingerprint, load_machine
from horovod_runner.results.store import read_json
from tests.conftest import ROOT, plain_environment, run
from tests.integration.test_readme import COMMANDS

pytestmark = pytest.mark.usefixtures("real_ranks")

# One choice is left: to yield or not. Two candidates, three rounds, then perhaps six fresh ones.
NARROW = {
    **{"width": 4, "data.examples": 64, "local_batch": 4, "steps": 8, "threads": 1},
    **{"allreduce.controller": "mpi", "allreduce.cycle_ms": 1, "allreduce.fusion_mb": 64},
}


def argv(results: Path, machine: Path, **settings: object) -> list[str]:
    """Return the README's command, made small."""
    (command,) = (command for command in COMMANDS if " tune " in command)
    words = [f"{path}={value}" for path, value in {**NARROW, **settings}.items()]
    options = ["--candidates", "fused", "--minutes", "0.2", "--results", str(results), "--machine", str(machine)]
    return [*shlex.split(command), *options, *(word for setting in words for word in ("--set", setting))]


def measured(ledger: Path) -> list[tuple[str, float]]:
    """Return (run, images per second) of all that the ledger holds."""
    rounds = read_json(ledger)["rounds"] if ledger.exists() else []
    return [(run["run_id"], run["images_per_second"]["mean"]) for row in rounds for run in row["runs"]]


def test_it_goes_on_where_it_was_stopped_and_its_settings_reach_a_run(results: Path, tmp_path: Path) -> None:
    machine, ledger = tmp_path / "machine.yaml", results / "tune" / "unet-torch-n2.json"
    process = subprocess.Popen(argv(results, machine), cwd=ROOT, env=plain_environment(), stderr=subprocess.PIPE)
    while len(measured(ledger)) < 3:
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and b"the same command goes on from here" in said
    assert not machine.exists()
    before = measured(ledger)

    done = run(argv(results, machine), results)
    assert done.code == 0, done.out + done.err
    assert measured(ledger)[: len(before)] == before and "round 1, measured before" in done.out
    rounds = read_json(ledger)["rounds"]
    assert [row["whole"] for row in rounds].count(False) == 1 and len([r for r in rounds if r["whole"]]) >= 3
    assert len({name for name, _ in measured(ledger)}) == len(measured(ledger)), "no run counts twice"
    assert done.out.strip().endswith(str(machine)) and "not yielding" in done.out

    (entry,) = load_machine(machine).settings
    assert entry.when.by_key() == {"workload": "unet", "framework": "torch", "workers": 2}
    won = read_json(ledger)["decision"]["winner"]
    assert entry.chosen.by_path() == won and won in ({}, {"allreduce.yield_when_idle": False})
    again = run(argv(results, machine), results)
    assert again.code == 0 and len(measured(ledger)) == sum(len(row["runs"]) for row in rounds), "nothing is left to do"
    other = run(argv(results, machine, width=8), results)
    assert other.code == 2 and "measurements of other settings" in other.err and other.err.count("\n") == 1


def test_a_run_takes_the_settings_of_the_machine(results: Path, tmp_path: Path) -> None:
    machine = tmp_path / "machine.yaml"
    when = json.dumps({"workload": "unet", "framework": "torch", "workers": 2})
    chosen = json.dumps({"allreduce.cycle_ms": 7, "threads": 1})
    machine.write_text(f"tuned_on: {fingerprint()}\nsettings:\n- {{when: {when}, set: {chosen}}}\n")
    small = ["--set", "width=4", "--set", "data.examples=64", "--local-batch", "4", "--steps", "4"]
    words = ["bench", "--framework", "torch", "--workload", "unet", "--workers", "2", "--results", str(results), *small]
    environment = plain_environment(HOROVOD_RUNNER_MACHINE=str(machine))
    done = run([sys.executable, "-m", "horovod_runner", *words], results, env=environment)
    assert done.code == 0, done.out + done.err
    config = done.folder.read_config()
    assert config.allreduce.cycle_ms == 7 and config.threads == 1
    recorded = read_json(done.folder.provenance_file)["environment"]
    assert float(recorded["HOROVOD_CYCLE_TIME"]) == 7
