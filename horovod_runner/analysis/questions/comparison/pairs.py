"""Which runs of two sets of results may be compared: those of equal settings on one machine, unless told otherwise."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from horovod_runner.analysis.load.arms import arm
from horovod_runner.analysis.load.groups import Group, groups
from horovod_runner.analysis.load.runs import Run, flat
from horovod_runner.analysis.report import words
from horovod_runner.errors import UserError

OF_A_RUN = ("seed", "repeat", "experiment")
JOB = ("workload", "framework", "workers", "scaling")
MOST_LOOKED_AT = 100  # pairs of runs, to name the settings that keep them apart
NOT_COMPARED = ("command", "machine", "planned_steps", "started")  # of a run's provenance: its own, or told otherwise


@dataclass(frozen=True)
class Pair:
    """Runs of one cell of the matrix in both sets, finished in whatever way; `group` names where the newer ones stand.

    `differing` holds the settings that are not equal, as (older, newer); empty unless other work was asked for.
    """

    group: Group
    older: tuple[Run, ...]
    newer: tuple[Run, ...]
    differing: Mapping[str, tuple[Any, Any]]

    @property
    def framework(self) -> str:
        """The framework of the newer runs, and their arm if they are compute-only workers or loaders."""
        return framework(self.newer[0])

    @property
    def workers(self) -> int:
        """The number of workers of the newer runs."""
        return self.newer[0].result.workers

    @property
    def named(self) -> str:
        """Job, framework and workers."""
        return f"{self.group.workload} {self.framework} {self.workers}"


@dataclass(frozen=True)
class Paired:
    """The pairs, and the runs that have none."""

    pairs: Sequence[Pair]
    only_older: Sequence[Run]
    only_newer: Sequence[Run]


def framework(run: Run) -> str:
    """Return the run's framework, and its arm beside it where nothing was trained or workers only computed."""
    name = arm(run)
    return (
        f"{run.result.framework} {name.replace('_', '-')}"
        if name in ("compute_only", "loading")
        else run.result.framework
    )


def settings(run: Run) -> dict[str, Any]:
    """Return all settings of a run but seed, repeat and experiment: those of equal runs are equal."""
    return {name: value for name, value in run.settings.items() if name not in OF_A_RUN}


def paired(
    older: Sequence[Run],
    newer: Sequence[Run],
    names: tuple[str, str],
    *,
    across_machines: bool = False,
    different_work: bool = False,
) -> Paired:
    """Return the runs of both sets cell by cell; a copy of a run counts once. `names` is what messages call the sets.

    `different_work` also pairs what is left, by workload, framework, workers and scaling, where each side has one
    cell of that kind. UserError when there is no pair (it says whether machines or settings are in the way), and when
    a side would mix machines.
    """
    place = _anywhere if across_machines else _machine
    left, right = (_cells(runs, lambda run: (place(run), _text(settings(run)))) for runs in (older, newer))
    found = [(left.pop(key), right.pop(key)) for key in list(right) if key in left]
    if different_work:
        found += _by_job(left, right, place)
    if not found:
        raise UserError(_obstacle(older, newer, names, across_machines, different_work))
    for side, name in enumerate(names):
        _require_one_machine([cells[side] for cells in found], name)
    return Paired(_named(found), *([run for cell in side.values() for run in cell] for side in (left, right)))


def differences(pairs: Sequence[Pair]) -> dict[str, tuple[str, str]]:
    """Return what else was not the same between the sets: commit, versions, launcher, environment; both as text."""
    older, newer = (
        _provenances(run for pair in pairs for run in side(pair))
        for side in (lambda pair: pair.older, lambda pair: pair.newer)
    )
    return _differing(older, newer)


def _machine(run: Run) -> str:
    return run.machine


def _anywhere(run: Run) -> str:
    return ""


def _job(run: Run) -> tuple[Any, ...]:
    return arm(run), *(getattr(run.result, name) for name in JOB)


def _text(plain: Mapping[str, Any]) -> str:
    return json.dumps(plain, sort_keys=True)


def _cells(runs: Iterable[Run], key: Callable[[Run], Hashable]) -> dict[Hashable, list[Run]]:
    """Return the runs by their key; the same run in two folders is one run, not two that agree."""
    once = {(run.result.run_id, run.provenance.get("started")): run for run in runs}
    cells: dict[Hashable, list[Run]] = defaultdict(list)
    for run in once.values():
        cells[key(run)].append(run)
    return dict(cells)


def _by_job(
    older: dict[Hashable, list[Run]], newer: dict[Hashable, list[Run]], place: Callable[[Run], str]
) -> list[tuple[list[Run], list[Run]]]:
    """Take from both sides the cells that are the only ones of their job there."""
    kinds: tuple[dict[Hashable, list[Hashable]], ...] = (defaultdict(list), defaultdict(list))
    for side, kind in zip((older, newer), kinds, strict=True):
        for key, runs in side.items():
            kind[place(runs[0]), _job(runs[0])].append(key)
    chosen = [kind for kind in kinds[1] if len(kinds[0].get(kind, ())) == len(kinds[1][kind]) == 1]
    return [(older.pop(kinds[0][kind][0]), newer.pop(kinds[1][kind][0])) for kind in chosen]


def _named(found: Sequence[tuple[list[Run], list[Run]]]) -> list[Pair]:
    """Return the pairs in the order of the report, each with the group that its newer runs stand in."""
    made = groups(run for _, newer in found for run in newer)
    places = {id(run): place for place, group in enumerate(made) for run in group.runs}
    pairs = [
        Pair(made[places[id(newer[0])]], tuple(older), tuple(newer), _differing(settings(older[0]), settings(newer[0])))
        for older, newer in found
    ]
    return sorted(pairs, key=lambda pair: (places[id(pair.newer[0])], pair.framework, pair.workers))


def _obstacle(
    older: Sequence[Run], newer: Sequence[Run], names: tuple[str, str], across_machines: bool, different_work: bool
) -> str:
    """Say in one sentence why nothing may be compared, and what would help."""
    one, other = names
    equal = {_text(settings(run)) for run in older} & {_text(settings(run)) for run in newer}
    if equal and not across_machines:
        machines = [", ".join(sorted({run.machine for run in runs})) for runs in (older, newer)]
        return (
            f"{one} was measured on another machine ({machines[0]}) than {other} ({machines[1]}); measure both on one,"
            " or pass --across-machines to compare nevertheless"
        )
    near = list(islice(((a, b) for b in newer for a in older if _job(a) == _job(b)), MOST_LOOKED_AT))
    if not near:
        return f"{one} and {other} have no job in common (workload, framework, workers, scaling); compare others"
    if different_work:
        return (
            f"{one} and {other} cannot be paired by job: a side has several settings of one job, or they are of"
            " different machines; name the folder of one experiment or run, or pass --across-machines"
        )
    nearest = min((_differing(settings(a), settings(b)) for a, b in near), key=len)
    return (
        f"{one} and {other} hold no equal work: they differ in {', '.join(nearest)}; measure the same settings,"
        " or pass --different-work to compare nevertheless"
    )


def _require_one_machine(cells: Iterable[Sequence[Run]], name: str) -> None:
    if any(len({run.machine for run in cell}) > 1 for cell in cells):
        raise UserError(
            f"{name} holds equal runs of several machines, which are never averaged; name a folder with those of one"
        )


def _provenances(runs: Iterable[Run]) -> dict[str, str]:
    """Return every flat key of these runs' provenance with all its values."""
    values: dict[str, set[str]] = defaultdict(set)
    for run in runs:
        for key, value in flat({k: v for k, v in run.provenance.items() if k not in NOT_COMPARED}).items():
            values[key].add(words.NOTHING if value is None else words.without_paths(str(value)))
    return {key: " and ".join(sorted(texts)) for key, texts in values.items()}


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the keys under which two flat mappings do not hold the same, with both values."""
    names = dict.fromkeys((*one, *other))
    return {name: (one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)}
