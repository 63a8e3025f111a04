"""The arms of the comparisons, each a function that runs it in processes of its own and returns what it gave.

An arm that fails, or takes longer than LIMIT_SECONDS, raises `Failed`, and all its processes are gone.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.peers.rounds import Failed, Sample
from benchmarks.workloads import WORKLOADS
from horovod_runner.config.machine import Machine
from horovod_runner.config.schema import decode
from horovod_runner.launch.launchers import Start, command, find
from horovod_runner.launch.processes import environment
from horovod_runner.results.store import Store

DISCARD = 5
IMAGE_SIZE = 64
LIMIT_SECONDS = 600
YIELDING = "OMPI_MCA_mpi_yield_when_idle"


def suite(framework: str, workers: int, steps: int, settings: Sequence[str] = (), workload: str = "resnet50") -> Sample:
    """Do a run of the suite, with further `path=value` settings."""
    with tempfile.TemporaryDirectory() as folder:
        argv = [sys.executable, "-m", "horovod_runner", "bench", "--framework", framework, "--workload", workload]
        argv += ["--results", folder, "--workers", str(workers), "--steps", str(steps)]
        argv += ["--data", "synthetic", "--image-size", str(IMAGE_SIZE)]
        for setting in ("threads=1", f"discard_steps={DISCARD}", "validate_every=0", "checkpoint.every=0", *settings):
            argv += ["--set", setting]
        together([argv])
        result = next(Store(Path(folder)).finished()).read_result()
        rate = result.images_per_second
        if result.status != "completed" or rate is None:
            raise Failed(result.error or result.status)
        return Sample(rate.mean, result.global_batch / rate.mean, result.peak_memory_bytes)


def bare(framework: str, processes: int, steps: int) -> Sample:
    """Run the hand-written step in so many processes at once that never talk; their images a second are added up."""
    with tempfile.TemporaryDirectory() as folder:
        outs = [Path(folder) / f"{i}.json" for i in range(processes)]
        together([script(f"bare_{framework}", out, steps) for out in outs])
        rates = [of_steps(_read(out), WORKLOADS["resnet50"].local_batch).images_per_second or 0 for out in outs]
        return Sample(images_per_second=sum(rates))


def ddp(workload: str, workers: int, steps: int) -> Sample:
    """Run torch's DistributedDataParallel over Gloo, in the suite's layout of memory."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "0.json"
        argv = [*script("ddp_torch", out, steps, workload), "--channels-last"]
        rendezvous = {"WORLD_SIZE": str(workers), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
        together([argv] * workers, [{**rendezvous, "RANK": str(rank)} for rank in range(workers)])
        return of_steps(_read(out), workers * WORKLOADS[workload].local_batch)


def minimal_horovod(framework: str, workload: str, workers: int, steps: int) -> Sample:
    """Run the minimal Horovod script as its documentation starts it, in default settings."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "0.json"
        launcher = [find("horovodrun") or "horovodrun", "-np", str(workers)]
        together([[*launcher, *script(f"minimal_horovod_{framework}", out, steps, workload)]])
        return of_steps(_read(out), workers * WORKLOADS[workload].local_batch)


def allreduce(workload: str, workers: int, times: int) -> Sample:
    """Reduce a model's gradients, alone and in place, so many times by MPI; return the median seconds of one."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "0.json"
        of_two = decode({"framework": "torch", "workers": workers, "allreduce": {"controller": "mpi"}}, "peers")
        together([command(of_two, script("bare_allreduce", out, times, workload), Start(workers, Machine()))])
        return Sample(seconds=statistics.median(_read(out)[DISCARD:]))


def script(name: str, out: Path, steps: int, workload: str = "resnet50") -> list[str]:
    """Return the argv of a hand-written script of this folder."""
    options = ["--workload", workload, "--steps", str(steps), "--image-size", str(IMAGE_SIZE)]
    return [sys.executable, "-m", f"benchmarks.peers.{name}", str(out), *options]


def of_steps(seconds: Sequence[float], images: int) -> Sample:
    """Return the throughput of steps of so many images each, of which the first DISCARD do not count."""
    timed = seconds[DISCARD:]
    return Sample(images * len(timed) / sum(timed), sum(timed) / len(timed))


def together(argvs: Sequence[Sequence[str]], variables: Sequence[Mapping[str, str]] | None = None) -> None:
    """Run commands at the same time to their end; Failed if one of them fails, with the first error that it told of."""
    variables = variables or [{}] * len(argvs)
    plain = {name: value for name, value in environment().items() if name != YIELDING}
    with tempfile.TemporaryFile() as said, _ended_together() as running:
        for argv, its_own in zip(argvs, variables, strict=True):
            process = subprocess.Popen(
                argv, stdout=said, stderr=subprocess.STDOUT, env={**plain, **its_own}, start_new_session=True
            )
            running.append(process)
        _wait(running)
        if any(process.returncode for process in running):
            said.seek(0)
            raise Failed(_diagnosis(said.read().decode(errors="replace")))


@contextmanager
def _ended_together() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Hand out a list for processes; whatever of them still runs at the end is ended, with its children."""
    running: list[subprocess.Popen[bytes]] = []
    try:
        yield running
    finally:
        for process in running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()


def _wait(running: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait for all, or until one has failed: the others would wait for it in vain."""
    began = time.monotonic()
    while any(process.poll() is None for process in running) and not any(process.poll() for process in running):
        if time.monotonic() - began > LIMIT_SECONDS:
            raise Failed(f"it took more than {LIMIT_SECONDS} seconds")
        time.sleep(0.05)


def _diagnosis(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if "Error: " in line]
    return [*errors[:1], *lines[-1:], "it said nothing"][0][:300]


def _read(out: Path) -> list[float]:
    seconds: list[float] = json.loads(out.read_text())
    return seconds


def _free_port() -> int:
    with socket.socket() as asking:
        asking.bind(("127.0.0.1", 0))
        port: int = asking.getsockname()[1]
        return port
