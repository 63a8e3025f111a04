"""Does a run survive what happens to hosts and links, and where it cannot, does it say which host was lost?

`python -m benchmarks.reliability.hosts --rounds 1` brings up emulated hosts, one a worker, and amid real runs pulls a
host's cable for two seconds, or for good, lets the host vanish, or lets its bandwidth fall to a tenth: in each
framework and under each strategy. A run that can go on has to end with the losses of an undisturbed one; one that
cannot has to end within a minute, name the host, and go on from its checkpoint to the same losses. Prints a line a run
and counts outcomes; `--out` keeps them as JSON. Exit code 1 if one was not as it has to be. Takes the rights to emulate
hosts.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

from horovod_runner.config.frameworks import BOUND
from horovod_runner.config.machine import Machine
from horovod_runner.config.schema import RunConfig, decode
from horovod_runner.config.settings import ClusterConfig
from horovod_runner.config.strategies import STRATEGIES
from horovod_runner.launch.emulated.cluster import Cluster, brought_up, in_blocks
from horovod_runner.launch.emulated.network import address
from horovod_runner.machine.terminal import alone, tell
from horovod_runner.matrix.runner import run_one
from horovod_runner.results.record import RunResult
from horovod_runner.results.store import RunFolder, Store, write_text

WORKERS, STEPS, LEAST_STEP, LAST_STEP = 2, 200, 30, 120
HOSTS = ClusterConfig(cores=0.5, rate_mbit=200.0)
SHORT_SECONDS = 2.0
TO_END_SECONDS = 60.0
LOST = 1  # the host that something happens to: rank 0, and mpirun, are on host 0


@dataclass(frozen=True)
class Event:
    """What happens to a host, and whether a run can go on."""

    happens: Callable[[Cluster], None]
    goes_on: bool


def _pulled_for_a_moment(cluster: Cluster) -> None:
    cluster.network.plug(LOST, in_=False)
    time.sleep(SHORT_SECONDS)
    cluster.network.plug(LOST, in_=True)


EVENTS = {
    "link down for 2 s": Event(_pulled_for_a_moment, goes_on=True),
    "bandwidth a tenth": Event(lambda c: c.network.shape(LOST, (HOSTS.rate_mbit or 0) / 10), goes_on=True),
    "link down for good": Event(lambda c: c.network.plug(LOST, in_=False), goes_on=False),
    "host vanishes": Event(lambda c: c.vanish(LOST), goes_on=False),
}


@dataclass(frozen=True)
class Outcome:
    """What became of a run; `ended_after` are seconds from the event, `wrong` says what was not as it has to be."""

    framework: str
    strategy: str
    event: str
    at_step: int
    status: str
    ended_after: float
    error: str | None
    wrong: str | None


def main() -> int:
    """Disturb and compare; return 1 if a run was not as it has to be."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--frameworks", nargs="+", default=list(BOUND))
    parser.add_argument("--strategies", nargs="+", default=[name for name, s in STRATEGIES.items() if s.reduces])
    parser.add_argument("--events", nargs="+", default=list(EVENTS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    outcomes = []
    with tempfile.TemporaryDirectory() as place:
        for outcome in _all(given, Path(place)):
            outcomes.append(outcome)
            tell(_line(outcome))
            if given.out is not None:
                write_text(given.out, json.dumps([asdict(one) for one in outcomes], indent=1) + "\n")
    wrong = sum(outcome.wrong is not None for outcome in outcomes)
    tell(f"{len(outcomes)} runs disturbed, {len(outcomes) - wrong} as they have to be")
    return 1 if wrong else 0


def _all(given: argparse.Namespace, place: Path) -> Iterator[Outcome]:
    draw = random.Random(given.seed)
    for framework, strategy in product(given.frameworks, given.strategies):
        config = _config(framework, strategy)
        undisturbed = _undisturbed(config, place / "undisturbed")
        for number, event in product(range(given.rounds), given.events):
            results = place / f"{framework}-{strategy}-{event}-{number}".replace(" ", "-")
            yield _disturbed(config, Store(results), event, draw.randint(LEAST_STEP, LAST_STEP), undisturbed)


def _config(framework: str, strategy: str) -> RunConfig:
    plain = {"workload": "unet", "framework": framework, "width": 4, "local_batch": 4, "threads": 1, "steps": STEPS}
    plain |= {"workers": WORKERS, "strategy": strategy, "data": {"examples": 64}, "validate_every": 0}
    return decode({**plain, "checkpoint": {"every": 10}}, "hosts")


def _undisturbed(config: RunConfig, results: Path) -> list[float]:
    store = Store(results)
    with brought_up(HOSTS, WORKERS) as cluster:
        if run_one(config, store, _machine(cluster)).status != "completed":
            raise RuntimeError("the undisturbed run failed")
    return _losses(store.folder(config))


def _disturbed(config: RunConfig, store: Store, name: str, step: int, undisturbed: Sequence[float]) -> Outcome:
    """Do a run, have something happen to it after a step, and if it ends by it, go on on hosts that are whole."""
    event, folder, happened = EVENTS[name], store.folder(config), list[float]()
    with brought_up(HOSTS, WORKERS) as cluster:
        other = threading.Thread(target=_happen, args=(event, cluster, folder, step, happened), daemon=True)
        other.start()
        result = run_one(config, store, _machine(cluster))
        ended = time.monotonic()
        other.join()
    seconds = ended - happened[0] if happened else 0.0
    wrong = _wrong(event, result, seconds)
    if result.status != "completed":
        with brought_up(HOSTS, WORKERS) as cluster:
            run_one(config, store, _machine(cluster))
    if _losses(folder) != undisturbed:
        wrong = f"{wrong or ''} the losses are not those of the undisturbed run".strip()
    return Outcome(config.framework, config.strategy, name, step, result.status, round(seconds, 1), result.error, wrong)


def _happen(event: Event, cluster: Cluster, folder: RunFolder, step: int, happened: list[float]) -> None:
    """Wait until a step is on the disk, and let the event happen, unless the run is over before."""
    while len(folder.read_steps() if folder.steps_file.exists() else ()) < step:
        time.sleep(0.05)
        if folder.result_file.exists():
            return
    happened.append(time.monotonic())
    event.happens(cluster)


def _wrong(event: Event, result: RunResult, seconds: float) -> str | None:
    """Return what was not as it has to be of a disturbed run."""
    if seconds == 0.0:
        return "the run was over before anything happened to it"
    if event.goes_on:
        return None if result.status == "completed" else "the run ended, and could have gone on"
    if result.status == "completed":
        return "the run completed, and its host was gone"
    if seconds > TO_END_SECONDS:
        return f"the run took {seconds:.0f} s to end"
    return None if address(LOST) in (result.error or "") else "the host is not named"


def _machine(cluster: Cluster) -> Machine:
    return cluster.machine(in_blocks(WORKERS, WORKERS), Machine(silence_minutes=3.0))


def _losses(folder: RunFolder) -> list[float]:
    return [step.train_loss for step in folder.read_steps()]


def _line(one: Outcome) -> str:
    judged = f"WRONG: {one.wrong}" if one.wrong else "as it has to be"
    error = f" ({one.error})" if one.error else ""
    return (
        f"{one.framework:10s} {one.strategy:9s} {one.event:18s} after step {one.at_step:3d}: {one.status},"
        f" {one.ended_after:.1f} s later{error}; {judged}"
    )


if __name__ == "__main__":
    raise SystemExit(alone(main))
