"""Are emulated hosts what they pretend to be? The emulation's own test, run before any of its figures is believed.

`python -m benchmarks.peers.emulation` measures, by real runs of a U-Net in PyTorch (`--framework`),
- how long bringing eight hosts up, and taking them down, takes;
- how steady one worker's speed on an emulated host is over repeats;
- whether N hosts that compute and never reduce are each as fast as one alone;
- whether the bytes that a host's interface counts for a step are those of the strategy's formula;
- what a host with an unshaped link costs, against the same workers under the same shares and no host.
Speeds are medians of `--repeats` runs, and ratios are taken within a repeat, whose runs follow each other in random
order. Prints a line a target; `--out` keeps everything as JSON. Exit code 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.workloads import WORKLOADS
from horovod_runner.config.machine import Machine
from horovod_runner.config.schema import RunConfig, decode
from horovod_runner.config.settings import ClusterConfig
from horovod_runner.launch.emulated.cluster import EmulatedMachine, brought_up, host, in_blocks
from horovod_runner.launch.launchers import Start, command
from horovod_runner.launch.processes import environment, started
from horovod_runner.machine import hardware
from horovod_runner.machine.emulated import VARIABLE
from horovod_runner.machine.terminal import alone, tell
from horovod_runner.matrix.runner import run_one
from horovod_runner.results import provenance
from horovod_runner.results.store import RunFolder, Store, write_text

CORES = 1.6  # of this machine's two, shared out to all hosts: the rest is for everybody else
MANY = 8
RATE_MBIT = 500.0
STRATEGIES = ("blocking", "unfused", "fused", "grouped", "multistep")
FLOAT_BYTES = 4
GROUPS = "SUITE_GROUPS"


@dataclass(frozen=True)
class Target:
    """What was asked and what was found; `least` and `most` bound what is good."""

    name: str
    found: float
    values: tuple[float, ...]
    least: float | None
    most: float | None

    @property
    def met(self) -> bool:
        """Whether the median is good."""
        return (self.least is None or self.found >= self.least) and (self.most is None or self.found <= self.most)


def main() -> int:
    """Measure and print; return 1 if a target is missed."""
    if os.environ.get(GROUPS):
        return _become_member(sys.argv[1:])
    parser = argparse.ArgumentParser()
    parser.add_argument("--framework", default="torch")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--hosts", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    load = [os.getloadavg()[0]]
    began = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with tempfile.TemporaryDirectory() as place:
        bench = Bench(given, Store(Path(place)))
        found: list[Target] = []
        for part in (bench.bring_up, bench.speeds, bench.traffic, bench.unshaped):
            for target in part():
                found.append(target)
                tell(_line(target))
    if given.out is not None:
        origin = {**provenance.commit(), "machine": hardware.describe(), "versions": provenance.versions()}
        told = {"command": provenance.command(), "started": began, **origin, "settings": vars(given) | {"out": None}}
        told["load"] = [*load, os.getloadavg()[0]]  # at the beginning and at the end: others may have used the cores
        rows = [asdict(target) | {"met": target.met} for target in found]
        write_text(given.out, json.dumps({**told, "targets": rows, "runs": bench.runs}, indent=1) + "\n")
    return int(not all(target.met for target in found))


class Bench:
    """The measurements; `runs` keeps what every run gave."""

    def __init__(self, given: argparse.Namespace, store: Store) -> None:
        self._given, self._store, self._draw = given, store, random.Random(given.seed)
        self.runs: list[dict[str, Any]] = []
        self._count = 0

    def bring_up(self) -> list[Target]:
        """Time the bringing up, and the taking down, of eight hosts with shaped links."""
        up, down = [], []
        for _ in range(self._given.repeats):
            began = time.perf_counter()
            with brought_up(ClusterConfig(hosts=MANY, cores=CORES / MANY, rate_mbit=RATE_MBIT), MANY):
                up.append(time.perf_counter() - began)
                began = time.perf_counter()
            down.append(time.perf_counter() - began)
        return [
            _target("seconds to bring eight hosts up", up, most=2.0),
            _target("seconds to take eight hosts down", down, most=2.0),
        ]

    def speeds(self) -> list[Target]:
        """Compare hosts that compute and never reduce with one alone of the same share, for each number of hosts."""
        found = []
        for hosts in self._given.hosts:
            cluster, one, many = {"cores": CORES / hosts}, list[float](), list[float]()
            for _ in range(self._given.repeats):
                for workers in self._draw.sample([1, hosts], 2):
                    speed = self._speed(workers, "none", cluster) / workers
                    (one if workers == 1 else many).append(speed)
            ratios = [each / alone_ for each, alone_ in zip(many, one, strict=True)]
            cores = f"{CORES / hosts:g} cores"
            found += [
                _target(f"spread of one worker's speed on a host of {cores}, (max - min) / median", [_spread(one)]),
                _target(f"speed of each of {hosts} hosts of {cores} over one alone", ratios, least=0.9, most=1.1),
            ]
        return found

    def traffic(self) -> list[Target]:
        """Compare the bytes that a host sends in a step with the ring's: 2 (N - 1) / N of the gradients."""
        found = []
        for hosts in self._given.hosts:
            for strategy in STRATEGIES:
                config = self._config(hosts, strategy, {})
                ring = 2 * (hosts - 1) / hosts * _gradient_bytes(config)
                ratio = self._bytes_a_step(config, hosts) / ring
                found.append(_target(f"bytes a step over the formula's, {strategy}, N = {hosts}", [ratio], 0.9, 1.1))
        return found

    def unshaped(self) -> list[Target]:
        """Compare two workers on hosts with unshaped links with two that only have the shares, by blocking steps."""
        ratios = []
        for _ in range(self._given.repeats):
            seconds = {}
            for hosts in self._draw.sample([True, False], 2):
                config = self._config(2, "blocking", {"cores": CORES / 2})
                folder = self._store.folder(config)
                if hosts:
                    run_one(config, self._store)
                else:
                    self._without_hosts(config, folder)
                seconds[hosts] = self._kept(folder, hosts=hosts)
            ratios.append(seconds[True] / seconds[False])
        return [_target("a step on hosts with unshaped links over one without hosts", ratios, most=1.05)]

    def _speed(self, workers: int, strategy: str, cluster: dict[str, float]) -> float:
        config = self._config(workers, strategy, cluster)
        run_one(config, self._store)
        return config.global_batch / self._kept(self._store.folder(config), hosts=True) if config.global_batch else 0.0

    def _kept(self, folder: RunFolder, *, hosts: bool) -> float:
        """Return the median seconds of a run's timed steps, and keep what it gave."""
        result = folder.read_result()
        if result.step_seconds is None or result.status != "completed":
            raise RuntimeError(f"{folder.path.name}: {result.error or 'no step was timed'}; see {folder.log_file}")
        row = {"workers": result.workers, "strategy": folder.read_config().strategy, "hosts": hosts}
        row |= {"cluster": folder.read_config().cluster.model_dump(), "step_seconds": asdict(result.step_seconds)}
        self.runs.append(row)
        return result.step_seconds.median

    def _config(self, workers: int, strategy: str, cluster: dict[str, float], steps: int | None = None) -> RunConfig:
        """Return a run that nobody has done yet."""
        self._count += 1
        plain = {"workload": "unet", "framework": self._given.framework, "width": 8, "local_batch": 4, "threads": 1}
        plain |= {"workers": workers, "strategy": strategy, "steps": steps or self._given.steps, "cluster": cluster}
        plain |= {"data": {"examples": 64}, "validate_every": 0, "checkpoint": {"every": 0}, "repeat": self._count}
        return decode(plain, "emulation")

    def _bytes_a_step(self, config: RunConfig, hosts: int) -> float:
        """Return the mean of the hosts' bytes a step: of two runs, what the longer one sent more."""
        sent = {}
        for steps in (20, 40):
            wanted = ClusterConfig(cores=CORES / hosts, rate_mbit=RATE_MBIT)
            longer = self._config(hosts, config.strategy, {}, steps)
            with brought_up(wanted, hosts) as cluster:
                if (
                    run_one(longer, self._store, cluster.machine(in_blocks(hosts, hosts), Machine())).status
                    != "completed"
                ):
                    raise RuntimeError(f"a run by {config.strategy} failed; see {self._store.folder(longer).log_file}")
                sent[steps] = statistics.fmean(cluster.network.sent(number) for number in range(hosts))
        self.runs.append({"strategy": config.strategy, "workers": hosts, "sent_bytes": sent})
        return (sent[40] - sent[20]) / 20

    def _without_hosts(self, config: RunConfig, folder: RunFolder) -> None:
        """Do a run as on hosts, by TCP and with a share of the cores a worker, but on this machine's own network."""
        self._store.open_run(config)
        with brought_up(config.cluster, config.workers) as cluster:
            of_hosts = cluster.machine(in_blocks(config.workers, config.workers), Machine())
            assert isinstance(of_hosts, EmulatedMachine)
            options = ("--mca", "btl", "tcp,self", "--mca", "btl_tcp_links", "2", "--mca", "btl_tcp_if_include", "lo")
            here = Machine(launcher="mpirun", options=options)
            told = {GROUPS: json.dumps([str(group) for group in cluster.groups.hosts])}
            told |= {VARIABLE: host(config.cluster, config.workers).as_variable(), "SUITE_LOGGED": "1"}
            worker = [sys.executable, "-m", "benchmarks.peers.emulation", str(folder.path)]
            argv = command(config, worker, Start(config.workers, here))
            with folder.open_log() as log, started(argv, environment(here) | told, log) as process:
                process.wait()


def _become_member(words: Sequence[str]) -> int:
    """Join the control group of this rank's number, and become its worker."""
    rank = int(os.environ["OMPI_COMM_WORLD_LOCAL_RANK"])
    Path(json.loads(os.environ.pop(GROUPS))[rank], "cgroup.procs").write_text("0")
    os.execv(sys.executable, [sys.executable, "-m", "horovod_runner.training.worker", *words])


def _gradient_bytes(config: RunConfig) -> int:
    """Return the bytes of a worker's gradients in float32."""
    job, data = WORKLOADS[config.workload], config.data
    assert config.width and data.channels and data.image_size
    classes = 11  # digit scenes: the ground and ten digits
    architecture = job.architecture(
        width=config.width, channels=data.channels, classes=classes, image_size=data.image_size, **config.options
    )
    return FLOAT_BYTES * architecture.parameter_count()


def _target(name: str, values: Sequence[float], least: float | None = None, most: float | None = None) -> Target:
    return Target(name, statistics.median(values), tuple(values), least, most)


def _spread(values: Sequence[float]) -> float:
    return (max(values) - min(values)) / statistics.median(values)


def _line(target: Target) -> str:
    values = target.values
    over = f" [{min(values):.3g}, {max(values):.3g}]" if len(values) > 1 else ""
    bounds = [f"{sign} {bound:g}" for sign, bound in ((">=", target.least), ("<=", target.most)) if bound is not None]
    verdict = f"  ({' and '.join(bounds)}: {'met' if target.met else 'MISSED'})" if bounds else ""
    return f"{target.name}: {target.found:.3g}{over}{verdict}"


if __name__ == "__main__":
    sys.exit(alone(main))
