"""What launchers are told, what a machine file may say, and how long a silent run is waited for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from horovod_runner.config.machine import Machine, load_machine
from horovod_runner.config.schema import RunConfig, decode
from horovod_runner.errors import UserError
from horovod_runner.launch import launchers
from horovod_runner.launch.launchers import Start, command, find
from horovod_runner.launch.processes import Watchdog, environment
from horovod_runner.results.store import RunFolder, Store

WORKER = ["python", "-m", "worker"]
TWO_HOSTS = {"a1": 4, "a2": 4}


def config(workers: int = 8, **allreduce: str) -> RunConfig:
    return decode({"framework": "torch", "steps": 4, "workers": workers, "allreduce": allreduce}, "test")


def words(run: RunConfig, machine: Machine, **start: Any) -> list[str]:
    """Return the argv without the folder of the program that it begins with."""
    argv = command(run, WORKER, Start(run.workers, machine, **start))
    return [Path(argv[0]).name, *argv[1:]]


def after(argv: list[str], word: str) -> str:
    return argv[argv.index(word) + 1]


def test_one_worker_needs_no_launcher() -> None:
    assert words(config(1), Machine()) == WORKER


def test_this_machine_may_have_more_ranks_than_cores() -> None:
    argv = words(config(), Machine())
    assert argv[0] == "mpirun" and "--oversubscribe" in argv and after(argv, "-np") == "8" and argv[-3:] == WORKER


def test_an_allocation_that_nothing_here_can_reach_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container Slurm's variables stand, and srun does not."""
    places = {"mpirun": "mpirun", "srun": "srun"}
    monkeypatch.setattr(launchers, "find", places.get)
    assert "^slurm" not in words(config(), Machine())
    del places["srun"]
    assert after(words(config(), Machine()), "plm") == "^slurm"
    assert "^slurm" not in words(config(), Machine(hosts=TWO_HOSTS))


@pytest.mark.parametrize("place", ["a file", "missing", "there"])
def test_launchers_get_a_temporary_folder_that_can_be_used(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").touch()
    (tmp_path / "there").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)  # as a process finds it that has made no file yet
    monkeypatch.setenv("TMPDIR", str(tmp_path / place))
    folder = Path(environment()["TMPDIR"])
    assert folder.is_dir() and (folder == tmp_path / "there") == (place == "there")


def test_what_an_allocation_left_is_not_asked_for_what_a_launcher_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSB_JOBID", "7")
    monkeypatch.setenv("HOROVOD_RANK", "7")
    assert not {"LSB_JOBID", "HOROVOD_RANK"} & environment().keys()


def test_mpirun_gets_the_hosts_and_passes_variables_on_to_them() -> None:
    argv = words(config(), Machine(hosts=TWO_HOSTS), passed_on=["PATH", "NCCL_DEBUG"])
    assert after(argv, "-H") == "a1:4,a2:4" and "--oversubscribe" not in argv
    assert after(argv, "oob_tcp_keepalive_time") == "10", "a host that is gone is noticed within a minute"
    assert argv[argv.index("-x") : argv.index("-x") + 4] == ["-x", "PATH", "-x", "NCCL_DEBUG"]


@pytest.mark.parametrize("controller", ["mpi", "gloo"])
def test_horovodrun_starts_both_controllers(controller: str) -> None:
    machine = Machine(launcher="horovodrun", hosts=TWO_HOSTS, options=("--verbose",))
    argv = words(config(controller=controller), machine)
    assert argv[:2] == ["horovodrun", f"--{controller}"] and after(argv, "-H") == "a1:4,a2:4"
    assert argv[-4:] == ["--verbose", *WORKER], "a launcher's options stand before the worker's command"


def test_gloo_takes_horovodrun_by_itself() -> None:
    argv = words(config(controller="gloo"), Machine())
    assert argv[:2] == ["horovodrun", "--gloo"] and after(argv, "-H") == "localhost:8"


def test_srun_is_asked_for_pmix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Slurm is not part of the environment: its program stands in the PATH, and is not started.
    (tmp_path / "srun").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    argv = words(config(), Machine(launcher="srun", options=("--cpu-bind=cores",)), tagged=True)
    assert argv == ["srun", "--mpi=pmix", "-n", "8", "--label", "--cpu-bind=cores", *WORKER]


@pytest.mark.parametrize(
    ("machine", "run", "said"),
    [
        (Machine(launcher="srun"), config(controller="gloo"), "use horovodrun"),
        (Machine(launcher="mpirun"), config(controller="gloo"), "use horovodrun"),
        (Machine(hosts={"a1": 4}), config(), "8 workers, and the machine's hosts take 4"),
    ],
)
def test_what_a_launcher_cannot_do_is_refused(machine: Machine, run: RunConfig, said: str) -> None:
    with pytest.raises(UserError, match=said):
        words(run, machine)


def test_a_missing_launcher_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find("srun") is None
    with pytest.raises(UserError, match="srun, which is not installed"):
        words(config(), Machine(launcher="srun"))


def test_a_machine_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "machine.yaml"
    file.write_text("launcher: mpirun\nhosts: {a1: 4, a2: 2}\noptions: [--mca, btl, self]\nenvironment: {N: 3}\n")
    monkeypatch.setenv("HOROVOD_RUNNER_MACHINE", str(file))
    machine = load_machine(None)
    assert machine == load_machine(file)
    assert machine.host_list() == "a1:4,a2:2" and machine.environment == {"N": "3"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("launcher: ssh", "launcher: should be 'auto', 'mpirun', 'horovodrun' or 'srun', but it is \"ssh\""),
        ("host: {a: 1}", "host: is not a key of a machine file; write hosts"),
        ("hosts: {a: 0}", "hosts.a: should be at least 1"),
        ("hosts: [a, b]", "hosts: should be a group of settings"),
        ("options: [-v]", "name it: launcher: mpirun"),
        ("silence_minutes: 0", "silence_minutes: should be above 0"),
        ("- a", "valid dictionary"),
        ("{", "is not valid YAML"),
        ("{launcher: mpirun, launcher: srun}", "launcher: is given in line 1 already; remove one of the two"),
    ],
)
def test_mistakes_in_a_machine_file_are_named(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "machine.yaml"
    file.write_text(text)
    with pytest.raises(UserError) as mistake:
        load_machine(file)
    assert said in str(mistake.value) and "\n" not in str(mistake.value)
    assert str(mistake.value).startswith(f"{file}:1: ")


def test_a_missing_machine_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none.yaml cannot be read"):
        load_machine(tmp_path / "none.yaml")


class Watched:
    """A run's folder, a clock that is moved by hand, and the watchdog that watches both."""

    def __init__(self, root: Path, **limits: float) -> None:
        self.now = 0.0
        self.folder: RunFolder = Store(root).open_run(config(1))
        self.watchdog = Watchdog(Machine(**limits), self.folder, lambda: self.now)

    def over_at(self, minute: float) -> str | None:
        self.now = 60 * minute
        return self.watchdog.over()


def test_a_compute_only_run_is_given_up_after_its_time(tmp_path: Path) -> None:
    watched = Watched(tmp_path, silence_minutes=2)
    assert watched.over_at(1.9) is None
    assert "no progress for 2 minutes (silence_minutes" in (watched.over_at(2.1) or "")


def test_a_run_that_writes_is_waited_for(tmp_path: Path) -> None:
    watched = Watched(tmp_path, silence_minutes=2)
    for minute in (1.5, 3.0, 4.5):
        with watched.folder.steps_file.open("a") as file:
            file.write("a line\n")
        assert watched.over_at(minute) is None
    assert watched.over_at(6.6) is not None


def test_a_whole_run_may_have_a_limit_too(tmp_path: Path) -> None:
    watched = Watched(tmp_path, silence_minutes=2, run_minutes=3)
    watched.folder.log_file.write_text("something")
    assert watched.over_at(1.9) is None
    watched.folder.log_file.write_text("something else")
    assert "more than 3 minutes (run_minutes" in (watched.over_at(3.1) or "")
