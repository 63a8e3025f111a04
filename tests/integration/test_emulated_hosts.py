"""Emulated hosts, for real where this process has the rights, and the refusal where it has not.

A test that needs the rights, in a place without them, holds the suite to saying so in one sentence.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from horovod_runner.config.machine import Machine
from horovod_runner.config.schema import decode
from horovod_runner.config.settings import ClusterConfig
from horovod_runner.errors import UserError
from horovod_runner.launch.emulated.ability import ability
from horovod_runner.launch.emulated.cluster import Cluster, brought_up
from horovod_runner.launch.emulated.enter import HOSTS
from horovod_runner.launch.emulated.network import address
from horovod_runner.matrix.runner import run_one
from horovod_runner.results.store import Store, read_json
from tests.conftest import ROOT, Done, bench, bench_argv, losses, plain_environment

CAN = ability().missing is None
TWO = ["--workers", "2", "--steps", "6", "--set", "cluster.hosts=2", "--set", "cluster.cores=0.5"]
SHAPED = [*TWO, "--set", "cluster.rate_mbit=200"]
CAP_SYS_ADMIN, PR_CAPBSET_DROP = 21, 24


def refused(done: Done) -> bool:
    [sentence] = done.err.splitlines()
    return done.code == 2 and "emulated hosts take the rights" in sentence and "start it as root" in sentence


@pytest.mark.usefixtures("real_ranks")
def test_two_hosts_train_as_two_workers_do_in_both_frameworks(results: Path) -> None:
    runs = {name: bench(name, "unet", results / name, *SHAPED) for name in ("torch", "tensorflow")}
    if not CAN:
        assert all(map(refused, runs.values()))
        return
    plain = bench("torch", "unet", results / "plain", "--workers", "2", "--steps", "6")
    for name, done in runs.items():
        assert done.code == 0, done.err
        machine = read_json(done.folder.provenance_file)["machine"]
        assert machine["emulated"].items() >= {"hosts": 2, "cores": 0.5, "rate_mbit": 200.0}.items()
        assert machine["emulated"]["on"] == read_json(plain.folder.provenance_file)["machine"]["id"] != machine["id"]
        assert read_json(done.folder.provenance_file)["launcher"]["hosts"] == 2
        assert "2 emulated hosts of 0.5 cores and 200 Mbit/s, on one machine" in done.out
        exact = name == "torch"
        assert losses(done.folder) == pytest.approx(losses(plain.folder), rel=1e-6 if exact else 0.05)


@pytest.mark.usefixtures("real_ranks")
def test_a_host_that_does_not_see_the_results_says_so(results: Path) -> None:
    if not CAN:
        return
    plain = {"workload": "unet", "framework": "torch", "width": 4, "local_batch": 4, "workers": 2, "steps": 2}
    results.mkdir()
    with brought_up(ClusterConfig(hosts=2), 2) as cluster, pytest.raises(UserError) as refusal:
        cluster.hides = {1: [results]}
        run_one(decode(plain, "test"), Store(results), cluster.machine([1, 1], Machine()))
    assert "is not there on host host1" in str(refusal.value) and "--results" in str(refusal.value)


def test_without_the_rights_one_sentence_says_so(results: Path) -> None:
    done = subprocess.run(
        bench_argv("torch", "unet", results, "--steps", "2", "--set", "cluster.hosts=1"),
        cwd=ROOT,
        env=plain_environment(),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=give_up_rights,
    )
    assert refused(Done(done.returncode, done.stdout, done.stderr, results))


def give_up_rights() -> None:
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN, 0, 0, 0)


OWNER = """
import sys, time
from horovod_runner.config.machine import Machine
from horovod_runner.config.settings import ClusterConfig
from horovod_runner.launch.emulated.cluster import brought_up
with brought_up(ClusterConfig(hosts=2), 2) as cluster:
    print(cluster.machine([1, 1], Machine()).environment["SUITE_HOSTS"], *cluster.groups.hosts, sep="\\n", flush=True)
    time.sleep(600)
"""


def test_what_a_killed_owner_left_is_removed_by_the_next_start() -> None:
    if not CAN:
        return
    owner = subprocess.Popen([sys.executable, "-c", OWNER], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    hosts, first, second = (owner.stdout.readline().strip() for _ in range(3))
    stray = psutil.Process(on(hosts, 1, "sleep", "600").pid)
    wait_for(lambda: "\n" in Path(second, "cgroup.procs").read_text())
    with brought_up(ClusterConfig(hosts=1), 1):
        assert Path(first).exists() and stray.is_running(), "an owner that lives keeps what is its own"
    owner.kill()
    owner.wait()
    with brought_up(ClusterConfig(hosts=1), 1) as next_one:
        assert not Path(first).exists() and not Path(second).exists()
        assert all(group.exists() for group in next_one.groups.hosts)
    stray.wait(10)


def test_two_clusters_have_the_same_addresses_and_do_not_meet() -> None:
    if not CAN:
        return
    pair = ClusterConfig(hosts=2, rate_mbit=100.0)
    with brought_up(pair, 2) as one, brought_up(pair, 2) as other:
        for cluster in (one, other):
            before = cluster.network.sent(0)
            assert talk(cluster) == 0
            assert cluster.network.sent(0) - before > 10_000
        one.network.plug(1, in_=False)
        assert talk(one) != 0, "a host whose cable is out is not reached"
        assert talk(other) == 0
        one.network.plug(1, in_=True)
        wait_for(lambda: talk(one) == 0)


TALK = f"""
import socket, sys
with socket.create_server(("{address(1)}", 5000)) as server:
    server.settimeout(3)
    print("ready", flush=True)
    other, _ = server.accept()
    got = b""
    while len(got) < 10_000:
        got += other.recv(10_000) or sys.exit(1)
"""
CALL = f'import socket; socket.create_connection(("{address(1)}", 5000), 2).sendall(bytes(10_000))'


def talk(cluster: Cluster) -> int:
    """Send 10,000 bytes from host 0 to host 1; return 0 if they arrive."""
    hosts = cluster.machine([1, 1], Machine()).environment[HOSTS]
    with on(hosts, 1, sys.executable, "-c", TALK, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None and server.stdout.readline()
        caller = on(hosts, 0, sys.executable, "-c", CALL)
        return caller.wait(20) or server.wait(20)


def on(hosts: str, number: int, *command: str, stdout: int | None = None) -> subprocess.Popen[bytes]:
    """Start a command on a host."""
    enter = [sys.executable, "-m", "horovod_runner.launch.emulated.enter", "--stay", address(number)]
    return subprocess.Popen(
        [*enter, *command], cwd=ROOT, env=plain_environment(**{HOSTS: hosts}), stdout=stdout, stderr=subprocess.DEVNULL
    )


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
