"""Job scripts: what they ask a scheduler for, and how an experiment goes on in the next job.

The scripts are run for real, under bash and with the real runner. Only the schedulers' own programs are stand-ins:
they write down how they were called.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from horovod_runner.cli import main
from horovod_runner.errors import EXIT_USER_ERROR
from horovod_runner.launch.schedulers import SCHEDULERS
from horovod_runner.matrix.experiment import load_experiment, runs
from horovod_runner.results.store import Store
from horovod_runner.results.summary import summarise
from horovod_runner.verbs.submit import is_sealed, parse_time, seal
from tests.conftest import ROOT, plain_environment

QUESTION: dict[str, Any] = {
    "description": "a question",
    "base": {"framework": "torch", "steps": 6, "width": 8, "local_batch": 4, "threads": 1},
    "axes": {"workers": [1, 2], "schedule.warmup_epochs": [0, 5]},
    "smoke": {"base": {"steps": 2}},
}
FILE = "questions/strong.yaml"
# What a scheduler answers to the submission of job 18, and the variables of a job of its own.
ANSWERS = {"slurm": "18;cluster", "lsf": "Job <18> is submitted to default queue <normal>.", "pbs": "18.server"}
JOB_ID = {"slurm": "SLURM_JOB_ID", "lsf": "LSB_JOBID", "pbs": "PBS_JOBID"}
SUBMITTING = {"slurm": "sbatch", "lsf": "bsub", "pbs": "qsub"}
WITHDRAWING = {"slurm": "scancel", "lsf": "bkill", "pbs": "qdel"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that a user works in, which has one experiment."""
    (tmp_path / "questions").mkdir()
    (tmp_path / FILE).write_text(yaml.safe_dump(QUESTION))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def submit(scheduler: str, *options: str) -> int:
    words = ["--scheduler", scheduler, "--nodes", "2", "--workers-per-node", "3", "--time", "2:00:00"]
    return main(["submit", FILE, *words, *options])


def written(scheduler: str, *options: str) -> str:
    assert submit(scheduler, *options) == 0
    return Path(f"strong.{scheduler}.sh").read_text()


def directives(text: str) -> list[str]:
    return re.findall(r"^#(?:SBATCH|BSUB|PBS) (.*)$", text, re.MULTILINE)


def refusal(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert submit("slurm", *options) == EXIT_USER_ERROR
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    return said


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_scripts_are_valid_and_name_no_folder_of_this_machine(scheduler: str, folder: Path) -> None:
    text = written(scheduler, "--results", str(folder / "my results"), "--set", "data={name: digits, image_size: 32}")
    subprocess.run(["bash", "-n", f"strong.{scheduler}.sh"], check=True)
    assert str(folder) not in text and sys.prefix not in text
    last_directive = max(n for n, line in enumerate(text.splitlines()) if re.match("#(SBATCH|BSUB|PBS) ", line))
    assert all(line.startswith("#") for line in text.splitlines()[:last_directive])


@pytest.mark.parametrize(
    ("experiment", "name"),
    [
        ("strong", "strong"),
        ("9-gpus", "hr-9-gpus"),
        ("_a", "hr-_a"),
        ("fifteen-letters", "fifteen-letters"),
        ("sixteen--letters", "sixteen--l-"),
    ],
)
def test_jobs_have_names_that_every_pbs_takes(experiment: str, name: str) -> None:
    made = SCHEDULERS["pbs"].job_name(experiment)
    assert made.startswith(name) and re.fullmatch(r"[A-Za-z][\w.-]{0,14}", made, re.ASCII)
    assert SCHEDULERS["slurm"].job_name(experiment) == SCHEDULERS["lsf"].job_name(experiment) == experiment


def test_names_that_pbs_cuts_stay_apart() -> None:
    name = SCHEDULERS["pbs"].job_name
    assert name("steps-to-target-of-torch") != name("steps-to-target-of-tensorflow")


def test_every_option_reaches_slurm() -> None:
    options = ["--queue", "gpu", "--account", "p1", "--gpus-per-node", "3", "--cpus-per-worker", "8"]
    assert directives(written("slurm", *options)) == [
        "--job-name=strong",
        "--output=strong.%j.log",
        "--nodes=2",
        "--ntasks-per-node=3",
        "--cpus-per-task=8",
        "--gpus-per-node=3",
        "--time=2:00:00",
        "--partition=gpu",
        "--account=p1",
        "--exclusive",
        "--no-requeue",
        "--signal=B:TERM@60",
    ]


def test_every_option_reaches_lsf() -> None:
    options = ["--queue", "gpu", "--account", "p1", "--gpus-per-node", "3", "--cpus-per-worker", "8"]
    assert directives(written("lsf", *options, "--time", "10:30:01")) == [
        "-J strong",
        "-o strong.%J.log",
        "-n 6",
        '-R "span[ptile=3]"',
        '-R "affinity[core(8)]"',
        '-gpu "num=3"',
        "-W 10:31",
        "-q gpu",
        "-P p1",
        "-x",
        "-rn",
        "-wa TERM",
        "-wt 1",
    ]


def test_every_option_reaches_pbs() -> None:
    options = ["--queue", "gpu", "--account", "p1", "--gpus-per-node", "3", "--cpus-per-worker", "8"]
    assert directives(written("pbs", *options)) == [
        "-S /bin/bash",
        "-N strong",
        "-j oe",
        "-l select=2:ncpus=24:mpiprocs=3:ngpus=3",
        "-l place=scatter:exclhost",
        "-l walltime=2:00:00",
        "-q gpu",
        "-A p1",
        "-r n",
    ]


def test_what_was_not_asked_for_is_not_mentioned() -> None:
    texts = [" ".join(directives(written(scheduler))) for scheduler in SCHEDULERS]
    assert not re.search("gpu|partition|account|cpus-per-task|affinity|-q |-P |-A ", " ".join(texts))


def test_the_job_runs_what_was_asked_with_the_program_of_this_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("cluster.yaml").write_text("launcher: srun\n")
    options = ["--set", "data={name: digits}", "--smoke", "--machine", "cluster.yaml", "--results", "more/results"]
    of_path = written("slurm", *options)
    monkeypatch.setattr(sys, "prefix", str(folder / ".venv"))
    here = written("slurm", *options)
    words = f"run {FILE} --results more/results --machine cluster.yaml --smoke --set 'data={{name: digits}}' &\n"
    assert f"\nhorovod-runner {words}" in of_path and f"\n.venv/bin/horovod-runner {words}" in here


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_last_line_submits(scheduler: str, capsys: pytest.CaptureFixture[str]) -> None:
    submit(scheduler, "--out", "a job.sh")
    between = " < " if scheduler == "lsf" else " "
    assert capsys.readouterr().out.splitlines()[-1] == f"{SUBMITTING[scheduler]}{between}'a job.sh'"


def test_impossible_requests_are_refused_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert "a run needs 7, and --nodes 2 with --workers-per-node 3 offer 6" in refusal(capsys, "--set", "workers=7")
    assert "momentun" in refusal(capsys, "--set", "optimizer.momentun=0.8")
    assert "--nodes 0: give at least 1" in refusal(capsys, "--nodes", "0")
    assert "--nodes" in refusal(capsys, "--nodes", "two")
    assert "known are slurm, lsf, pbs" in refusal(capsys, "--scheduler", "cron")
    assert "'a b'" in refusal(capsys, "--queue", "a b")
    assert "'a\\n" in refusal(capsys, "--account", "a\n#SBATCH --nodes=99")
    assert "--machine none.yaml" in refusal(capsys, "--machine", "none.yaml")
    assert "none/job.sh cannot be written" in refusal(capsys, "--out", "none/job.sh")
    assert not list(Path().glob("*.sh"))


def test_six_workers_fit_on_two_nodes_of_three() -> None:
    assert submit("slurm", "--set", "workers=6") == 0


@pytest.mark.parametrize("text", ["2:00", "120", "1-00:00:00", "0:60:00", "0:04:59", "-1:00:00", "٣:00:00"])
def test_times_that_schedulers_read_differently_are_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"--time {text}: " in refusal(capsys, f"--time={text}")


def test_times() -> None:
    assert parse_time("0:05:00") == 300 and parse_time("100:00:01") == 360_001


def test_a_script_is_written_anew_but_nobody_elses_work_is_lost(capsys: pytest.CaptureFixture[str]) -> None:
    first = written("slurm")
    assert written("slurm", "--chain", "9") != first
    out = Path("strong.slurm.sh")
    edited = out.read_text().replace("--nodes=2", "--nodes=2\n#SBATCH --constraint=fast")
    out.write_text(edited)
    assert "is not as submit wrote it" in refusal(capsys)
    assert out.read_text() == edited
    assert "is not as submit wrote it" in refusal(capsys, "--out", FILE)


def test_seal() -> None:
    assert is_sealed(seal("#!/bin/bash\necho\n"))
    assert not is_sealed(seal("#!/bin/bash\necho\n") + "\n")
    assert not is_sealed("") and not is_sealed("#!/bin/bash\necho\n")


# ---------------------------------------------------------------------------------------------------------------------
# A job's life. Job 17 runs; its successor would be 18.


def stand_ins(scheduler: str, folder: Path, fails: bool = False) -> Path:
    """Make the scheduler's programs; each call is a line of `calls`: variables, words, and the script from stdin."""
    programs = folder / "stand-ins"
    programs.mkdir(exist_ok=True)
    note = 'echo "left=${SUITE_JOBS_LEFT:-} $(basename "$0") $*" >> "$CALLS"\n'
    answers = {SUBMITTING[scheduler]: "exit 1" if fails else f"echo '{ANSWERS[scheduler]}'", WITHDRAWING[scheduler]: ""}
    for name, answer in answers.items():
        (programs / name).write_text(f"#!/bin/bash\n{note}{answer}\n")
        (programs / name).chmod(0o755)
    return programs


def variables(scheduler: str, folder: Path, programs: Path) -> Mapping[str, str]:
    """Return the environment of job 17, which finds the real runner."""
    search = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    job = {SCHEDULERS[scheduler].folder: str(folder), JOB_ID[scheduler]: "17", "CALLS": str(folder / "calls")}
    return plain_environment(PATH=search, PYTHONPATH=str(ROOT), **job)


def start(scheduler: str, folder: Path, *, fails: bool = False, **more: str) -> subprocess.Popen[str]:
    environment = {**variables(scheduler, folder, stand_ins(scheduler, folder, fails)), **more}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(
        ["bash", str(folder / f"strong.{scheduler}.sh")], env=environment, cwd="/", text=True, **pipes
    )


def calls(folder: Path) -> list[str]:
    file = folder / "calls"
    return file.read_text().splitlines() if file.exists() else []


def do_all_runs(folder: Path) -> None:
    """Leave the results of a finished experiment."""
    for config in runs(load_experiment(Path(FILE)), Path(FILE)):
        result = summarise(config, "completed", steps=[], wall_seconds=1.0)
        Store(folder / "results" / "local").open_run(config).write_result(result)


QUEUED = {
    "slurm": "sbatch --parsable --dependency=afterany:17 --export=ALL,SUITE_JOBS_LEFT=4 strong.slurm.sh",
    "lsf": "bsub -w ended(17)",
    "pbs": "qsub -W depend=afterany:17 -v SUITE_JOBS_LEFT=4 strong.pbs.sh",
}
SUCCESSOR = {"slurm": "18", "lsf": "18", "pbs": "18.server"}


def queued(scheduler: str) -> str:
    """Return the call that queues job 18: LSF hands on the variables of the one who submits."""
    return f"left={4 if scheduler == 'lsf' else ''} {QUEUED[scheduler]}"


def withdrawn(scheduler: str) -> str:
    return f"left= {WITHDRAWING[scheduler]} {SUCCESSOR[scheduler]}"


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_when_all_is_done_the_next_job_is_withdrawn(scheduler: str, folder: Path) -> None:
    written(scheduler)
    do_all_runs(folder)
    job = start(scheduler, folder)
    said = job.communicate(timeout=240)[0]
    assert job.returncode == 0, said
    assert calls(folder) == [queued(scheduler), withdrawn(scheduler)]
    assert f"no more to do for job {SUCCESSOR[scheduler]}" in said and "results/local/strong/report.html" in said


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_what_fails_by_itself_would_fail_again(scheduler: str, folder: Path) -> None:
    written(scheduler)
    Path(FILE).write_text("nothing")
    job = start(scheduler, folder)
    said = job.communicate(timeout=240)[0]
    assert job.returncode == EXIT_USER_ERROR and "is not an experiment" in said
    assert calls(folder) == [queued(scheduler), withdrawn(scheduler)]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_job_that_is_told_to_end_leaves_the_rest_to_the_next(scheduler: str, folder: Path) -> None:
    written(scheduler)
    job = start(scheduler, folder)
    await_first_run(folder, job)
    job.send_signal(signal.SIGTERM)
    said = job.communicate(timeout=240)[0]
    assert job.returncode > 128 and "cut off; job 18" in said, said
    assert calls(folder) == [queued(scheduler)]
    assert not list(Store(folder / "results" / "local").finished())


def test_a_runner_that_is_killed_leaves_the_rest_to_the_next(folder: Path) -> None:
    written("slurm")
    job = start("slurm", folder)
    await_first_run(folder, job)
    (runner,) = psutil.Process(job.pid).children()
    runner.kill()
    said = job.communicate(timeout=240)[0]
    assert job.returncode == 128 + signal.SIGKILL and "cut off; job 18 goes on" in said
    assert calls(folder) == [queued("slurm")]


def test_a_runner_that_takes_its_time_to_end_is_awaited(folder: Path) -> None:
    written("slurm")
    job = start("slurm", folder, PATH=os.pathsep.join([str(slow_runner(folder)), os.environ["PATH"]]))
    await_file(folder / "started", job)
    job.send_signal(signal.SIGTERM)
    said = job.communicate(timeout=240)[0]
    assert job.returncode == 1 and said.splitlines() == ["a checkpoint is saved", "cut off; job 18 goes on"]
    assert calls(folder) == [queued("slurm")]


def slow_runner(folder: Path) -> Path:
    """Return the stand-ins with one more: a runner that saves its state when it is told to end, and fails then."""
    runner = folder / "stand-ins" / "horovod-runner"
    runner.parent.mkdir(exist_ok=True)
    ending = "sleep 0.2; echo a checkpoint is saved; exit 1"
    runner.write_text(f"#!/bin/bash\ntrap '{ending}' TERM\ntouch started\nwhile :; do sleep 0.02; done\n")
    runner.chmod(0o755)
    return runner.parent


def test_the_last_job_of_a_chain_queues_no_other(folder: Path) -> None:
    written("slurm")
    job = start("slurm", folder, SUITE_JOBS_LEFT="1")
    await_first_run(folder, job)
    job.send_signal(signal.SIGTERM)
    assert "cut off; submit this script again to go on" in job.communicate(timeout=240)[0]
    assert calls(folder) == []


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_where_jobs_may_not_queue_jobs_the_work_is_done_all_the_same(scheduler: str, folder: Path) -> None:
    written(scheduler)
    do_all_runs(folder)
    job = start(scheduler, folder, fails=True)
    said = job.communicate(timeout=240)[0]
    assert job.returncode == 0 and "could not be queued" in said and len(calls(folder)) == 1


def test_a_script_submitted_from_elsewhere_says_so_and_queues_nothing(folder: Path, tmp_path_factory: Any) -> None:
    written("slurm")
    job = start("slurm", folder, SLURM_SUBMIT_DIR=str(tmp_path_factory.mktemp("elsewhere")))
    assert "submit this script from the folder that it was written in" in job.communicate(timeout=240)[0]
    assert job.returncode == EXIT_USER_ERROR and calls(folder) == []


def await_first_run(folder: Path, job: subprocess.Popen[str]) -> None:
    """Return when the runner has begun its first run."""
    first = runs(load_experiment(Path(FILE)), Path(FILE))[0]
    await_file(Store(folder / "results" / "local").folder(first).config_file, job)


def await_file(file: Path, job: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 240
    while not file.exists():
        assert job.poll() is None, "the job has ended already"
        assert time.monotonic() < until, f"there is no {file}"
        time.sleep(0.02)
