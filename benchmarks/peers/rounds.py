"""Comparisons in rounds: every arm once a round, in an order of the round's own, so that a drifting machine hits all of
them alike.

Arms that are compared with one another form a block, as the arms of one framework and workload; within a round the
blocks come in random order, and so do the arms of a block. Ratios are taken within a round. An arm that fails is noted
as failed, and the rounds go on.
"""

from __future__ import annotations

import argparse
import datetime
import json
import random
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from horovod_runner.config.frameworks import PAIR
from horovod_runner.errors import UserError
from horovod_runner.machine import hardware
from horovod_runner.machine.terminal import tell
from horovod_runner.results import provenance


class Failed(Exception):
    """An arm that did not come to its end; the message says why."""


@dataclass(frozen=True)
class Sample:
    """What one arm gave in one round; None for what it does not measure, and `failed` says why it gave nothing.

    `images_per_second` are all workers' together; `seconds` are a step's, or a collective's; `peak_memory_bytes` the
    largest worker's.
    """

    images_per_second: float | None = None
    seconds: float | None = None
    peak_memory_bytes: int | None = None
    failed: str | None = None


Arms = Mapping[str, Sample]
Measure = Callable[[str, str], Sample]


@dataclass
class Rounds:
    """All rounds so far, block by block, and what was fixed for all of them; `file` keeps them, if there is one."""

    settings: Mapping[str, Any]
    file: Path | None = None
    rounds: list[dict[str, dict[str, Sample]]] = field(default_factory=list)
    origin: dict[str, Any] = field(default_factory=dict)

    def measure(self, blocks: Mapping[str, Sequence[str]], measure: Measure, wanted: int) -> None:
        """Go on until there are so many rounds; `measure` is called with a block and an arm, and may raise Failed."""
        self._resume()
        for number in range(wanted):
            if number == len(self.rounds):
                self.rounds.append({})
            order = random.Random(number)
            for block in shuffled(blocks, order):
                arms = shuffled(blocks[block], order)
                if block not in self.rounds[number]:
                    self.rounds[number][block] = {arm: _attempt(measure, block, arm, number) for arm in arms}
                    self._keep()

    def of(self, block: str) -> list[Arms]:
        """Return what the arms of a block gave, round after round."""
        return [each[block] for each in self.rounds if block in each]

    def _resume(self) -> None:
        """Take up the rounds that the file holds; UserError if they are not of this machine and these settings."""
        self.origin = _origin()
        if self.file is None or not self.file.exists():
            return
        held = json.loads(self.file.read_text())
        if held["settings"] != self.settings or held["machine"]["id"] != self.origin["machine"]["id"]:
            raise UserError(f"{self.file}: its rounds are of another machine or other settings; name another file")
        self.origin = {name: held[name] for name in self.origin}
        self.rounds = [
            {block: {arm: Sample(**sample) for arm, sample in arms.items()} for block, arms in each.items()}
            for each in held["rounds"]
        ]

    def _keep(self) -> None:
        if self.file is None:
            return
        plain = [
            {block: {a: _plain(s) for a, s in arms.items()} for block, arms in each.items()} for each in self.rounds
        ]
        self.file.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**self.origin, "settings": self.settings, "rounds": plain}, indent=1)
        self.file.write_text(text + "\n")


def ratios(rounds: Iterable[Arms], above: str, below: str) -> list[float]:
    """Return images a second of one arm over the other's, of every round in which both came to their end."""
    pairs = [(arms[above].images_per_second, arms[below].images_per_second) for arms in rounds]
    return [a / b for a, b in pairs if a is not None and b is not None]


def spread(values: Sequence[float]) -> str:
    """Return the median and the range in words, of at least one value."""
    return f"median {statistics.median(values):.3f}  range {min(values):.3f} to {max(values):.3f}"


def parser(told: str | None) -> argparse.ArgumentParser:
    """Return the options that all comparisons in rounds have; `told` is the module's documentation."""
    made = argparse.ArgumentParser(description=(told or "").partition("\n")[0])
    made.add_argument("--frameworks", nargs="+", default=list(PAIR), choices=PAIR)
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--steps", type=int, default=40)
    made.add_argument("--out", type=Path, help="a JSON file that keeps the rounds; what it holds is gone on from")
    return made


def shuffled(names: Iterable[str], order: random.Random) -> list[str]:
    """Return the names in random order."""
    listed = list(names)
    order.shuffle(listed)
    return listed


def _attempt(measure: Measure, block: str, arm: str, number: int) -> Sample:
    try:
        sample = measure(block, arm)
    except Failed as why:
        sample = Sample(failed=str(why))
    tell(f"round {number + 1}: {block} {arm}: {_told(sample)}")
    return sample


def _told(sample: Sample) -> str:
    if sample.failed is not None:
        return f"failed: {sample.failed}"
    if sample.images_per_second is not None:
        return f"{sample.images_per_second:.1f} images/s"
    return f"{1000 * (sample.seconds or 0):.1f} ms"


def _plain(sample: Sample) -> dict[str, Any]:
    return {name: value for name, value in asdict(sample).items() if value is not None}


def _origin() -> dict[str, Any]:
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    origin = {"started": started, **provenance.commit(), "machine": hardware.describe()}
    return {**origin, "versions": provenance.versions()}
