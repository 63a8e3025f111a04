"""Measures the candidates of a search by short real runs, keeps every one of them, and says what it does."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from horovod_runner.config.defaults import put_all
from horovod_runner.config.diagnostics import WrongSettings
from horovod_runner.config.machine import Machine
from horovod_runner.config.schema import RunConfig, decode
from horovod_runner.errors import UserError
from horovod_runner.matrix.progress import say
from horovod_runner.matrix.runner import run_one
from horovod_runner.results.store import Store
from horovod_runner.results.summary import summarise
from horovod_runner.tuning.ledger import Decision, Ledger, Measurement, Round, measurement, write_ledger
from horovod_runner.tuning.search import TITLES
from horovod_runner.tuning.space import DEFAULT, Candidate

SILENCE_MINUTES = 3.0  # a candidate that hangs is given up sooner than a run that somebody wants


@dataclass(frozen=True)
class Place:
    """Where runs are made, and where what they say is kept."""

    store: Store
    machine: Machine
    file: Path


class Runs:
    """A contest of real runs. `plain` describes the default, `ledger` has what was measured before."""

    def __init__(
        self, plain: Mapping[str, Any], ledger: Ledger, place: Place, minutes: float, console: Console
    ) -> None:
        self.ledger = ledger
        self._plain, self._place, self._minutes, self._console = plain, place, minutes, console
        self._before: Iterator[Round] = iter([row for row in ledger.rounds if row.whole])
        silence_minutes = min(place.machine.silence_minutes, SILENCE_MINUTES)
        self._machine = place.machine.model_copy(update={"silence_minutes": silence_minutes})
        self._used = self._largest_repeat()
        self._counts: dict[str, int] = {}
        self.dropped: dict[Candidate, str] = {}
        self._seconds = 0.0

    def admits(self, candidate: Candidate) -> bool:
        """Say whether there are such runs, and if not, why."""
        try:
            self._config(candidate, 0)
        except WrongSettings as error:
            self.tell(f"not tried: {candidate.name}: {error.problems[0][1]}")
            return False
        return True

    def measure(self, stage: str, candidates: Sequence[Candidate]) -> dict[Candidate, float]:
        """Return the next round, as it was measured before or by running each candidate once, in random order."""
        before = next((row for row in self._before if row.is_of(stage, candidates)), None)
        row = before or self._run_round(stage, candidates)
        self._seconds += sum(run.seconds for run in row.runs)
        self._show(row, "" if before is None else ", measured before")
        return row.rates()

    def share_spent(self) -> float:
        """Return the time of the runs so far, whenever they were made, as a part of what there is."""
        return self._seconds / (60 * self._minutes)

    def tell(self, sentence: str) -> None:
        """Print a line."""
        say(self._console, sentence)

    def drop(self, candidate: Candidate, why: str) -> None:
        """Say why a candidate is measured no more, and remember it for the table."""
        self.dropped[candidate] = f"dropped: {why}"
        self.tell(f"dropped: {candidate.name}: {why}")

    def decide(self, decision: Decision) -> None:
        """Keep how the search ended."""
        self._keep(decision=decision)

    def _run_round(self, stage: str, candidates: Sequence[Candidate]) -> Round:
        number, runs = len(self.ledger.rounds) + 1, list[Measurement]()
        self._used += 1
        order = list(candidates)
        random.Random(f"{self._plain} {number}").shuffle(order)
        earlier = self.ledger.rounds
        with self._console.status("") as status:
            for place, candidate in enumerate(order, 1):
                status.update(escape(f"{TITLES[stage]}: {candidate.name} ({place} of {len(order)})"))
                runs.append(self._run(candidate))
                row = Round(number=number, stage=stage, whole=place == len(order), runs=tuple(runs))
                self._keep(rounds=(*earlier, row))
        return row

    def _run(self, candidate: Candidate) -> Measurement:
        """Do one run; what ends it is the candidate's failure, but the default's is the user's to fix."""
        config = self._config(candidate, self._used)
        began = time.perf_counter()
        try:
            result = run_one(config, self._place.store, self._machine)
        except UserError as error:
            if candidate == DEFAULT:
                raise
            result = summarise(config, "failed", error=str(error))
        done = measurement(candidate, result, time.perf_counter() - began)
        if done.status != "completed" and candidate == DEFAULT:
            raise UserError(f"the default settings {done.status}: {done.error}; fix that first, or tune another job")
        return done

    def _config(self, candidate: Candidate, repeat: int) -> RunConfig:
        plain = put_all(self._plain, dict(candidate.settings))
        return decode({**plain, "repeat": repeat}, "tune")

    def _keep(self, **changes: Any) -> None:
        self.ledger = self.ledger.model_copy(update=changes)
        write_ledger(self._place.file, self.ledger)

    def _show(self, row: Round, note: str) -> None:
        """Print a round: the default's rate, and the others' over it."""
        rates = row.rates()
        count = self._counts[row.stage] = self._counts.get(row.stage, 0) + 1
        others = sorted((c for c in rates if c != DEFAULT), key=lambda c: -rates[c])
        said = "; ".join(f"{c.name} {rates[c] / rates[DEFAULT]:.2f}" for c in others)
        title = f"{TITLES[row.stage]}, round {count}{note}"
        self.tell(f"{title}: default {rates[DEFAULT]:.1f} images/s; times as fast: {said or 'none'}")
        for run in row.runs:
            if run.status != "completed":
                self.drop(run.key, f"{run.status}: {run.error}")

    def _largest_repeat(self) -> int:
        """Return the largest number of a run that is there already: one that was removed from the ledger stays done."""
        names = self._place.store.names(self._config(DEFAULT, 0).experiment)
        return max((int(found[1]) for name in names if (found := re.search(r"-s\d+r(\d+)-", name))), default=-1)
