"""Emulated hosts as far as no host is needed: who is placed where, what is refused, and whose control groups go."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from horovod_runner.config.job_settings import When
from horovod_runner.config.machine import Machine
from horovod_runner.config.schema import RunConfig, decode
from horovod_runner.errors import UserError
from horovod_runner.launch.emulated import groups
from horovod_runner.launch.emulated.cluster import host_of, in_blocks, require_possible
from horovod_runner.machine import emulated, hardware, limits, share
from horovod_runner.machine.emulated import VARIABLE, EmulatedHost

CORES = limits.core_count()


def config(workers: int = 4, **cluster: Any) -> RunConfig:
    return decode({"framework": "torch", "workers": workers, "cluster": cluster}, "test")


@pytest.mark.parametrize(
    ("workers", "hosts", "blocks"), [(4, 2, [2, 2]), (5, 2, [3, 2]), (4, 4, [1, 1, 1, 1]), (7, 3, [3, 2, 2])]
)
def test_workers_are_placed_in_blocks(workers: int, hosts: int, blocks: list[int]) -> None:
    assert in_blocks(workers, hosts) == blocks


def test_a_cluster_is_what_any_of_its_settings_makes() -> None:
    assert not config().cluster.emulated
    assert decode({"framework": "torch", "cluster": None}, "test") == decode({"framework": "torch"}, "test")
    assert all(config(**{name: 1}).cluster.emulated for name in ("hosts", "cores", "rate_mbit"))
    assert config(rate_mbit=100).cluster.hosts_of(4) == 4, "without hosts, every worker has one of its own"


def test_a_host_has_its_share_of_the_cores_unless_it_is_told() -> None:
    shares = [host_of(config(hosts=2)), host_of(config(hosts=2, cores=0.25)), host_of(config())]
    assert [host and host.cores for host in shares] == [CORES / 2, 0.25, None]


@pytest.mark.parametrize(
    ("settings", "machine", "words"),
    [
        ({"hosts": 2, "cores": CORES}, Machine(), ["cluster.cores", f"take {2 * CORES}", f"give {CORES / 2:.3g}"]),
        ({"hosts": 2}, Machine(hosts={"node1": 4}), ["cluster", "the machine file names hosts"]),
        ({"hosts": 2}, Machine(launcher="srun"), ["cluster", "another launcher"]),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], machine: Machine, words: list[str]) -> None:
    with pytest.raises(UserError) as refusal:
        require_possible(config(**settings), machine)
    assert all(word in str(refusal.value) for word in words), refusal.value
    require_possible(config(), machine)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"workers": 2, "cluster": {"hosts": 4}}, "cluster.hosts: 4 hosts are too many for 2 workers"),
        ({"workers": 2, "cluster": {"hosts": 2}, "allreduce": {"controller": "gloo"}}, "workers meet by mpi"),
        ({"cluster": {"rate": 3}}, "rate_mbit"),
    ],
)
def test_settings_that_cannot_stand_together_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        decode({"framework": "torch", **settings}, "test")


def test_emulated_hosts_are_machines_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two are one machine only where all is equal; and ranks on it, whose node has another name, say the same."""
    plain = hardware.describe()
    hosts = [host_of(config(hosts=2, cores=0.5, rate_mbit=rate)) for rate in (None, 100, 200)]
    told = [hardware.describe(host) for host in hosts]
    assert len({plain["id"], *(machine["id"] for machine in told)}) == 4
    assert len({plain["kind"], *(machine["kind"] for machine in told)}) == 4
    assert {machine["emulated"]["on"] for machine in told} == {plain["id"]}
    assert hosts[1] is not None
    monkeypatch.setenv(VARIABLE, hosts[1].as_variable())
    monkeypatch.setattr("platform.node", lambda: "host0")
    assert hardware.describe() == told[1]


def test_a_rank_counts_its_hosts_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, EmulatedHost("here", 2, 0.4, None).as_variable())
    assert limits.core_count() == 1
    quota = limits.cpu_quota()
    assert quota is not None and quota.amount == 0.4


def test_hosts_are_said_in_words() -> None:
    assert emulated.in_words({"hosts": 2, "cores": 0.5, "rate_mbit": 100.0}) == (
        "2 emulated hosts of 0.5 cores and 100 Mbit/s"
    )
    assert emulated.in_words({"hosts": None, "cores": 1, "rate_mbit": None}) == (
        "an emulated host a worker, of 1 core and an unshaped link"
    )


def test_shares_are_written_in_both_versions_words(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").touch()
    share.limit(tmp_path, 0.4)
    assert (tmp_path / "cpu.max").read_text() == "4000 10000"
    (tmp_path / "cpu.max").unlink()
    share.limit(tmp_path, 0.01)
    words = [(tmp_path / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")]
    assert words == ["1000", "100000"], "the kernel takes no quota below a millisecond"


def test_the_next_start_removes_what_a_killed_owner_left_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups of an owner that lives, of other process namespaces, and with other names stay."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    space = os.stat("/proc/self/ns/pid").st_ino
    left = tmp_path / f"horovod-runner-{space}-{dead.pid}-1-0" / "host0"
    stays = [tmp_path / name / "host0" for name in (f"horovod-runner-1{space}-{dead.pid}-1-0", "user.slice")]
    for group in (left, *stays):
        group.mkdir(parents=True)
    (tmp_path / "cpu.shares").touch()
    monkeypatch.setattr(groups, "groups", lambda controller: iter([tmp_path]))
    first, second = groups.make(2, 0), groups.make(1, 1)
    assert not left.parent.exists() and all(group.exists() for group in (*stays, *first.hosts, *second.hosts))
    assert first.owner != second.owner
    second.close()
    first.close()
    assert sorted(tmp_path.iterdir()) == sorted([*(group.parent for group in stays), tmp_path / "cpu.shares"])


def test_tuned_settings_are_for_the_hosts_that_they_were_found_on() -> None:
    on_two = When.model_validate({"workers": 2, "cluster": {"hosts": 2, "rate_mbit": 100}})
    runs = [{"workers": 2}, {"workers": 2, "cluster": {"hosts": 2, "rate_mbit": 100, "cores": None}}]
    assert [on_two.matches(run) for run in runs] == [False, True]
    assert [When(workers=2).matches(run) for run in runs] == [True, False]
    assert When.model_validate(on_two.by_key()) == on_two and "cluster" not in When(workers=2).by_key()
