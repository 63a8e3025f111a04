"""The course of a search: stages of rounds that drop candidates, then fresh rounds that judge the one that is left.

Nothing is started here: whoever measures a round is passed in, and a search of the same rounds takes the same course.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from horovod_runner.statistics.elimination import LOOKS, losers, standing, verdict
from horovod_runner.statistics.interval import FEWEST_SAMPLES, Interval
from horovod_runner.tuning.space import DEFAULT, Candidate, Space

MOST_ROUNDS = 6
"""Of a stage: what is indistinguishable by then is too close to matter."""
SHARES = {"ways": 0.35, "refinements": 0.65, "threads": 0.85}
"""The part of the time after which a stage begins no further round; the rest belongs to the verdict."""
TITLES = {
    "ways": "strategies and controllers",
    "refinements": "fusion, cycle time, yielding",
    "threads": "threads",
    "verdict": "fresh rounds",
}

RoundRates = Mapping[Candidate, float]
"""Images per second of a round; a candidate that failed in it is missing."""


class Contest(Protocol):
    """Whoever measures candidates, and shows what is done."""

    def admits(self, candidate: Candidate) -> bool:
        """Say whether a candidate can be run at all, and if not, show why."""
        ...

    def measure(self, stage: str, candidates: Sequence[Candidate]) -> RoundRates:
        """Measure each candidate once, in random order; UserError if the default fails."""
        ...

    def share_spent(self) -> float:
        """Return the part of the time that is spent: above 1 there is none left."""
        ...

    def drop(self, candidate: Candidate, why: str) -> None:
        """Show why a candidate is measured no more."""
        ...

    def tell(self, sentence: str) -> None:
        """Show what was decided."""
        ...


@dataclass(frozen=True)
class Outcome:
    """How a search ended: `winner` is DEFAULT where nothing is better; `ratio` is of the candidate that was judged."""

    winner: Candidate
    judged: Candidate | None
    ratio: Interval | None
    sentence: str


def search(space: Space, contest: Contest) -> Outcome:
    """Return the best candidate of a space, or the default where nothing is better beyond the noise."""
    order = [DEFAULT]
    for stage in SHARES:
        candidates = [candidate for candidate in _candidates(space, stage, order) if contest.admits(candidate)]
        if not candidates:
            continue
        if order != [DEFAULT] and contest.share_spent() >= SHARES[stage]:
            contest.tell(f"{TITLES[stage]}: no time is left for them; give more --minutes")
            continue
        order = _race(stage, [DEFAULT, *candidates] if DEFAULT in order else candidates, contest)
    return _judge(order[0], contest)


def _candidates(space: Space, stage: str, order: Sequence[Candidate]) -> list[Candidate]:
    if stage == "ways":
        return space.ways()
    return space.refinements(order) if stage == "refinements" else space.placements(order)


def _race(stage: str, candidates: Sequence[Candidate], contest: Contest) -> list[Candidate]:
    """Return what a stage leaves: the leader, then the others from the fastest to the slowest.

    The default is measured to the end; once it was beaten, it is not among them.
    """
    alive, rows = list(candidates), list[RoundRates]()
    contest.tell(f"{TITLES[stage]}: {len(set(candidates) - {DEFAULT})} beside the default")
    while alive:
        measured = alive if DEFAULT in alive else [DEFAULT, *alive]
        rows.append(contest.measure(stage, measured))
        completed = [candidate for candidate in measured if candidate in rows[-1]]
        slow = losers(rows, completed)
        best = standing(rows, completed)[0]
        for candidate, drop in slow.items():
            if candidate in alive:
                why = f"{drop.ratio:.2f} times as fast as {best.name}, at most {drop.high:.2f}"
                contest.drop(candidate, why)
        alive = [candidate for candidate in alive if candidate in completed and candidate not in slow]
        if alive == [DEFAULT] or (len(rows) >= FEWEST_SAMPLES and _over(stage, len(rows), len(alive), contest)):
            break
    return _leader_first(standing(rows, alive or [DEFAULT]))


def _over(stage: str, rounds: int, alive: int, contest: Contest) -> bool:
    """Say whether a stage ends: one is left, or it took long enough."""
    return alive == 1 or rounds >= MOST_ROUNDS or contest.share_spent() >= SHARES[stage]


def _leader_first(order: Sequence[Candidate]) -> list[Candidate]:
    """Return candidates that were indistinguishable, led by the fastest less what was not shown to help.

    A setting is changed only if runs without it were dropped; so the default leads until it is slower with confidence.
    """
    leader = min((c for c in order if set(c.settings) <= set(order[0].settings)), key=lambda c: len(c.settings))
    return [leader, *(candidate for candidate in order if candidate != leader)]


def _judge(leader: Candidate, contest: Contest) -> Outcome:
    """Compare the leader with the default in rounds of their own: being chosen as the fastest flatters the chosen."""
    if leader == DEFAULT:
        return Outcome(DEFAULT, None, None, "nothing was faster than the default settings beyond the noise: they stay")
    contest.tell(f"{TITLES['verdict']}: {leader.name} against the default")
    rows = list[RoundRates]()
    for look in LOOKS:
        while len(rows) < look:
            rows.append(contest.measure("verdict", [DEFAULT, leader]))
            if leader not in rows[-1]:
                return Outcome(DEFAULT, leader, None, f"{leader.name} failed in the end: the default settings stay")
        ratio = verdict(rows, leader, DEFAULT)
        said = f"{ratio.mean:.3f} [{ratio.ci95_low:.3f}, {ratio.ci95_high:.3f}] times as fast as the default settings"
        if ratio.lies_above(1):
            return Outcome(leader, leader, ratio, f"{leader.name} is {said}, in {len(rows)} fresh rounds")
        if ratio.mean <= 1 or contest.share_spent() >= 1:
            break
        contest.tell(f"{leader.name}: {said}: not yet beyond the noise")
    sentence = f"nothing is better than the default within the noise: {leader.name} is {said}"
    return Outcome(DEFAULT, leader, ratio, sentence)
