"""A cluster of emulated hosts: brought up for a run, offered to its launcher as a machine, and taken down.

Tried with Open MPI's rsh launcher, whose place of ssh `enter.py` takes; no daemon runs on the hosts.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from horovod_runner.config.machine import Machine
from horovod_runner.config.schema import RunConfig
from horovod_runner.config.settings import ClusterConfig
from horovod_runner.errors import UserError
from horovod_runner.launch.emulated import groups
from horovod_runner.launch.emulated.enter import HOSTS
from horovod_runner.launch.emulated.network import INTERFACE, Network, address
from horovod_runner.machine.emulated import VARIABLE, EmulatedHost
from horovod_runner.machine.limits import cores

RIGHTS = (
    "emulated hosts take the rights to make network namespaces and control groups, which this process lacks; start it"
    " as root (in a container: a privileged one), or remove cluster"
)
_ENTER = "horovod_runner.launch.emulated.enter"
_LEAVE_SECONDS = 5.0  # that a launcher's daemons may take to end by themselves
_numbers = itertools.count()

# No byte between hosts may bypass the links, so that shared memory is out, and nothing but them is looked for. Over one
# connection Open MPI 4.1 sends and receives large messages by turns: half the bandwidth (0.49 of it, over two 0.95).
_OPTIONS = (
    ("plm", "rsh"),
    ("plm_rsh_no_tree_spawn", "1"),
    ("btl", "tcp,self"),
    ("btl_tcp_if_include", INTERFACE),
    ("btl_tcp_links", "2"),
    ("oob_tcp_if_include", INTERFACE),
)


class EmulatedMachine(Machine):
    """A machine whose launcher is started on the first of its emulated hosts."""

    @property
    def before_launcher(self) -> Sequence[str]:
        """The words that take the launcher to that host."""
        return [sys.executable, "-m", _ENTER, "--stay", next(iter(self.hosts))]


@dataclass
class Cluster:
    """Emulated hosts that are up. `hides` are folders that a host has to do without, by its number."""

    host: EmulatedHost
    network: Network
    groups: groups.Groups
    hides: Mapping[int, Sequence[Path]] = field(default_factory=dict)

    def machine(self, workers: Sequence[int], of: Machine) -> Machine:
        """Return the machine that has so many workers on each host, and else is as the given one."""
        options = [word for name, value in _OPTIONS for word in ("--mca", name, value)]
        agent = f"{Path(sys.executable).name} -m {_ENTER}"
        variables = {VARIABLE: self.host.as_variable(), HOSTS: json.dumps(self._described())}
        return EmulatedMachine(
            launcher="mpirun",
            hosts={address(number): count for number, count in enumerate(workers)},
            options=(*options, "--mca", "plm_rsh_agent", agent, *of.options),
            environment={**of.environment, **variables},
            silence_minutes=of.silence_minutes,
            run_minutes=of.run_minutes,
        )

    def vanish(self, number: int) -> None:
        """Have a host be gone at once: nothing it had under way arrives, and nobody is told."""
        self.network.plug(number, in_=False)
        groups.end_all(self.groups.hosts[number])

    def _described(self) -> dict[str, dict[str, object]]:
        return {
            address(number): {
                "name": f"host{number}",
                "namespace": self.network.namespace(number),
                "group": str(group),
                "hides": [str(folder) for folder in self.hides.get(number, ())],
            }
            for number, group in enumerate(self.groups.hosts)
        }


@contextlib.contextmanager
def on_hosts(config: RunConfig, machine: Machine) -> Iterator[Machine]:
    """Give the machine that a run is launched on: the given one, or emulated hosts that are up for so long.

    UserError where they cannot be had.
    """
    if not config.cluster.emulated:
        yield machine
        return
    require_possible(config, machine)
    with brought_up(config.cluster, config.workers) as cluster:
        yield cluster.machine(in_blocks(config.workers, config.cluster.hosts_of(config.workers)), machine)


@contextlib.contextmanager
def brought_up(wanted: ClusterConfig, workers: int) -> Iterator[Cluster]:
    """Give emulated hosts for so many workers; whatever still runs on them in the end is ended."""
    hosts = wanted.hosts_of(workers)
    with contextlib.ExitStack() as stack:
        with _possible():
            network = Network(hosts, wanted.rate_mbit)
        stack.callback(network.close)
        with _possible():
            own = groups.make(hosts, next(_numbers))
        stack.callback(own.close, _LEAVE_SECONDS)
        yield Cluster(host(wanted, workers), network, own)


@contextlib.contextmanager
def _possible() -> Iterator[None]:
    """Say in a sentence why hosts cannot be had here."""
    try:
        yield
    except PermissionError:
        raise UserError(f"cluster: {RIGHTS}") from None
    except OSError as error:
        raise UserError(f"cluster: hosts cannot be emulated here: {error.strerror}; remove cluster") from None


def host_of(config: RunConfig) -> EmulatedHost | None:
    """Return what each of a run's emulated hosts is; None where it has none."""
    return host(config.cluster, config.workers) if config.cluster.emulated else None


def host(wanted: ClusterConfig, workers: int) -> EmulatedHost:
    """Return what each host of a cluster for so many workers is."""
    share = wanted.cores if wanted.cores is not None else cores().amount / wanted.hosts_of(workers)
    return EmulatedHost(platform.node(), wanted.hosts, share, wanted.rate_mbit)


def require_possible(config: RunConfig, machine: Machine) -> None:
    """Raise UserError where a run's emulated hosts need more than there is, or a machine of another kind."""
    each = host_of(config)
    if each is None:
        return
    if machine.hosts or machine.launcher not in ("auto", "mpirun"):
        raise UserError(
            "cluster: hosts are emulated on this machine, with mpirun, and the machine file names hosts or another"
            " launcher; leave them out of it, or remove cluster"
        )
    number, here = config.cluster.hosts_of(config.workers), cores().amount
    taken = number * each.cores
    if taken > here * (1 + 1e-9):
        raise UserError(
            f"cluster.cores: {number} hosts of {each.cores:g} cores take {taken:g}, and this machine has {here:g};"
            f" give {here / number:.3g} or less, or fewer hosts"
        )


def in_blocks(workers: int, hosts: int) -> list[int]:
    """Return the workers of each host: the first ranks on the first host, and none has two more than another."""
    return [workers // hosts + (number < workers % hosts) for number in range(hosts)]
